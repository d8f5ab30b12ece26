// SPDX-License-Identifier: Apache-2.0
// Step time without a program: sums of op times per stage, a walk over the slots of the schedule, the exchange of
// gradients and the optimizer. Independent of lowering and of the analytic interpreter, so that a mistake in one shows
// in the other; and fast enough for a search, but an estimate, no bound. Formulas and how far they are off:
// docs/design/closed-form.md.
#pragma once

#include "base/units.h"
#include "costmodel/cost_model.h"
#include "program/mesh.h"
#include "program/model.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <cstdint>
#include <span>
#include <vector>

namespace orrery::costmodel {

class PieceTimes;

/// One pipeline rank: times of one micro-batch on all its stages, and of the step's end.
struct RankEstimate {
  Seconds forward, backward;  // collectives and exchanges included; backward with what is recomputed
  Seconds communication;      // of both, what is not arithmetic
  Seconds busy;               // all its slots
  Seconds weights_gather;     // of overlapped buckets, what the first forward waits for
  Seconds reductions;         // of sharded gradients, of one micro-batch, beside the slots
  Seconds copies;             // of offloaded activations, of the step, beside the slots
  Seconds gradient_sync;      // until its shard of the gradients is complete
  Seconds states_load;        // until offloaded optimizer states are there
  Seconds update;             // optimizer and the gather of parameters
};

struct ClosedEstimate {
  Seconds step_time;
  Seconds pipeline;  // of it, until the last slot of the last rank ends
  Seconds bubble;    // of the pipeline, what the busiest rank waits
  std::vector<RankEstimate> ranks;
  bool extrapolated = false;
};

/// Under a balanced load, for devices of one kind. `device_of_rank`: empty means that ranks are in the order of the
/// strategy. The first rank of each pipeline rank stands for all. Complexity: linear in the ops of each kind of layer
/// and in the slots; hand in a CachedCostModel, and `pieces` of its answers, when asking often. Requires:
/// violations(model, strategy, batch, mesh.world()) is empty.
ClosedEstimate estimate_closed(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
                               const CostModel& cost, std::span<const DeviceIndex> device_of_rank = {},
                               PieceTimes* pieces = nullptr);

}  // namespace orrery::costmodel
