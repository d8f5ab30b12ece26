// SPDX-License-Identifier: Apache-2.0
// The pipelines that one choice of operators can run in: schedule, pipeline ranks and chunks, without the layout of
// stages.
#pragma once

#include "planner/family.h"

#include <cstdint>
#include <vector>

namespace orrery::planner {

struct PipelineChoice {
  Schedule schedule = Schedule::one_f_one_b;
  bool pairs = false;  // overlap.ep_batch_level
  std::int64_t pp = 1, vpp = 1;
  std::int64_t num_micro_batches = 1;

  bool operator==(const PipelineChoice&) const = default;

  /// `operators` in this pipeline, without stages.
  Strategy of(const Strategy& operators) const;
};

/// All of the domains whose schedule has an order, in the order of the domains; with one rank only orders that differ
/// there.
std::vector<PipelineChoice> pipeline_choices(const FamilyContext& context, const Strategy& operators);

/// Micro-batches that each pipeline rank runs, over the number of pipeline ranks: however long the pipeline is.
double micro_batches_per_stage(const FamilyContext& context, const Strategy& operators);

}  // namespace orrery::planner
