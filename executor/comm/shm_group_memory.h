// SPDX-License-Identifier: Apache-2.0
// The shared memory of one group, seen as what it holds: for each member a counter of meetings, what it posts about the
// collective it is in, and its slot of two halves. Private to `comm/`.
#pragma once

#include "executor/comm/clock.h"
#include "executor/comm/shm_layout.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace orrery::executor {

enum class CollectiveKind : std::int32_t { barrier, all_reduce, reduce_scatter, all_gather, all_to_all_v, broadcast };

std::string_view name_of(CollectiveKind kind);

/// What a rank says of the collective that it enters.
struct Post {
  CollectiveKind kind;
  std::int64_t bytes;
  std::int64_t num_steps;
  Instant::rep arrival;
};

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

  /// Takes the seat of `member`; false when somebody has taken it already.
  bool join(int member) const { return !members_[member].joined.exchange(true); }

 private:
  struct alignas(kLineBytes) Member {
    std::atomic<std::uint64_t> num_meetings;
    alignas(kLineBytes) Post posts[2];
    std::atomic<bool> joined;
  };

  Member* members_ = nullptr;
  std::int64_t* counts_ = nullptr;  // [member][half][num_members]
  std::byte* slots_ = nullptr;      // [member][half][slot_bytes]
  std::int64_t slot_bytes_;
  int num_members_;
};

}  // namespace orrery::executor
