// SPDX-License-Identifier: Apache-2.0
#include "costmodel/rank_colours.h"

#include "costmodel/op_timer.h"

#include <algorithm>
#include <bit>
#include <map>
#include <set>
#include <utility>

namespace orrery::costmodel {
namespace {

using Colours = std::vector<std::uint32_t>;
using Signature = std::vector<std::uint64_t>;

RankId rank_id(std::size_t rank) { return RankId(static_cast<std::int32_t>(rank)); }

/// Mixes the bits of `x`, so that sums over sets tell the sets apart (the finaliser of SplitMix64).
std::uint64_t mixed(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

std::set<Group> groups_of(const StepProgram& program) {
  std::set<Group> groups;
  for (const OpShape& shape : program.shapes) {
    const auto* collective = std::get_if<CollectiveShape>(&shape);
    const auto* exchange = std::get_if<ExchangeShape>(&shape);
    const auto* peer = std::get_if<PeerShape>(&shape);
    if (collective || exchange || peer) groups.insert(group_of(shape));
  }
  groups.erase(Group::self);
  return groups;
}

/// One number for each different signature, in the order in which they first come.
Colours numbered(const std::vector<Signature>& signatures) {
  std::map<Signature, std::uint32_t> numbers;
  Colours colours;
  for (const Signature& signature : signatures) {
    colours.push_back(numbers.try_emplace(signature, static_cast<std::uint32_t>(numbers.size())).first->second);
  }
  return colours;
}

/// Appends to each rank's signature the set of colours of those that are in the same place as it.
template <class Place>
void append_sets(const Colours& colours, const std::vector<Place>& places, std::vector<Signature>& signatures) {
  std::map<Place, std::uint64_t> sums;
  for (std::size_t rank = 0; rank < colours.size(); ++rank) sums[places[rank]] += mixed(colours[rank]);
  for (std::size_t rank = 0; rank < colours.size(); ++rank) signatures[rank].push_back(sums[places[rank]]);
}

/// The leaves whose uplinks can be full though the NICs below are not.
std::set<std::int64_t> leaves_that_bind(const Cluster& cluster, const Disturbances& disturbances) {
  std::set<std::int64_t> leaves;
  const auto add = [&](std::int64_t node) { leaves.insert(cluster.locate_node(node).leaf); };
  if (cluster.fabric.oversubscription > 1.0) {
    for (std::int64_t node = 0; node < cluster.num_nodes(); ++node) add(node);
  }
  for (const LinkFault& fault : disturbances.links) {
    if (fault.link == LinkClass::uplink) add(fault.node);
  }
  for (const ForeignTraffic& traffic : disturbances.traffic) {
    add(traffic.from_node);
    add(traffic.to_node);
  }
  return leaves;
}

/// Tells all nodes of each of these leaves apart where they are not of one kind. Whether any was.
bool split_mixed(const std::set<std::int64_t>& which, const std::vector<Cluster::Location>& at, Colours& colours) {
  std::map<std::int64_t, std::uint64_t> kinds;  // by node: the set of its colours
  for (std::size_t rank = 0; rank < colours.size(); ++rank) kinds[at[rank].node] += mixed(colours[rank]);
  std::map<std::int64_t, std::map<std::int64_t, std::int64_t>> leaves;  // by leaf: its nodes, numbered
  std::map<std::int64_t, std::set<std::uint64_t>> kinds_of_leaf;
  for (const Cluster::Location& place : at) {
    auto& nodes = leaves[place.leaf];
    nodes.try_emplace(place.node, static_cast<std::int64_t>(nodes.size()));
    kinds_of_leaf[place.leaf].insert(kinds[place.node]);
  }
  std::vector<Signature> signatures(colours.size());
  for (std::size_t rank = 0; rank < colours.size(); ++rank) {
    const Cluster::Location& place = at[rank];
    const bool is_mixed = which.contains(place.leaf) && kinds_of_leaf[place.leaf].size() > 1;
    signatures[rank] = {colours[rank],
                        is_mixed ? static_cast<std::uint64_t>(leaves[place.leaf][place.node]) + 1 : std::uint64_t{0}};
  }
  Colours finer = numbered(signatures);
  if (std::ranges::max(finer) == std::ranges::max(colours)) return false;
  colours = std::move(finer);
  return true;
}

}  // namespace

Colours colours_of(const StepProgram& program, const Cluster& cluster,
                   const std::function<DeviceIndex(RankId)>& device_of, const Disturbances& disturbances,
                   bool replicas_differ) {
  const auto num_ranks = static_cast<std::size_t>(program.mesh.world());
  std::vector<Cluster::Location> at;
  for (std::size_t rank = 0; rank < num_ranks; ++rank) at.push_back(cluster.locate(device_of(rank_id(rank))));
  std::set<std::int64_t> nodes;  // with disturbed links
  for (const LinkFault& fault : disturbances.links) nodes.insert(fault.node);
  for (const ForeignTraffic& traffic : disturbances.traffic) nodes.insert({traffic.from_node, traffic.to_node});

  std::vector<Signature> signatures(num_ranks);
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    const double factor = rank_factor(disturbances, static_cast<std::int64_t>(rank));
    const RankView view = program.view(rank_id(rank));
    signatures[rank] = {static_cast<std::uint64_t>(view.program_class.value()), std::bit_cast<std::uint64_t>(factor),
                        nodes.contains(at[rank].node) ? static_cast<std::uint64_t>(at[rank].node) + 1 : 0,
                        replicas_differ ? static_cast<std::uint64_t>(view.coords.edp) : 0};
  }
  Colours colours = numbered(signatures);
  // Where each rank is, by kind of group; by place of the cluster.
  std::vector<std::vector<std::int64_t>> places;
  std::vector<std::vector<std::size_t>> neighbours;
  for (const Group group : groups_of(program)) {
    const bool edge = group == Group::pp_next || group == Group::pp_prev;
    if (edge) neighbours.emplace_back();
    if (!edge) places.emplace_back();
    for (std::size_t rank = 0; rank < num_ranks; ++rank) {
      if (edge) neighbours.back().push_back(program.mesh.members(group, rank_id(rank)).front().index());
      if (!edge) places.back().push_back(program.mesh.group_index(group, rank_id(rank)));
    }
  }
  for (const auto member : {&Cluster::Location::node, &Cluster::Location::leaf}) {
    std::vector<std::int64_t>& of_cluster = places.emplace_back();
    for (const Cluster::Location& location : at) of_cluster.push_back(location.*member);
  }
  const std::set<std::int64_t> bind = leaves_that_bind(cluster, disturbances);
  while (true) {
    for (std::size_t rank = 0; rank < num_ranks; ++rank) signatures[rank] = {colours[rank]};
    for (const auto& of_ranks : places) append_sets(colours, of_ranks, signatures);
    for (const auto& of_ranks : neighbours) {
      for (std::size_t rank = 0; rank < num_ranks; ++rank) signatures[rank].push_back(colours[of_ranks[rank]]);
    }
    Colours finer = numbered(signatures);
    const bool stable = std::ranges::max(finer) == std::ranges::max(colours);
    if (!stable) colours = std::move(finer);
    if (stable && !split_mixed(bind, at, colours)) return colours;
  }
}

}  // namespace orrery::costmodel
