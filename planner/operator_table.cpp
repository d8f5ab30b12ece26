// SPDX-License-Identifier: Apache-2.0
#include "planner/operator_table.h"

#include <algorithm>

namespace orrery::planner {

using costmodel::SlotTimes;
using costmodel::StageBlocks;

// Of schedules only three kinds differ within a slot: whole backwards, split ones, and pairs.
Strategy operators_of(const Strategy& strategy) {
  Strategy out = strategy;
  out.stages.clear();
  out.pp = out.vpp = 1;
  out.zero_dense = out.zero_expert = 0;
  out.offload_optimizer = out.offload_activations = out.overlap.dp_buckets = false;
  switch (strategy.schedule) {
    case Schedule::gpipe:
    case Schedule::one_f_one_b:
    case Schedule::interleaved:
      out.schedule = Schedule::one_f_one_b;
      break;
    case Schedule::zb_h1:
    case Schedule::zb_h2:
    case Schedule::zbv:
      out.schedule = Schedule::zb_h1;
      break;
    case Schedule::dualpipe:
    case Schedule::dualpipev:
      out.schedule = Schedule::dualpipev;
      break;
  }
  return out;
}

OperatorTable::OperatorTable(const Model& model, const Strategy& strategy, const BatchShape& batch,
                             std::int64_t num_devices, const costmodel::CostModel& cost)
    : model_(model),
      strategy_(operators_of(strategy)),
      batch_(batch),
      mesh_(strategy_, num_devices),
      timer_(model, strategy_, mesh_, cost, {}),
      blocks_(model, strategy_, batch, timer_, StageBlocks::Aim::bound) {
  timer_.enter(0);
}

OperatorTable::Key OperatorTable::key_of(const StageLayout& layout) const {
  Key key{.num_mtp = layout.num_mtp, .embedding = layout.embedding, .head = layout.head, .recompute = layout.recompute};
  if (model_.spans.empty()) {
    const auto count = [&](std::int64_t first, std::int64_t last) {
      std::int64_t num_moe = 0;
      for (std::int64_t i = first; i < last; ++i) num_moe += model_.kind(i) == LayerKind::moe ? 1 : 0;
      key.layers.push_back(num_moe);
      key.layers.push_back(last - first - num_moe);
    };
    const std::int64_t end = layout.first_layer + layout.num_layers;
    const std::int64_t split = layout.first_layer + layout.num_recompute_layers.value_or(layout.num_layers);
    count(layout.first_layer, split);
    if (split < end) count(split, end);
    // The last layer is the one that a backward begins with.
    key.layers.push_back(layout.num_layers > 0 && model_.kind(end - 1) == LayerKind::moe ? 1 : 0);
  } else {
    key.layers = {layout.first_layer, layout.num_layers, layout.num_recompute_layers.value_or(layout.num_layers)};
  }
  return key;
}

const SlotTimes& OperatorTable::slots(const StageLayout& layout) {
  const auto [found, is_new] = slots_.try_emplace(key_of(layout));
  if (is_new) found->second = blocks_.slots(layout).times;
  return found->second;
}

costmodel::ActivationPeaks& OperatorTable::activations(const Strategy& strategy, const Mesh& mesh,
                                                       const costmodel::MemoryModel& memory_model) {
  // What is gathered and reduced within slots; ZeRO 0 and 1 do it at the end.
  const std::array<int, 5> key = {strategy.offload_activations ? 1 : 0, std::max(strategy.zero_dense, 1),
                                  std::max(strategy.zero_expert, 1), mesh.size(Group::dp_shard) > 1 ? 1 : 0,
                                  mesh.size(Group::edp_shard) > 1 ? 1 : 0};
  return activations_.try_emplace(key, model_, strategy, batch_, mesh, memory_model).first->second;
}

// One stage with everything: what it waits for its host, and what its communication leaves beside arithmetic, is no
// more than what several stages do.
Seconds OperatorTable::all_stages(bool pairs) {
  StageLayout all{.num_layers = model_.num_layers(), .embedding = true, .head = true};
  if (strategy_.mtp == Mtp::on) all.num_mtp = model_.num_mtp_modules;
  const SlotTimes slots = blocks_.slots(all).times;
  const Seconds both = slots.forward + slots.backward();
  if (!pairs) return both;
  const Seconds exchanges = slots.forward_exchanges + slots.backward_exchanges;
  return std::max(both - exchanges, exchanges);
}

}  // namespace orrery::planner
