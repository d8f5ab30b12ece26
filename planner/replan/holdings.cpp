// SPDX-License-Identifier: Apache-2.0
#include "planner/replan/holdings.h"

#include "base/parallel.h"

#include <algorithm>
#include <utility>

namespace orrery::planner {
namespace {

constexpr std::array<Group, 2> kShard = {Group::dp_shard, Group::edp_shard};
constexpr std::int64_t kNumRoles = 64;
static_assert(static_cast<std::int64_t>(WeightRole::head) < kNumRoles);

/// A number for each weight of a model, in its order: the ends of the model have places of their own, and a head that
/// is tied to the embedding is the embedding.
std::int64_t tensor_of(const Parameter& parameter, const Model& model) {
  const Parameter p = stored_parameter(parameter, model.tied_embeddings);
  const std::int64_t unit = unit_of(p), end = model.num_layers() + model.num_mtp_modules + 1;
  const std::int64_t place = unit >= 0 ? unit + 1 : unit == OpKey::kEmbed ? 0 : end;
  const std::int64_t num_experts = model.moe ? model.moe->num_experts : 0;
  return (place * (num_experts + 1) + p.expert + 1) * kNumRoles + static_cast<std::int64_t>(p.role);
}

StateKind kind_of(const LocalParameter& p) {
  if (p.whole.buffer) return StateKind::buffer;
  return p.orthogonalised ? StateKind::one_moment : StateKind::two_moments;
}

void sort_by_tensor(std::vector<HeldBox>& boxes) {
  const auto less = [](const HeldBox& a, const HeldBox& b) { return a.tensor < b.tensor; };
  if (!std::is_sorted(boxes.begin(), boxes.end(), less)) std::stable_sort(boxes.begin(), boxes.end(), less);
}

}  // namespace

Holdings::Holdings(const Model& model, const Strategy& strategy, std::int64_t world)
    : model_(model), strategy_(strategy), mesh_(strategy_, world) {
  std::vector<std::pair<RankId, Parts*>> places;
  for (std::int32_t rank = 0; rank < world; ++rank) {
    const auto [place, is_new] = parts_.try_emplace(model_place(mesh_.coords(RankId(rank))));
    if (is_new) places.emplace_back(RankId(rank), &place->second);
  }
  parallel_for(static_cast<std::int64_t>(places.size()), [&](std::int64_t i, int) {
    const auto& [rank, parts] = places[static_cast<std::size_t>(i)];
    *parts = parts_of(rank);
  });
  // Experts of one pipeline rank and ETP index have the same sizes whichever they are.
  std::map<std::array<std::int64_t, 3>, std::shared_ptr<const ShardLayout>> cuts;
  for (const auto& [rank, parts] : places) {
    const Coords at = mesh_.coords(rank);
    for (std::size_t kind = 0; kind < parts->size(); ++kind) {
      Part& part = (*parts)[kind];
      auto& shards = cuts[{static_cast<std::int64_t>(kind), at.pp, kind == 0 ? at.tp : at.etp}];
      if (!shards) shards = std::make_shared<const ShardLayout>(part.cut, mesh_.size(kShard[kind]));
      part.shards = shards;
      part.cut = {};
    }
  }
}

Holdings::Parts Holdings::parts_of(RankId rank) const {
  Parts parts;
  for (LocalParameter& p : local_parameters(model_, strategy_, mesh_, rank)) {
    parts[p.whole.is_expert() ? 1 : 0].parameters.push_back(std::move(p));
  }
  for (Part& part : parts) {
    std::vector<LocalParameter> trained;
    std::vector<std::size_t> index_of;
    for (std::size_t i = 0; i < part.parameters.size(); ++i) {
      part.tensors.push_back(tensor_of(part.parameters[i].whole, model_));
      if (part.parameters[i].whole.buffer) continue;
      trained.push_back(part.parameters[i]);
      index_of.push_back(i);
    }
    const std::vector<std::int64_t> order = cut_order(trained);
    part.cut = cut_weights(order, trained);
    part.place_in_cut.assign(part.parameters.size(), -1);
    for (std::size_t place = 0; place < order.size(); ++place) {
      part.place_in_cut[index_of[static_cast<std::size_t>(order[place])]] = static_cast<std::int64_t>(place);
    }
  }
  return parts;
}

Holdings::Place Holdings::place_of(RankId rank, std::size_t list) const {
  const Coords at = mesh_.coords(rank);
  const bool is_dense = list < 2;
  return {.pp = at.pp,
          .split = is_dense ? at.tp : at.etp,
          .ep = is_dense ? 0 : at.ep,
          .shard = is_sharded(list) ? mesh_.index_in_group(kShard[list / 2], rank) : 0};
}

Held Holdings::of(RankId rank) const {
  Held held;
  for (std::size_t list = 0; list < held.size(); ++list) held[list] = of(rank, list);
  return held;
}

std::vector<HeldBox> Holdings::of(RankId rank, std::size_t list) const {
  const std::size_t kind = list / 2;
  const Part& part = parts_.at(model_place(mesh_.coords(rank)))[kind];
  const std::span<const OwnedRange> owned = part.shards->of(mesh_.index_in_group(kShard[kind], rank));
  const bool cuts = is_sharded(list);
  std::vector<HeldBox> out;
  out.reserve(2 * part.parameters.size());
  for (std::size_t i = 0; i < part.parameters.size(); ++i) {
    const LocalParameter& p = part.parameters[i];
    const StateKind state = kind_of(p);
    if (state == StateKind::buffer && is_states(list)) continue;
    const std::int64_t tensor = part.tensors[i];
    if (state == StateKind::buffer || !cuts) {
      for (const Box& box : p.boxes) out.push_back({tensor, state, box});
      continue;
    }
    const OwnedRange& range = owned[static_cast<std::size_t>(part.place_in_cut[i])];
    for (const LocalBox& local : local_boxes(p, range.begin, range.count)) out.push_back({tensor, state, local.box});
  }
  sort_by_tensor(out);
  return out;
}

}  // namespace orrery::planner
