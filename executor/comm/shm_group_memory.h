// SPDX-License-Identifier: Apache-2.0
// The shared memory of one group, seen as what it holds: for each member a counter of meetings, what it posts about the
// collective it is in, and its slot of two halves. Private to `comm/`.
#pragma once

#include "executor/comm/post.h"
#include "executor/comm/shm_layout.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace orrery::executor {

class GroupMemory {
 public:
  /// Throws: BackendError, when the segment is full.
  GroupMemory(Segment& segment, std::string_view id, int num_members);

  std::atomic<std::uint64_t>& num_meetings(int member) const { return members_[member].num_meetings; }
  Post& post(int member, int half) const { return members_[member].posts[half]; }
  /// How much `member` sends to whom in this all-to-all.
  std::span<std::int64_t> counts(int member, int half) const;
  std::byte* slot(int member, int half) const;
  std::int64_t slot_bytes() const { return slot_bytes_; }

 private:
  struct alignas(kLineBytes) Member {
    std::atomic<std::uint64_t> num_meetings;
    alignas(kLineBytes) Post posts[2];
  };

  Member* members_ = nullptr;
  std::int64_t* counts_ = nullptr;  // [member][half][num_members]
  std::byte* slots_ = nullptr;      // [member][half][slot_bytes]
  std::int64_t slot_bytes_;
  int num_members_;
};

}  // namespace orrery::executor
