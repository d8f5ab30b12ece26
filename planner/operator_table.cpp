// SPDX-License-Identifier: Apache-2.0
#include "planner/operator_table.h"

#include "costmodel/rank_work.h"

#include <algorithm>

namespace orrery::planner {

using costmodel::Slots;
using costmodel::StageBlocks;

// Of schedules only three kinds differ within a slot: whole backwards, split ones, and pairs.
Strategy operators_of(const Strategy& strategy) {
  Strategy out = strategy;
  out.stages.clear();
  out.pp = out.vpp = 1;
  out.zero_dense = out.zero_expert = 0;
  out.num_optimizer_instances = 1;
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
                             std::int64_t num_devices, const costmodel::CostModel& cost,
                             std::span<const DeviceIndex> densest, costmodel::PieceTimes* pieces, StageBlocks::Aim aim)
    : model_(model),
      strategy_(operators_of(strategy)),
      batch_(batch),
      mesh_(strategy_, num_devices),
      timer_(model, strategy_, mesh_, cost, densest),
      blocks_(model, strategy_, batch, timer_, aim, pieces) {
  timer_.enter(0);
  num_moe_before_.push_back(0);
  for (const LayerKind kind : model_.layers) {
    num_moe_before_.push_back(num_moe_before_.back() + (kind == LayerKind::moe ? 1 : 0));
  }
}

std::size_t OperatorTable::Hash::operator()(const Key& key) const {
  std::size_t hash = 0;
  for (const std::int32_t number : key) hash = hash * 1'000'003U + static_cast<std::uint32_t>(number);
  return hash;
}

std::int64_t OperatorTable::num_moe(std::int64_t first, std::int64_t last) const {
  return num_moe_before_[static_cast<std::size_t>(last)] - num_moe_before_[static_cast<std::size_t>(first)];
}

OperatorTable::Key OperatorTable::key_of(const StageLayout& layout) const {
  const std::int64_t end = layout.first_layer + layout.num_layers;
  const std::int64_t split = layout.first_layer + layout.num_recompute_layers.value_or(layout.num_layers);
  std::int64_t recomputes = 0;
  for (const RecomputeModule module : layout.recompute) recomputes |= std::int64_t{1} << static_cast<int>(module);
  const auto key = [&](std::array<std::int64_t, 5> layers) {
    const auto narrow = [](std::int64_t value) { return static_cast<std::int32_t>(value); };
    return Key{narrow(layers[0]),
               narrow(layers[1]),
               narrow(layers[2]),
               narrow(layers[3]),
               narrow(layers[4]),
               narrow(layout.num_mtp),
               narrow(layout.embedding) + 2 * narrow(layout.head),
               narrow(recomputes)};
  };
  if (!model_.spans.empty()) return key({layout.first_layer, end, split, 0, 0});
  // Of each class, those that recompute apart; and the last layer, which a backward begins with.
  const std::int64_t moe = num_moe(layout.first_layer, split), moe_apart = num_moe(split, end);
  const bool ends_in_moe = layout.num_layers > 0 && model_.kind(end - 1) == LayerKind::moe;
  return key({moe, split - layout.first_layer - moe, moe_apart, end - split - moe_apart, ends_in_moe ? 1 : 0});
}

const Slots& OperatorTable::slots(const StageLayout& layout) {
  const auto [found, is_new] = slots_.try_emplace(key_of(layout));
  if (is_new) found->second = slots_of(layout);
  return found->second;
}

Slots OperatorTable::slots_of(const StageLayout& layout) {
  Slots slots = blocks_.slots(layout);
  waits_for_host_ = waits_for_host_ || slots.waits_for_host;
  return slots;
}

costmodel::ActivationPeaks& OperatorTable::activations(const Strategy& strategy, const Mesh& mesh,
                                                       const costmodel::MemoryModel& memory_model) {
  // What is gathered and reduced within slots; ZeRO 0 and 1 do it at the end.
  const std::array<int, 5> key = {strategy.offload_activations ? 1 : 0, std::max(strategy.zero_dense, 1),
                                  std::max(strategy.zero_expert, 1), mesh.size(Group::dp_shard) > 1 ? 1 : 0,
                                  mesh.size(Group::edp_shard) > 1 ? 1 : 0};
  const auto known = activations_.find(key);
  if (known != activations_.end()) return known->second;
  // Whatever is gathered, stages are laid of the same pieces.
  if (!activations_.empty())
    return activations_.try_emplace(key, activations_.begin()->second, strategy, mesh).first->second;
  return activations_.try_emplace(key, model_, strategy, batch_, mesh, memory_model).first->second;
}

// One stage with everything: what it waits for its host, and what its communication leaves beside arithmetic, is no
// more than what several stages do.
Seconds OperatorTable::all_stages(bool pairs) {
  if (!all_) {
    StageLayout all{.num_layers = model_.num_layers(), .embedding = true, .head = true};
    if (strategy_.mtp == Mtp::on) all.num_mtp = model_.num_mtp_modules;
    all_ = slots_of(all);
  }
  costmodel::RankWork work(1.0);
  const double alone = pairs ? 0.0 : 1.0;
  work.add(*all_, {}, {alone, alone});
  return work.slots();
}

}  // namespace orrery::planner
