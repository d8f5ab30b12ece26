// SPDX-License-Identifier: Apache-2.0
#include "program/schedules/schedules.h"
#include "program/schedules/stage_slots.h"

namespace orrery::schedules {
namespace {

/// Forwards of warm-up, then a forward and an input gradient in turn; a weight gradient follows as soon as more than
/// `lag` of them wait.
std::vector<Slot> with_lag(const PipelineShape& shape, std::int64_t rank, std::int64_t warm_up, std::int64_t lag) {
  const std::int64_t m = shape.num_micro_batches;
  std::vector<Slot> slots;
  slots.reserve(static_cast<std::size_t>(3 * m));
  StageSlots stage(slots, rank, 0, m);
  for (std::int64_t i = 0; i < warm_up; ++i) stage.forward();
  while (stage.next_backward() < m) {
    stage.forward();
    stage.input_grad();
    if (stage.next_backward() - stage.next_weight_grad() > lag) stage.weight_grad();
  }
  while (stage.next_weight_grad() < m) stage.weight_grad();
  return slots;
}

}  // namespace

std::vector<Slot> zb_h1(const PipelineShape& shape, std::int64_t rank) {
  return with_lag(shape, rank, shape.num_ranks - 1 - rank, rank);
}

std::vector<Slot> zb_h2(const PipelineShape& shape, std::int64_t rank) {
  return with_lag(shape, rank, 2 * (shape.num_ranks - 1 - rank), 2 * rank);
}

}  // namespace orrery::schedules
