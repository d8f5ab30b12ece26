// SPDX-License-Identifier: Apache-2.0
// A zero-bubble order made for given times, where the fixed orders of zb_h1 and zb_h2 assume that all slots take
// equally long. It needs times and a memory limit, so it is not one of the orders behind slots_of. The idea, to fill
// each wait with weight gradients under a memory limit and to keep the best of a few choices, is the heuristic of Qi et
// al., Zero Bubble Pipeline Parallelism (arXiv 2401.10241), section 3.1; the rules here are simpler, and look only at
// what has started. It pays for unequal ranks; with equal ones the fixed orders are hard to beat (docs/design/
// schedules.md). Nothing says that no other order is shorter.
#pragma once

#include "base/units.h"
#include "program/schedule.h"

#include <cstdint>
#include <vector>

namespace orrery::schedules {

struct StageTimes {
  Seconds forward, input_grad, weight_grad;
};

struct GreedyProblem {
  std::vector<StageTimes> stages;  // one per rank
  Seconds message;                 // from a rank to its neighbour; does not block either
  std::int64_t num_micro_batches = 1;
  /// Micro-batches of a rank between the start of their forward and the end of their weight gradient: p gives the
  /// memory of zb_h1, 2p that of zb_h2 and one more.
  std::int64_t max_in_flight = 1;
};

struct GreedyOrder {
  std::vector<std::vector<Slot>> ranks;
  Seconds makespan;
};

/// Of the orders that the choices give the one with the shortest makespan, then the one whose ranks are soonest done
/// after their start.
/// Requires: at least one stage and one micro-batch, positive times, max_in_flight >= 1.
GreedyOrder greedy_zero_bubble(const GreedyProblem& problem);

}  // namespace orrery::schedules
