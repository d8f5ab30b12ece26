// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/shm_group_memory.h"

namespace orrery::executor {

GroupMemory::GroupMemory(Segment& segment, std::string_view id, int num_members)
    : slot_bytes_(segment.options().chunk_bytes), num_members_(num_members) {
  const auto n = static_cast<std::size_t>(num_members);
  const std::size_t counts_offset = n * sizeof(Member);
  const std::size_t slots_offset = round_up(counts_offset + n * 2 * n * sizeof(std::int64_t), kPageBytes);
  const std::size_t bytes = slots_offset + n * 2 * static_cast<std::size_t>(slot_bytes_);
  std::byte* base = segment.region(id, static_cast<std::int64_t>(bytes)).data();
  members_ = reinterpret_cast<Member*>(base);
  counts_ = reinterpret_cast<std::int64_t*>(base + counts_offset);
  slots_ = base + slots_offset;
}

std::span<std::int64_t> GroupMemory::counts(int member, int half) const {
  return {counts_ + (std::int64_t{2} * member + half) * num_members_, static_cast<std::size_t>(num_members_)};
}

std::byte* GroupMemory::slot(int member, int half) const {
  return slots_ + (std::int64_t{2} * member + half) * slot_bytes_;
}

}  // namespace orrery::executor
