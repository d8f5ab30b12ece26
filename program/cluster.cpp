// SPDX-License-Identifier: Apache-2.0
#include "program/cluster.h"

#include "base/check.h"

namespace orrery {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Scale-up domains of a group: without a scale-up link each device is alone in its own.
std::int64_t num_domains(const NodeGroup& group) {
  if (group.scale_up.kind == ScaleUpKind::none) return group.num_devices();
  return divide_up(group.num_nodes, group.scale_up.span_nodes);
}

std::int64_t domain_in_group(const NodeGroup& group, std::int64_t device) {
  if (group.scale_up.kind == ScaleUpKind::none) return device;
  return device / group.devices_per_node / group.scale_up.span_nodes;
}

// Groups have leaves of their own. Without a fabric all nodes of a group count as below one.
std::int64_t nodes_per_leaf(const Fabric& fabric, const NodeGroup& group) {
  return fabric.kind == FabricKind::none ? group.num_nodes : fabric.nodes_per_leaf;
}

}  // namespace

NodeGroup::NicRange NodeGroup::own_nics(std::int64_t index) const {
  const std::int64_t num_nics = nics ? nics->per_node : 0;
  if (num_nics % devices_per_node == 0) {
    const std::int64_t own = num_nics / devices_per_node;
    return {.first = index * own, .number = own};
  }
  if (devices_per_node % num_nics == 0) return {.first = index / (devices_per_node / num_nics), .number = 1};
  return {.first = 0, .number = num_nics};
}

std::int64_t Cluster::num_devices() const {
  std::int64_t sum = 0;
  for (const NodeGroup& group : groups) sum += group.num_devices();
  return sum;
}

std::int64_t Cluster::num_nodes() const {
  std::int64_t sum = 0;
  for (const NodeGroup& group : groups) sum += group.num_nodes;
  return sum;
}

Cluster::Location Cluster::locate(DeviceIndex device) const {
  CHECK(!device.is_none(), device);
  Location at;
  std::int64_t rest = device.value();
  for (; at.group < groups.size(); ++at.group) {
    const NodeGroup& group = groups[at.group];
    const std::int64_t leaf_size = nodes_per_leaf(fabric, group);
    if (rest < group.num_devices()) {
      const std::int64_t node = rest / group.devices_per_node;
      at.node += node;
      at.index = rest % group.devices_per_node;
      at.domain += domain_in_group(group, rest);
      at.leaf += node / leaf_size;
      return at;
    }
    rest -= group.num_devices();
    at.node += group.num_nodes;
    at.domain += num_domains(group);
    at.leaf += divide_up(group.num_nodes, leaf_size);
  }
  CHECK(false, device, num_devices());
}

DeviceIndex Cluster::first_device(std::int64_t node) const {
  std::int64_t device = 0, rest = node;
  for (const NodeGroup& group : groups) {
    if (rest < group.num_nodes) return DeviceIndex(static_cast<std::int32_t>(device + rest * group.devices_per_node));
    rest -= group.num_nodes;
    device += group.num_devices();
  }
  CHECK(false, node, num_nodes());
}

Cluster::Location Cluster::locate_node(std::int64_t node) const { return locate(first_device(node)); }

}  // namespace orrery
