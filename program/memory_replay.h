// SPDX-License-Identifier: Apache-2.0
// Memory by replaying the program: tensors are counted from the op that creates them to the op that releases them, in
// the order in which the host enqueues. It knows nothing of formulas, and so can check them (costmodel/memory.h).
#pragma once

#include "base/units.h"
#include "program/step_program.h"

#include <array>

namespace orrery {

/// The moment at which the tensors of a rank take most memory.
struct ReplayedPeak {
  Bytes bytes;
  OpIndex op = 0;                                 // during which it happens
  std::array<double, kNumTensorRoles> by_role{};  // bytes of each role then
};

/// The peak of one rank of `rank_class` when every layer sends it `received` rows per micro-batch.
/// Complexity: linear in ops and uses.
ReplayedPeak replay_memory(const RankClass& rank_class, double received);

}  // namespace orrery
