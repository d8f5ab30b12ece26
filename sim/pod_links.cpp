// SPDX-License-Identifier: Apache-2.0
#include "sim/pod_links.h"

#include "base/errors.h"

#include <algorithm>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

PodLinks::PodLinks(const Cluster& cluster) : cluster_(cluster) {
  const Fabric& fabric = cluster.fabric;
  if (!fabric.pods || fabric.pods->oversubscription <= 1.0) return;  // only trees have pods
  std::int64_t first = 0;                                            // pod of the group
  for (const NodeGroup& group : cluster.groups) {
    for (std::int64_t node = 0; node < group.num_nodes; ++node) {
      pod_of_node_.push_back(first + node / fabric.nodes_per_leaf / fabric.pods->leaves);
    }
    const std::int64_t num_pods = divide_up(divide_up(group.num_nodes, fabric.nodes_per_leaf), fabric.pods->leaves);
    bind_ = bind_ || num_pods > 1;
    first += num_pods;
  }
}

BytesPerSecond PodLinks::share_of(std::int64_t node) const {
  const NodeGroup& group = cluster_.groups[cluster_.locate_node(node).group];
  if (!group.nics || !group.nics->each) {
    throw ConfigError(
        fmt::format("cluster {}, group {}: nics.each is null; expected a bandwidth, because the program communicates "
                    "over the spines",
                    cluster_.name, group.name));
  }
  const Fabric& fabric = cluster_.fabric;
  return *group.nics->each * static_cast<double>(group.nics->per_node) /
         (fabric.oversubscription * fabric.pods->oversubscription);
}

BytesPerSecond PodLinks::links_of(std::int64_t node) const {
  const NodeGroup& group = cluster_.groups[cluster_.locate_node(node).group];
  const Fabric& fabric = cluster_.fabric;
  // Of a full pod: one that is not has the same spines.
  const std::int64_t leaves = std::min(fabric.pods->leaves, divide_up(group.num_nodes, fabric.nodes_per_leaf));
  return share_of(node) * static_cast<double>(leaves * std::min(fabric.nodes_per_leaf, group.num_nodes));
}

}  // namespace orrery::sim
