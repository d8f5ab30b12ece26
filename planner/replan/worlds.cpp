// SPDX-License-Identifier: Apache-2.0
#include "planner/replan/worlds.h"

#include "base/check.h"

#include <algorithm>
#include <map>

namespace orrery::planner {
namespace {

/// By node, in order.
std::map<std::int64_t, std::vector<DeviceIndex>> by_node(const Cluster& cluster, std::span<const DeviceIndex> left) {
  std::map<std::int64_t, std::vector<DeviceIndex>> nodes;
  for (const DeviceIndex device : left) nodes[cluster.locate(device).node].push_back(device);
  for (auto& [node, devices] : nodes) std::sort(devices.begin(), devices.end());
  return nodes;
}

}  // namespace

std::vector<World> worlds_of(const Cluster& cluster, std::span<const DeviceIndex> left) {
  CHECK(cluster.groups.size() == 1, cluster.groups.size());
  const auto nodes = by_node(cluster, left);
  std::vector<World> worlds;
  for (std::int64_t each = cluster.groups.front().devices_per_node; each >= 1; --each) {
    const auto most = std::count_if(nodes.begin(), nodes.end(), [&](const auto& node) {
      return static_cast<std::int64_t>(node.second.size()) >= each;
    });
    for (std::int64_t count = most; count >= 1; --count) worlds.push_back({count, each});
  }
  std::stable_sort(worlds.begin(), worlds.end(), [](const World& a, const World& b) { return a.size() > b.size(); });
  worlds.erase(
      std::unique(worlds.begin(), worlds.end(), [](const World& a, const World& b) { return a.size() == b.size(); }),
      worlds.end());
  return worlds;
}

std::vector<DeviceIndex> devices_of(const World& world, const Cluster& cluster, std::span<const DeviceIndex> left) {
  std::vector<DeviceIndex> out;
  std::int64_t taken = 0;
  for (const auto& [node, devices] : by_node(cluster, left)) {
    if (taken == world.num_nodes || static_cast<std::int64_t>(devices.size()) < world.devices_per_node) continue;
    out.insert(out.end(), devices.begin(), devices.begin() + world.devices_per_node);
    ++taken;
  }
  CHECK(taken == world.num_nodes, taken, world.num_nodes);
  return out;
}

}  // namespace orrery::planner
