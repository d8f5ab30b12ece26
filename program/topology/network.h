// SPDX-License-Identifier: Apache-2.0
// The switches of one group of nodes, and the ways between those that NICs are plugged into. One file per kind of
// network. Routes are explicit: every one is a sum over links, computed from coordinates and never searched for.
#pragma once

#include "program/cluster.h"
#include "program/topology/link_graph.h"
#include "program/topology/ways.h"

#include <cstdint>
#include <functional>
#include <memory>

namespace orrery::topology {

/// Else a fabric is a tree, or none.
inline bool has_routers(const Fabric& fabric) {
  return fabric.kind == FabricKind::torus || fabric.kind == FabricKind::dragonfly;
}

/// Told for each link of a route, with the part of the flow that takes it.
using LinkVisitor = std::function<void(LinkIndex, double)>;

class Network {
 public:
  virtual ~Network() = default;

  /// The switch that a NIC of a node is plugged into. `leaf`: of the node, over the group.
  virtual PlaceIndex switch_of(std::int64_t leaf, std::int64_t nic) const = 0;

  /// Whether route() knows a way between NICs of these rails that leads through switches only.
  virtual bool joins(std::int64_t rail, std::int64_t other) const = 0;

  /// Between two switches that NICs are plugged into. Requires: their rails are joined; from != to.
  virtual void route(PlaceIndex from, PlaceIndex to, double share, const Ways& ways,
                     const LinkVisitor& visit) const = 0;
};

/// Adds the switches of `cluster.groups[group]` to `graph`. Requires: the group has NICs, and there is a fabric.
std::unique_ptr<Network> add_network(LinkGraph& graph, const Cluster& cluster, std::size_t group);

/// Leaves, spines and, with pods, cores: rail_leaf_spine and fat_tree.
std::unique_ptr<Network> add_tree(LinkGraph& graph, const Cluster& cluster, std::size_t group);
/// One group of nodes on routers that are numbered by leaf.
std::unique_ptr<Network> add_torus(LinkGraph& graph, const Cluster& cluster, std::size_t group);
std::unique_ptr<Network> add_dragonfly(LinkGraph& graph, const Cluster& cluster, std::size_t group);

}  // namespace orrery::topology
