// SPDX-License-Identifier: Apache-2.0
// Small clusters for the tests of topologies.
#pragma once

#include "program/cluster.h"

#include <cstdint>

namespace orrery::topology {

/// Nodes with NVLink of 200 GB/s and a NIC of 50 GB/s for each device, each on a rail of its own.
inline Cluster cluster_of(std::int64_t num_nodes, std::int64_t devices_per_node, Fabric fabric) {
  NodeGroup group;
  group.name = "g";
  group.num_nodes = num_nodes;
  group.devices_per_node = devices_per_node;
  group.scale_up = {.kind = ScaleUpKind::nvlink,
                    .span_nodes = 1,
                    .per_device = 200.0 * unit::gigabytes_per_second,
                    .latency = microseconds(3)};
  group.nics = Nics{.per_node = devices_per_node,
                    .each = 50.0 * unit::gigabytes_per_second,
                    .rails = devices_per_node,
                    .latency = microseconds(2)};
  group.host.pcie = 64.0 * unit::gigabytes_per_second;
  Cluster cluster;
  cluster.name = "small";
  cluster.groups = {group};
  cluster.fabric = std::move(fabric);
  return cluster;
}

/// One device and one NIC for each node, so that devices are nodes.
inline Cluster lone_devices(std::int64_t num_nodes, Fabric fabric) {
  Cluster cluster = cluster_of(num_nodes, 1, std::move(fabric));
  cluster.groups[0].scale_up = {};
  return cluster;
}

inline DeviceIndex device(std::int64_t number) { return DeviceIndex(static_cast<std::int32_t>(number)); }

inline double gigabytes(BytesPerSecond rate) { return rate.in(unit::gigabytes_per_second); }

}  // namespace orrery::topology
