// SPDX-License-Identifier: Apache-2.0
// Which worlds the devices that are left can make. Ranks want nodes that are all alike, so a world is a number of nodes
// and a number of devices on each of them. A node that lost a device is left out of worlds of whole nodes and takes
// part in those that want less of each node.
#pragma once

#include "program/cluster.h"

#include <cstdint>
#include <span>
#include <vector>

namespace orrery::planner {

struct World {
  std::int64_t num_nodes = 0, devices_per_node = 0;
  std::int64_t size() const { return num_nodes * devices_per_node; }
  bool operator==(const World&) const = default;
};

/// All worlds of `left`, the largest first; of equal size only that with the fewest nodes.
/// Requires: a cluster of one group.
std::vector<World> worlds_of(const Cluster& cluster, std::span<const DeviceIndex> left);

/// The devices of a world: the first nodes of `left` that have enough, and the first devices of each.
std::vector<DeviceIndex> devices_of(const World& world, const Cluster& cluster, std::span<const DeviceIndex> left);

}  // namespace orrery::planner
