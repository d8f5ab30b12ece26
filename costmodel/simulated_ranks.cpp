// SPDX-License-Identifier: Apache-2.0
#include "costmodel/simulated_ranks.h"

#include "base/check.h"
#include "costmodel/rank_colours.h"

#include <algorithm>
#include <set>

namespace orrery::costmodel {
namespace {

RankId rank_id(std::int64_t rank) { return RankId(static_cast<std::int32_t>(rank)); }

/// Where a group begins, as far as routes depend on it: a torus and a dragonfly look different from every router, a pod
/// from every leaf of it, and a tree the same from all of its leaves.
std::int64_t beginning_of(const Fabric& fabric, std::int64_t leaf) {
  switch (fabric.kind) {
    case FabricKind::torus:
    case FabricKind::dragonfly:
      return leaf;
    case FabricKind::rail_leaf_spine:
    case FabricKind::fat_tree:
      return fabric.pods ? leaf % fabric.pods->leaves : 0;
    case FabricKind::none:
      break;
  }
  return 0;
}

/// How a group lies on the cluster, seen from its first member: equal for groups whose communication takes the same.
std::vector<std::int64_t> layout_of(const Cluster& cluster, std::span<const DeviceIndex> devices) {
  const Cluster::Location first = cluster.locate(devices.front());
  const NodeGroup& group = cluster.groups[first.group];
  const auto rail = [&](const Cluster::Location& at) { return group.own_nics(at.index).first; };
  std::vector<std::int64_t> layout = {beginning_of(cluster.fabric, first.leaf)};
  for (DeviceIndex device : devices) {
    const Cluster::Location place = cluster.locate(device);
    layout.insert(layout.end(), {place.domain - first.domain, place.node - first.node, place.leaf - first.leaf,
                                 rail(place) - rail(first)});
  }
  return layout;
}

}  // namespace

SimulatedRanks::SimulatedRanks(const StepProgram& program, const Cluster& cluster,
                               std::span<const DeviceIndex> device_of_rank, const RunInput& input)
    : program_(program), cluster_(cluster), devices_(program.strategy, program.mesh.world(), device_of_rank) {
  const std::int64_t world = program.mesh.world();
  bool one_kind = true;
  const std::size_t first_group = cluster.locate(device_of(RankId(0))).group;
  for (std::int64_t r = 1; r < world && one_kind; ++r) {
    one_kind = cluster.locate(device_of(rank_id(r))).group == first_group;
  }
  const Disturbances& disturbances = input.disturbances;
  folded_ = one_kind && !input.all_ranks && is_balanced(input.load) && is_fixed(input.sequences) &&
            !disturbances.noise.is_some();
  if (folded_) {
    if (input.all_replicas || !disturbances.stragglers.empty() || disturbances.on_links()) {
      const auto device = [this](RankId rank) { return device_of(rank); };
      colours_ = colours_of(program, cluster, device, disturbances, input.all_replicas);
    }
    fold();
    return;
  }
  for (std::int64_t r = 0; r < world; ++r) {
    ranks_.push_back({.view = program.view(rank_id(r)), .device = device_of(rank_id(r))});
  }
}

void SimulatedRanks::fold() {
  ranks_.resize(colours_.empty() ? program_.classes.size() : std::size_t{std::ranges::max(colours_)} + 1);
  std::vector<std::int64_t> node_of(ranks_.size(), -1), leaf_of(ranks_.size(), -1);
  std::vector<std::set<std::int64_t>> nodes_on_leaf(ranks_.size());
  for (SimulatedRank& rank : ranks_) rank.represents = rank.represents_on_node = 0;
  equal_ranks_.resize(ranks_.size());
  for (std::int64_t r = 0; r < program_.mesh.world(); ++r) {
    const RankView view = program_.view(rank_id(r));
    const std::size_t c = index_of(view.rank);
    equal_ranks_[c].push_back(view.rank);
    SimulatedRank& rank = ranks_[c];
    const DeviceIndex device = device_of(rank_id(r));
    const Cluster::Location at = cluster_.locate(device);
    if (rank.represents == 0) {
      rank.view = view;
      rank.device = device;
      node_of[c] = at.node;
      leaf_of[c] = at.leaf;
    }
    ++rank.represents;
    if (at.node == node_of[c]) ++rank.represents_on_node;
    if (at.leaf == leaf_of[c]) nodes_on_leaf[c].insert(at.node);
  }
  for (std::size_t c = 0; c < ranks_.size(); ++c) {
    ranks_[c].nodes_on_leaf = static_cast<std::int64_t>(nodes_on_leaf[c].size());
  }
}

std::uint32_t SimulatedRanks::index_of(RankId rank) const {
  if (!colours_.empty()) return colours_[rank.index()];
  return static_cast<std::uint32_t>(folded_ ? program_.view(rank).program_class.index() : rank.index());
}

std::vector<std::uint32_t> SimulatedRanks::members(Group group, RankId rank) const {
  std::vector<std::uint32_t> indices;
  const bool by_class = folded_ && colours_.empty();
  if (by_class && group == Group::world) {
    for (std::uint32_t i = 0; i < ranks_.size(); ++i) indices.push_back(i);
  } else if (by_class && !program_.mesh.spans_pipeline_ranks(group)) {
    indices.push_back(index_of(rank));  // the others of its class do the same at the same time
  } else {
    for (RankId member : program_.mesh.members(group, rank)) indices.push_back(index_of(member));
    std::sort(indices.begin(), indices.end());
    indices.erase(std::unique(indices.begin(), indices.end()), indices.end());  // one for each class
  }
  return indices;
}

std::uint32_t SimulatedRanks::leader(Group group, RankId rank) const {
  if (!colours_.empty()) {
    const auto [known, is_new] = leaders_.try_emplace({group, program_.mesh.group_index(group, rank)});
    if (is_new) known->second = members(group, rank).front();
    return known->second;
  }
  if (folded_) return index_of(rank);
  return static_cast<std::uint32_t>(program_.mesh.group_index(group, rank));
}

std::int64_t SimulatedRanks::communicator(Group group, RankId rank) const {
  return colours_.empty() ? program_.mesh.group_index(group, rank) : std::int64_t{leader(group, rank)};
}

std::vector<DeviceIndex> SimulatedRanks::devices_of_members(Group group, RankId rank) const {
  std::vector<DeviceIndex> devices;
  if (group == Group::pp_next || group == Group::pp_prev) devices.push_back(device_of(rank));
  for (RankId member : program_.mesh.members(group, rank)) devices.push_back(device_of(member));
  return devices;
}

std::vector<std::vector<DeviceIndex>> SimulatedRanks::devices(Group group, RankId rank) const {
  if (!folded_ || group == Group::world) return {devices_of_members(group, rank)};
  std::vector<std::vector<DeviceIndex>> lists;
  std::set<std::vector<std::int64_t>> layouts;
  std::set<std::int64_t> groups;
  for (const RankId equal : equal_ranks_[index_of(rank)]) {
    const bool edge = group == Group::pp_next || group == Group::pp_prev;
    if (!edge && !groups.insert(program_.mesh.group_index(group, equal)).second) continue;  // once for each group
    std::vector<DeviceIndex> members = devices_of_members(group, equal);
    if (layouts.insert(layout_of(cluster_, members)).second) lists.push_back(std::move(members));
  }
  return lists;
}

}  // namespace orrery::costmodel
