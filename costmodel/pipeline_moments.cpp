// SPDX-License-Identifier: Apache-2.0
#include "costmodel/pipeline_moments.h"

#include "base/check.h"
#include "costmodel/once_per_pipeline.h"

#include <algorithm>

namespace orrery::costmodel {
namespace {

/// Whether nothing in `a` is more than in `b`.
bool within(const std::vector<HeldByStage>& a, const std::vector<HeldByStage>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].activations > b[i].activations || a[i].weight_grads > b[i].weight_grads || a[i].outputs > b[i].outputs ||
        a[i].gradients > b[i].gradients) {
      return false;
    }
  }
  return true;
}

bool same_slot(const PipelineMoment& a, const PipelineMoment& b) {
  return a.kind == b.kind && a.chunk == b.chunk && a.beside == b.beside;
}

void add(PipelineMoment moment, std::vector<PipelineMoment>& moments) {
  for (const PipelineMoment& other : moments) {
    if (same_slot(moment, other) && within(moment.held, other.held)) return;
  }
  std::erase_if(moments, [&](const PipelineMoment& other) {
    return same_slot(moment, other) && within(other.held, moment.held);
  });
  moments.push_back(std::move(moment));
}

}  // namespace

std::vector<PipelineMoment> find_pipeline_moments(const Strategy& strategy, std::int64_t num_micro_batches,
                                                  std::int64_t rank) {
  const std::vector<std::int64_t> stages = stages_of(strategy, rank);
  if (strategy.schedule == Schedule::gpipe && stages.size() == 1) {
    const auto all = static_cast<std::int32_t>(num_micro_batches);
    return {{.kind = Slot::Kind::forward, .held = {{.activations = all - 1}}},
            {.kind = Slot::Kind::backward, .held = {{.activations = all}}}};
  }
  const auto chunk_of = [&](std::int64_t stage) {
    const auto found = std::find(stages.begin(), stages.end(), stage);
    return found == stages.end() ? -1 : static_cast<std::int32_t>(found - stages.begin());
  };
  // Chunks on both sides of a boundary that no message crosses.
  std::vector<std::int32_t> behind(stages.size(), -1), before(stages.size(), -1);
  for (std::size_t chunk = 0; chunk < stages.size(); ++chunk) {
    const StageNeighbours neighbours = neighbours_of(strategy, rank, chunk);
    if (neighbours.behind == Neighbour::same_rank) behind[chunk] = chunk_of(stages[chunk] + 1);
    if (neighbours.before == Neighbour::same_rank) before[chunk] = chunk_of(stages[chunk] - 1);
  }

  std::vector<PipelineMoment> moments;
  std::vector<HeldByStage> held(stages.size());
  const auto at = [&](std::int32_t chunk) -> HeldByStage& { return held[static_cast<std::size_t>(chunk)]; };
  const auto goes_forward = [&](std::int32_t chunk) {
    ++at(chunk).activations;
    if (behind[static_cast<std::size_t>(chunk)] >= 0) ++at(chunk).outputs;
    if (const std::int32_t other = before[static_cast<std::size_t>(chunk)]; other >= 0) --at(other).outputs;
  };
  const auto goes_backward = [&](std::int32_t chunk) {
    --at(chunk).activations;
    if (before[static_cast<std::size_t>(chunk)] >= 0) ++at(chunk).gradients;
    if (const std::int32_t other = behind[static_cast<std::size_t>(chunk)]; other >= 0) --at(other).gradients;
  };
  for (const Slot& slot : slots_of(strategy, num_micro_batches, rank)) {
    const std::int32_t chunk = chunk_of(slot.stage), beside = slot.beside ? chunk_of(slot.beside->stage) : -1;
    CHECK(chunk >= 0, slot.stage, rank);
    add({.kind = slot.kind, .chunk = chunk, .beside = beside, .held = held}, moments);
    if (slot.kind == Slot::Kind::forward) goes_forward(chunk);
    if (beside >= 0) goes_backward(beside);
    if (slot.kind == Slot::Kind::backward || slot.kind == Slot::Kind::input_grad) goes_backward(chunk);
    if (slot.kind == Slot::Kind::input_grad) ++at(chunk).weight_grads;
    if (slot.kind == Slot::Kind::weight_grad) --at(chunk).weight_grads;
  }
  return moments;
}

std::int64_t shortened_micro_batches(const Strategy& strategy, std::int64_t num_micro_batches) {
  const std::int64_t p = strategy.pp;
  if (strategy.schedule == Schedule::gpipe || num_micro_batches <= 6 * p) return num_micro_batches;
  return 4 * p + num_micro_batches % (2 * p);
}

const std::vector<PipelineMoment>& pipeline_moments(const Strategy& strategy, std::int64_t num_micro_batches,
                                                    std::int64_t rank) {
  return once_per_pipeline<find_pipeline_moments>(strategy, num_micro_batches, rank);
}

}  // namespace orrery::costmodel
