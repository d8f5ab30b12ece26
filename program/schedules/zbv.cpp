// SPDX-License-Identifier: Apache-2.0
#include "program/schedules/schedules.h"
#include "program/schedules/stage_slots.h"

#include <algorithm>

namespace orrery::schedules {

std::vector<Slot> zbv(const PipelineShape& shape, std::int64_t rank) {
  const std::int64_t p = shape.num_ranks, m = shape.num_micro_batches;
  std::vector<Slot> slots;
  slots.reserve(static_cast<std::size_t>(6 * m));
  StageSlots down(slots, rank, 0, m), up(slots, 2 * p - 1 - rank, 0, m);
  const auto backward = [](StageSlots& arm) {
    arm.input_grad();
    arm.weight_grad();
  };

  for (std::int64_t i = 0; i < 2 * (p - rank) - 1; ++i) down.forward();
  for (std::int64_t i = 0; i < rank; ++i) {
    up.forward();
    down.forward();
  }
  for (std::int64_t i = 0; i < p - rank; ++i) {
    up.forward();
    backward(up);
  }
  // The phases are meant for at least 2p - 1 micro-batches; with fewer, the missing ones are passed over.
  const std::int64_t padded = std::max(m, 2 * p - 1);
  while (up.next_forward() < padded) {
    if (down.next_forward() < padded) down.forward();
    backward(down);
    up.forward();
    backward(up);
  }
  for (std::int64_t i = 0; i < rank; ++i) {
    down.input_grad();
    up.input_grad();
  }
  for (std::int64_t i = 0; i < p - rank; ++i) backward(down);
  while (up.next_weight_grad() < padded) up.weight_grad();
  while (down.next_weight_grad() < padded) down.weight_grad();
  return slots;
}

}  // namespace orrery::schedules
