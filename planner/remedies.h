// SPDX-License-Identifier: Apache-2.0
// What would make a plan fit: changes of its strategy, one at a time and, where none suffices, two at a time. Each
// comes with the memory it leads to and a rough price in time (planner/rough_time.h) by which they are ordered; what a
// change really costs is for `orrery plan` to say.
#pragma once

#include "base/units.h"
#include "program/plan.h"

#include <optional>
#include <string>
#include <vector>

namespace orrery::planner {

struct Remedy {
  std::string change;       // "ep 16 instead of 8"
  Bytes memory;             // of the fullest rank then
  double extra_time = 0.0;  // rough step time over that of the plan, minus 1
  Strategy strategy;
};

struct Remedies {
  std::vector<Remedy> singles;  // cheapest first; of each dimension the cheapest change that fits
  std::optional<Remedy> pair;   // only without singles: the cheapest of the pairs that fit
};

/// The changes that are tried: recomputation (module by module, then together, then full), ZeRO stages, expert and
/// pipeline parallelism, tensor and context parallelism within the scale-up domain, smaller micro-batches, offload of
/// the optimizer and of activations, 1F1B instead of another schedule, and one layer from the fullest rank to the
/// emptiest. A pair's price is the product of its parts' for the order in which pairs are tried.
/// Requires: the plan is legal and the memory of its device known.
Remedies remedies(const Plan& plan);

}  // namespace orrery::planner
