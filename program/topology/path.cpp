// SPDX-License-Identifier: Apache-2.0
#include "program/topology/path.h"

#include <algorithm>

namespace orrery::topology {
namespace {

std::optional<Seconds> latency_of(const Path& path, const Cluster& cluster, const NodeGroup& group) {
  if (path.uses(LinkKind::gateway)) return std::nullopt;  // no key states it
  if (!path.uses(LinkKind::nic)) return group.scale_up.latency;
  const double further = path.num_hops;
  if (further <= 0.0 || !group.nics->latency) return group.nics->latency;
  if (!cluster.fabric.hop_latency) return std::nullopt;
  return *group.nics->latency + further * *cluster.fabric.hop_latency;
}

}  // namespace

std::optional<Path> path_between(const Topology& topology, DeviceIndex from, DeviceIndex to) {
  Path path;
  const LinkGraph& graph = topology.graph();
  const auto add = [&](LinkIndex link, double share) {
    const auto found = std::ranges::find(path.links, link, &std::pair<LinkIndex, double>::first);
    if (found == path.links.end()) {
      path.links.emplace_back(link, share);
    } else {
      found->second += share;
    }
  };
  if (!topology.route(from, to, Ways::balanced(), add)) return std::nullopt;
  for (const auto& [index, share] : path.links) {
    const Link& link = graph[index];
    path.kinds.set(static_cast<std::size_t>(link.kind));
    path.bandwidth = std::min(path.bandwidth, link.bandwidth.value_or(kUnlimited) / share);
    if (link.kind == LinkKind::hop || link.kind == LinkKind::global) path.num_hops += share;
  }
  const Cluster& cluster = topology.cluster();
  path.latency = latency_of(path, cluster, cluster.groups[cluster.locate(from).group]);
  return path;
}

std::string_view class_of(const Path& path) {
  if (path.uses(LinkKind::gateway)) return "gateway";
  if (!path.uses(LinkKind::nic)) return "node";
  const bool beyond = path.uses(LinkKind::uplink) || path.uses(LinkKind::hop) || path.uses(LinkKind::global);
  return beyond ? "spine" : "rail";
}

}  // namespace orrery::topology
