// SPDX-License-Identifier: Apache-2.0
#include "program/topology/network.h"

#include "base/check.h"

namespace orrery::topology {

std::unique_ptr<Network> add_network(LinkGraph& graph, const Cluster& cluster, std::size_t group) {
  CHECK(cluster.groups[group].nics.has_value(), group);
  switch (cluster.fabric.kind) {
    case FabricKind::rail_leaf_spine:
    case FabricKind::fat_tree:
      return add_tree(graph, cluster, group);
    case FabricKind::torus:
      return add_torus(graph, cluster, group);
    case FabricKind::dragonfly:
      return add_dragonfly(graph, cluster, group);
    case FabricKind::none:
      break;
  }
  CHECK(false, group);
}

}  // namespace orrery::topology
