// SPDX-License-Identifier: Apache-2.0
#include "program/schedules/schedules.h"

#include <algorithm>

namespace orrery::schedules {

std::vector<Slot> one_f_one_b(const PipelineShape& shape, std::int64_t rank) {
  const std::int64_t m = shape.num_micro_batches;
  const std::int64_t warm_up = std::min(m, shape.num_ranks - 1 - rank + (shape.in_pairs ? 1 : 0));
  std::vector<Slot> slots;
  slots.reserve(static_cast<std::size_t>(2 * m));
  for (std::int64_t i = 0; i < warm_up; ++i) slots.push_back({Slot::Kind::forward, rank, i});
  for (std::int64_t i = 0; i < m - warm_up; ++i) {
    slots.push_back({Slot::Kind::forward, rank, warm_up + i});
    if (shape.in_pairs) {
      slots.back().beside = {.stage = rank, .micro_batch = i};
    } else {
      slots.push_back({Slot::Kind::backward, rank, i});
    }
  }
  for (std::int64_t i = m - warm_up; i < m; ++i) slots.push_back({Slot::Kind::backward, rank, i});
  return slots;
}

}  // namespace orrery::schedules
