// SPDX-License-Identifier: Apache-2.0
// Memory by replaying the program: tensors are counted from the op that creates them to the op that releases them, in
// the order in which the host enqueues. It knows nothing of formulas, and so can check them (costmodel/memory.h).
#pragma once

#include "base/units.h"
#include "program/arrivals.h"
#include "program/step_program.h"

#include <array>
#include <span>
#include <vector>

namespace orrery {

/// The moment at which the tensors of a rank take most memory.
struct ReplayedPeak {
  Bytes bytes;
  OpIndex op = 0;                                 // during which it happens
  std::array<double, kNumTensorRoles> by_role{};  // bytes of each role then
};

/// The peak of a rank of `rank_class` at whose experts `arrivals` arrive.
/// Complexity: linear in ops and uses.
ReplayedPeak replay_memory(const RankClass& rank_class, const Arrivals& arrivals);

/// The same when every layer sends it `received` rows per micro-batch. Requires: etp is 1, and no tokens are counted
/// without their repetitions.
inline ReplayedPeak replay_memory(const RankClass& rank_class, double received) {
  return replay_memory(rank_class, Arrivals::same_everywhere({.received = received, .gathered = received}));
}

/// The peaks of ranks of one class that differ in what arrives at them, in one pass.
/// Complexity: linear in ops and uses; uses of tensors whose rows a router decides count once for each rank.
std::vector<Bytes> replay_peaks(const RankClass& rank_class, std::span<const Arrivals> ranks);

/// Bytes of all tensors that are alive while an op runs: its inputs, its outputs, and what others wait for.
struct MemorySample {
  OpIndex op = 0;
  Bytes live;
};

/// Memory over time: one sample for each op, in the order of the program. Weights and states are not in it.
std::vector<MemorySample> memory_timeline(const RankClass& rank_class, const Arrivals& arrivals);

}  // namespace orrery
