// SPDX-License-Identifier: Apache-2.0
// Step time from closed formulas: per-stage sums of op times, the bubble of the schedule, messages between stages, the
// exchange of gradients and the optimizer. Independent of lowering and of the analytic interpreter, so that a mistake
// in one shows in the other; and fast enough for a search, but an estimate, no bound. Formulas and how far they are
// off: docs/design/closed-form.md.
#pragma once

#include "base/units.h"
#include "costmodel/cost_model.h"
#include "program/mesh.h"
#include "program/model.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace orrery::costmodel {

/// One pipeline rank: times of one micro-batch, and of the step's end.
struct StageEstimate {
  Seconds forward, backward;  // exchanges of the experts included; backward with what is recomputed
  Seconds exchanges;          // of both, what is communication
  Seconds gradient_sync;      // until its shard of the gradients is complete
  Seconds update;             // optimizer and the gather of parameters
};

struct ClosedEstimate {
  Seconds step_time;
  Seconds pipeline;  // of it, until the last backward of the first stage ends
  Seconds bubble;    // of the pipeline, what the busiest stage waits
  std::vector<StageEstimate> stages;
  bool extrapolated = false;
};

/// What one pipeline depends on, in the order of stages.
struct PipelineTimes {
  std::vector<Seconds> forward, backward;  // of one micro-batch
  Seconds message;                         // between neighbours
};

/// Time from the first forward to the last backward.
/// Source: GPipe, (m + p - 1) slots; 1F1B, the same and 2 (p - 1)(m / p + 1) - 2 messages, exact for equal stages and
/// m divisible by p (docs/design/closed-form.md); the slowest stage sets the pace of unequal ones.
Seconds pipeline_time(Schedule schedule, std::int64_t num_micro_batches, const PipelineTimes& times);

/// Under a balanced load, for devices of one kind. `device_of_rank`: empty means that rank r is on device r. The
/// first rank of each stage stands for all.
/// Complexity: linear in the layers of a stage for each kind of layer; hand in a CachedCostModel when asking often.
/// Requires: violations(model, strategy, batch, mesh.world()) is empty.
ClosedEstimate estimate_closed(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
                               const CostModel& cost, std::span<const DeviceIndex> device_of_rank = {});

}  // namespace orrery::costmodel
