// SPDX-License-Identifier: Apache-2.0
#include "costmodel/slots_alone.h"

#include "base/check.h"
#include "program/schedule.h"

#include <algorithm>
#include <map>
#include <tuple>

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

/// With as many micro-batches the warm-up and the drain are the same, and there is less between them.
std::int64_t shortened(const Strategy& strategy, std::int64_t num_micro_batches) {
  const std::int64_t p = strategy.pp;
  return num_micro_batches <= 6 * p ? num_micro_batches : 4 * p + num_micro_batches % (2 * p);
}

}  // namespace

const std::vector<SlotsAlone>& slots_alone(const Strategy& strategy, std::int64_t num_micro_batches,
                                           std::int64_t rank) {
  using Key = std::tuple<Schedule, bool, std::int64_t, std::int64_t, std::int64_t>;
  thread_local std::map<Key, std::vector<std::vector<SlotsAlone>>> known;
  const std::int64_t short_step = shortened(strategy, num_micro_batches);
  const auto [found, is_new] =
      known.try_emplace({strategy.schedule, strategy.overlap.ep_batch_level, strategy.pp, strategy.vpp, short_step});
  if (is_new) {
    for (std::int64_t r = 0; r < strategy.pp; ++r) found->second.push_back(count(strategy, short_step, r));
  }
  return found->second[static_cast<std::size_t>(rank)];
}

}  // namespace orrery::costmodel
