// SPDX-License-Identifier: Apache-2.0
#include "costmodel/slots_alone.h"

#include "base/check.h"
#include "costmodel/once_per_pipeline.h"
#include "program/schedule.h"

#include <algorithm>

namespace orrery::costmodel {
namespace {

std::vector<SlotsAlone> count(const Strategy& strategy, std::int64_t num_micro_batches, std::int64_t rank) {
  const std::vector<std::int64_t> stages = stages_of(strategy, rank);
  std::vector<SlotsAlone> out(stages.size());
  const auto of_stage = [&](std::int64_t stage) -> SlotsAlone& {
    const auto found = std::find(stages.begin(), stages.end(), stage);
    CHECK(found != stages.end(), stage, rank);
    return out[static_cast<std::size_t>(found - stages.begin())];
  };
  for (const Slot& slot : slots_of(strategy, num_micro_batches, rank)) {
    if (slot.beside) continue;
    if (slot.kind == Slot::Kind::forward) of_stage(slot.stage).forwards += 1.0;
    // A backward that is split has its exchanges in the input gradient.
    if (slot.kind == Slot::Kind::backward || slot.kind == Slot::Kind::input_grad) of_stage(slot.stage).backwards += 1.0;
  }
  return out;
}

}  // namespace

const std::vector<SlotsAlone>& slots_alone(const Strategy& strategy, std::int64_t num_micro_batches,
                                           std::int64_t rank) {
  return once_per_pipeline<count>(strategy, num_micro_batches, rank);
}

}  // namespace orrery::costmodel
