// SPDX-License-Identifier: Apache-2.0
#include "program/topology/uplinks.h"

#include <algorithm>
#include <cmath>

namespace orrery::topology {

Upwards upwards(std::int64_t num_ports, std::optional<BytesPerSecond> port, double oversubscription, std::int64_t parts,
                std::optional<std::int64_t> stated) {
  const double needed = static_cast<double>(num_ports) / oversubscription;
  const auto of_part = static_cast<std::int64_t>(std::ceil(needed / static_cast<double>(parts) - 1e-9));
  Upwards up{.num_links = parts * stated.value_or(std::max<std::int64_t>(of_part, 1)), .each = {}};
  if (port) up.each = *port * (needed / static_cast<double>(up.num_links));
  return up;
}

Upwards uplinks_of_switch(const Cluster& cluster, std::size_t group) {
  const Fabric& fabric = cluster.fabric;
  const NodeGroup& nodes = cluster.groups[group];
  const bool has_rails = fabric.kind == FabricKind::rail_leaf_spine;
  const std::int64_t num_rails = has_rails ? nodes.nics->rails : 1;
  const std::int64_t nodes_below = std::min(fabric.nodes_per_leaf, nodes.num_nodes);
  const std::int64_t num_ports = nodes_below * ((nodes.nics->per_node + num_rails - 1) / num_rails);
  // A leaf of a rail has uplinks into its own plane; one of all NICs into all planes.
  return upwards(num_ports, nodes.nics->each, fabric.oversubscription, has_rails ? 1 : fabric.planes,
                 fabric.num_spines);
}

LeafUplinks leaf_uplinks(const Cluster& cluster, std::size_t group) {
  const FabricKind kind = cluster.fabric.kind;
  if (!cluster.groups[group].nics || (kind != FabricKind::rail_leaf_spine && kind != FabricKind::fat_tree)) return {};
  const bool has_rails = kind == FabricKind::rail_leaf_spine;
  const std::int64_t of_switch = uplinks_of_switch(cluster, group).num_links;
  return {.number = of_switch * (has_rails ? cluster.groups[group].nics->rails : 1),
          .num_planes = cluster.fabric.planes,
          .of_switch = of_switch,
          .has_rails = has_rails};
}

}  // namespace orrery::topology
