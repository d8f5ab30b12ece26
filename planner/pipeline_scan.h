// SPDX-License-Identifier: Apache-2.0
// The inner half of a search space: all pipelines of one choice of operators, family by family.
#pragma once

#include "planner/pipeline_choices.h"
#include "traces/activities.h"

#include <cstdint>
#include <span>
#include <vector>

namespace orrery::planner {

/// What was found in the families of one choice of operators.
struct ScanResult {
  std::vector<Member> members;  // the best by bound, in order
  Seconds least_dropped;        // bound of the best that there was no room for; zero: none
  FamilyCounts counts;
  std::int64_t num_families = 0, num_illegal = 0;
};

/// A bound for all pipelines of `operators`. `pieces`, here and below: those of others who ask the same cost model.
Seconds operator_bound(const FamilyContext& context, const Strategy& operators, const costmodel::CostModel& cost,
                       costmodel::PieceTimes* pieces = nullptr);

/// Bounds for what the mean device computes in a step, by kind of work, whatever the pipeline and what is recomputed;
/// no communication.
Activities work_bound(const FamilyContext& context, const Strategy& operators, const costmodel::CostModel& cost);

/// Scans all families of `operators` in `pipelines` with a bound below `cutoff`. Keeps at most `room` members.
ScanResult scan_pipelines(const FamilyContext& context, const Strategy& operators,
                          std::span<const PipelineChoice> pipelines, const costmodel::CostModel& cost, Seconds cutoff,
                          std::size_t room, costmodel::PieceTimes* pieces = nullptr);

}  // namespace orrery::planner
