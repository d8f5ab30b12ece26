// SPDX-License-Identifier: Apache-2.0
// How many slots of a schedule in pairs run beside no other: those of the warm-up and of the drain. Nothing hides their
// exchanges, so that a bound may count them in full.
#pragma once

#include "program/strategy.h"

#include <cstdint>
#include <vector>

namespace orrery::costmodel {

/// Of a stage on a rank, those that do not run in a pair.
struct SlotsAlone {
  double forwards = 0.0, backwards = 0.0;
  bool operator==(const SlotsAlone&) const = default;
};

/// Of each chunk of a pipeline rank, in the order of stages_of (costmodel/once_per_pipeline.h). Requires:
/// runs_pairs(strategy), and schedule_problem(strategy, num_micro_batches) is empty.
const std::vector<SlotsAlone>& slots_alone(const Strategy& strategy, std::int64_t num_micro_batches, std::int64_t rank);

}  // namespace orrery::costmodel
