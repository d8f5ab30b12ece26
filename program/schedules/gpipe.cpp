// SPDX-License-Identifier: Apache-2.0
#include "program/schedules/schedules.h"

namespace orrery::schedules {

std::vector<Slot> gpipe(const PipelineShape& shape, std::int64_t rank) {
  std::vector<Slot> slots;
  slots.reserve(static_cast<std::size_t>(2 * shape.num_micro_batches));
  for (const Slot::Kind kind : {Slot::Kind::forward, Slot::Kind::backward}) {
    for (std::int64_t i = 0; i < shape.num_micro_batches; ++i) slots.push_back({kind, rank, i});
  }
  return slots;
}

}  // namespace orrery::schedules
