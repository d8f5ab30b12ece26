// SPDX-License-Identifier: Apache-2.0
#include "planner/densest_devices.h"

#include "base/check.h"

#include <algorithm>
#include <cstdint>

namespace orrery::planner {

std::vector<DeviceIndex> densest_of(const Cluster& cluster, std::span<const DeviceIndex> device_of_rank) {
  std::vector<DeviceIndex> out;
  if (device_of_rank.empty()) return out;
  const std::int64_t per_node = cluster.groups.front().devices_per_node;
  const auto node_of = [&](DeviceIndex device) { return device.value() / per_node; };
  const std::int64_t first = node_of(device_of_rank.front());
  const std::int64_t taken = std::count_if(device_of_rank.begin(), device_of_rank.end(),
                                           [&](DeviceIndex device) { return node_of(device) == first; });
  CHECK(taken >= 1, taken);
  for (std::int64_t rank = 0; rank < std::ssize(device_of_rank); ++rank) {
    out.emplace_back(static_cast<std::int32_t>(rank / taken * per_node + rank % taken));
  }
  return out;
}

}  // namespace orrery::planner
