// SPDX-License-Identifier: Apache-2.0
// How long a pipeline takes when every slot of its schedule has one duration and every message one: a walk over the
// slots in their order, with no ops in it. It stands for the bubble formulas, which hold for equal stages only and do
// not exist for DualPipe with messages. Exact while nothing shares a link and nothing slows down.
#pragma once

#include "base/units.h"
#include "costmodel/cost_model.h"
#include "program/strategy.h"

#include <cstdint>
#include <vector>

namespace orrery::costmodel {

/// One micro-batch on one stage.
struct SlotTimes {
  Seconds forward, input_grad, weight_grad;       // exchanges of experts included; a whole backward is both gradients
  Seconds forward_exchanges, backward_exchanges;  // of them, what an overlapped pair covers with arithmetic
  // What the arithmetic loses beside a communication, above or below what the device's usual slowdown takes.
  Seconds forward_excess, backward_excess;
  Seconds lead;     // of the backward, what needs no gradient from behind: its last layer, run again
  Seconds message;  // to the stage behind, and of its gradient back

  Seconds backward() const { return input_grad + weight_grad; }
};

/// By pipeline rank, and by chunk in the order of stages_of.
using PipelineTimes = std::vector<std::vector<SlotTimes>>;

struct RankWalk {
  Seconds begin;  // of its first slot
  Seconds end;    // of its last slot
  Seconds busy;   // sum of its slots
};

/// A backward that waits for its gradient has run its lead already. A message leaves when its slot is done and arrives
/// when the receiver, which expects it from the end of the slot
/// before its last one on, has had it for its time; those of one edge and kind go one after the other. `overlap`: how
/// arithmetic and exchanges of an overlapped pair slow each other.
/// Requires: schedule_problem(strategy, num_micro_batches) is empty, and times for all stages of all ranks.
/// Complexity: linear in the slots.
std::vector<RankWalk> walk_pipeline(const Strategy& strategy, std::int64_t num_micro_batches,
                                    const PipelineTimes& times, const OverlapRule& overlap = {});

/// Time of `compute` beside `comm`: as both slow each other, and then the rest of the longer one.
Seconds side_by_side(Seconds compute, Seconds comm, const OverlapRule& overlap);

}  // namespace orrery::costmodel
