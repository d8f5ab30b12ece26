// SPDX-License-Identifier: Apache-2.0
#include "sim/wiring.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <optional>
#include <ranges>
#include <set>
#include <utility>

namespace orrery::sim {
namespace {

constexpr BytesPerSecond kUnlimited = bytes_per_second(std::numeric_limits<double>::infinity());

/// Position of `key` in the order in which keys were first asked for.
template <class Key>
std::size_t numbered(std::map<Key, std::size_t>& numbers, const Key& key) {
  return numbers.try_emplace(key, numbers.size()).first->second;
}

BytesPerSecond scale_up_of(const NodeGroup& group) {
  if (group.scale_up.kind == ScaleUpKind::shared_memory) return kUnlimited;
  return group.scale_up.per_device.value_or(kUnlimited);
}

/// One NIC of a node of `group`.
BytesPerSecond nic_of(const NodeGroup& group) {
  return group.nics && group.nics->per_node > 0 ? group.nics->each.value_or(kUnlimited) : kUnlimited;
}

BytesPerSecond nics_of_node(const NodeGroup& group) {
  return group.nics ? nic_of(group) * static_cast<double>(std::max<std::int64_t>(group.nics->per_node, 1)) : kUnlimited;
}

BytesPerSecond uplinks_of(const Cluster& cluster, const NodeGroup& group) {
  if (cluster.fabric.kind == FabricKind::none) return kUnlimited;
  return nics_of_node(group) * static_cast<double>(std::min(cluster.fabric.nodes_per_leaf, group.num_nodes)) /
         cluster.fabric.oversubscription;
}

/// The leaves that share spines; nothing to share where the tree ends with them.
std::int64_t leaves_of_pod(const Cluster& cluster) {
  const auto& pods = cluster.fabric.pods;
  return pods ? pods->leaves : std::numeric_limits<std::int64_t>::max();
}

/// Of all its spines, which are as many where the last pod is not full.
BytesPerSecond out_of_pod(const Cluster& cluster, const NodeGroup& group) {
  if (!cluster.fabric.pods) return kUnlimited;
  const std::int64_t per_leaf = cluster.fabric.nodes_per_leaf;
  const std::int64_t leaves = std::min(leaves_of_pod(cluster), (group.num_nodes + per_leaf - 1) / per_leaf);
  return uplinks_of(cluster, group) * static_cast<double>(leaves) / cluster.fabric.pods->oversubscription;
}

/// The link by which a device reaches the network: its name (domain, node, first device) and bandwidth.
struct NetworkLink {
  std::array<std::int64_t, 3> name = {};
  BytesPerSecond bandwidth;
};

NetworkLink network_link(const NodeGroup& group, const Cluster::Location& at, bool of_domain) {
  const std::int64_t num_nics = group.nics ? std::max<std::int64_t>(group.nics->per_node, 1) : 1;
  const std::int64_t num_devices = group.devices_per_node;
  if (of_domain) {
    return {.name = {at.domain, -1, -1},
            .bandwidth = nics_of_node(group) * static_cast<double>(group.scale_up.span_nodes)};
  }
  if (num_nics % num_devices == 0) {
    const std::int64_t own = num_nics / num_devices;
    return {.name = {at.domain, at.node, at.index}, .bandwidth = nic_of(group) * static_cast<double>(own)};
  }
  if (num_devices % num_nics == 0) {
    const std::int64_t first = at.index - at.index % (num_devices / num_nics);
    return {.name = {at.domain, at.node, first}, .bandwidth = nic_of(group)};
  }
  return {.name = {at.domain, at.node, -1}, .bandwidth = nics_of_node(group)};
}

using topology::Link;
using topology::LinkGraph;
using topology::LinkKind;
using topology::PlaceIndex;

/// The router of `device`, where a way to `other` leaves it; none: they have the same.
PlaceIndex router_of(const topology::Topology& topology, DeviceIndex device, DeviceIndex other) {
  PlaceIndex router;
  topology.route(device, other, topology::Ways::numbered(0), [&](topology::LinkIndex index, double) {
    const Link& link = topology.graph()[index];
    if (router.is_none() && topology::is_between_switches(link.kind)) router = link.from;
  });
  return router;
}

/// All routers that cables of a dragonfly's group, or of a torus, join with `first`.
std::set<PlaceIndex> joined_with(const LinkGraph& graph, PlaceIndex first) {
  std::set<PlaceIndex> found{first};
  for (bool grew = true; grew;) {
    grew = false;
    for (const Link& link : graph.links) {
      if (link.kind == LinkKind::hop && found.contains(link.from)) grew = found.insert(link.to).second || grew;
    }
  }
  return found;
}

/// Of all cables between routers that lead out of `routers`.
BytesPerSecond out_of(const LinkGraph& graph, const std::set<PlaceIndex>& routers) {
  BytesPerSecond sum;
  for (const Link& link : graph.links) {
    if (!topology::is_between_switches(link.kind) || !routers.contains(link.from) || routers.contains(link.to))
      continue;
    sum += link.bandwidth.value_or(kUnlimited);
  }
  return sum;
}

void add_routers(Wiring& wiring, const topology::Topology& topology, std::span<const DeviceIndex> members) {
  const LinkGraph& graph = topology.graph();
  std::vector<PlaceIndex> router(wiring.leaves.size());
  for (std::size_t i = 0; i < members.size(); ++i) {
    PlaceIndex& here = router[wiring.members[i].leaf];
    for (std::size_t j = 0; j < members.size() && here.is_none(); ++j) {
      if (wiring.members[j].leaf != wiring.members[i].leaf) here = router_of(topology, members[i], members[j]);
    }
  }
  std::map<PlaceIndex, std::size_t> group_of;  // of a dragonfly; of a torus all are one
  std::vector<Wiring::Part> groups;
  for (std::size_t leaf = 0; leaf < router.size(); ++leaf) {
    if (router[leaf].is_none()) return;  // all are on one router
    Wiring::Part& part = wiring.leaves[leaf];
    part.out = std::min(part.out, out_of(graph, {router[leaf]}));
    if (group_of.contains(router[leaf])) continue;
    const std::set<PlaceIndex> joined = joined_with(graph, router[leaf]);
    for (const PlaceIndex place : joined) group_of[place] = groups.size();
    groups.push_back({.out = out_of(graph, joined)});
  }
  for (Wiring::Member& member : wiring.members) {
    member.pod = group_of.at(router[member.leaf]);
    groups[member.pod].num_members += 1.0;
  }
  wiring.pods = std::move(groups);
}

/// Whether all domains have as many of the members.
bool is_even(const std::vector<Cluster::Location>& places) {
  std::map<std::int64_t, std::int64_t> members_of;
  for (const Cluster::Location& at : places) ++members_of[at.domain];
  return std::ranges::all_of(members_of, [&](const auto& of) { return of.second == members_of.begin()->second; });
}

Seconds hop(const NodeGroup& group, bool within_domain) {
  if (within_domain) {
    const bool has_link = group.scale_up.kind != ScaleUpKind::shared_memory;
    return has_link ? group.scale_up.latency.value_or(Seconds::zero()) : Seconds::zero();
  }
  return group.nics ? group.nics->latency.value_or(Seconds::zero()) : Seconds::zero();
}

}  // namespace

Wiring wiring_of(const Cluster& cluster, std::span<const DeviceIndex> members, bool uplinks,
                 const topology::Topology* routers) {
  std::vector<Cluster::Location> places;
  for (const DeviceIndex member : members) places.push_back(cluster.locate(member));
  const bool of_domain = !is_even(places);
  Wiring wiring;
  std::map<std::int64_t, std::size_t> domains, leaves;
  std::map<std::array<std::int64_t, 2>, std::size_t> pods;  // by group and number in it
  std::map<std::array<std::int64_t, 3>, std::size_t> nics;
  std::vector<std::optional<std::size_t>> leaf_of_domain;
  const auto pod_of = [&](const Cluster::Location& at) {
    std::int64_t first = 0;  // leaf of the group
    for (std::size_t g = 0; g < at.group; ++g) {
      first += (cluster.groups[g].num_nodes + cluster.fabric.nodes_per_leaf - 1) / cluster.fabric.nodes_per_leaf;
    }
    return std::array{static_cast<std::int64_t>(at.group), (at.leaf - first) / leaves_of_pod(cluster)};
  };
  for (const Cluster::Location& at : places) {
    const NodeGroup& group = cluster.groups[at.group];
    const NetworkLink network = network_link(group, at, of_domain);
    const Wiring::Member& member =
        wiring.members.emplace_back(Wiring::Member{.domain = numbered(domains, at.domain),
                                                   .leaf = numbered(leaves, at.leaf),
                                                   .pod = numbered(pods, pod_of(at)),
                                                   .nic = numbered(nics, network.name),
                                                   .scale_up = scale_up_of(group),
                                                   .reduces_in_switch = group.scale_up.kind == ScaleUpKind::nvlink});
    wiring.domains.resize(domains.size());
    wiring.leaves.resize(leaves.size(), {.out = uplinks ? uplinks_of(cluster, group) : kUnlimited});
    wiring.pods.resize(pods.size(), {.out = uplinks ? out_of_pod(cluster, group) : kUnlimited});
    leaf_of_domain.resize(domains.size());
    if (member.nic == wiring.nics.size()) {
      wiring.nics.push_back(network.bandwidth);
      wiring.domains[member.domain].out += network.bandwidth;
    }
    wiring.domains[member.domain].num_members += 1.0;
    wiring.leaves[member.leaf].num_members += 1.0;
    wiring.pods[member.pod].num_members += 1.0;
    std::optional<std::size_t>& leaf = leaf_of_domain[member.domain];
    if (leaf.value_or(member.leaf) != member.leaf) wiring.leaves_hold_domains = false;
    leaf = member.leaf;
  }
  const auto hop_of = [&](const Cluster::Location& at) { return hop(cluster.groups[at.group], domains.size() == 1); };
  if (!places.empty()) wiring.latency = std::ranges::min(places | std::views::transform(hop_of));
  if (routers != nullptr && leaves.size() > 1) add_routers(wiring, *routers, members);
  return wiring;
}

}  // namespace orrery::sim
