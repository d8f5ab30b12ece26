// SPDX-License-Identifier: Apache-2.0
// Which activations a pipeline rank holds when one of its slots begins, for all slots at which it can be fullest. It
// depends on the schedule alone and not on the model: a table of counts, the exact form of "micro-batches in flight".
#pragma once

#include "program/schedule.h"
#include "program/strategy.h"

#include <cstdint>
#include <vector>

namespace orrery::costmodel {

/// What one stage of a rank holds, in micro-batches.
struct HeldByStage {
  std::int32_t activations = 0;   // forward done, backward or input gradient not
  std::int32_t weight_grads = 0;  // input gradient done, weight gradient not
  std::int32_t outputs = 0;       // forward done, and the stage behind it, on this rank, not
  std::int32_t gradients = 0;     // input gradient done, and that of the stage before it, on this rank, not
  bool operator==(const HeldByStage&) const = default;
};

/// The beginning of a slot.
struct PipelineMoment {
  Slot::Kind kind = Slot::Kind::forward;
  std::int32_t chunk = 0;         // of the slot, into stages_of(strategy, rank)
  std::int32_t beside = -1;       // chunk of the backward that runs beside a forward; -1: none
  std::vector<HeldByStage> held;  // by chunk
};

/// The moments of pipeline rank `rank`, without those at which it holds less than at another one of the same slot.
/// Found once (costmodel/once_per_pipeline.h). Requires: the schedule has an order.
const std::vector<PipelineMoment>& pipeline_moments(const Strategy& strategy, std::int64_t num_micro_batches,
                                                    std::int64_t rank);

/// Micro-batches of a step with the same moments and fewer slots: long steps repeat a steady state.
std::int64_t shortened_micro_batches(const Strategy& strategy, std::int64_t num_micro_batches);

/// The same without a memory, and without cutting.
std::vector<PipelineMoment> find_pipeline_moments(const Strategy& strategy, std::int64_t num_micro_batches,
                                                  std::int64_t rank);

}  // namespace orrery::costmodel
