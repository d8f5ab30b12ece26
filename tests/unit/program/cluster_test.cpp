// SPDX-License-Identifier: Apache-2.0
#include "program/cluster.h"

#include <optional>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::Pair;

NodeGroup group(std::int64_t num_nodes, std::int64_t devices_per_node, std::int64_t span_nodes = 1) {
  NodeGroup out;
  out.num_nodes = num_nodes;
  out.devices_per_node = devices_per_node;
  out.scale_up = {.kind = ScaleUpKind::nvlink, .span_nodes = span_nodes};
  return out;
}

Cluster two_groups() {
  Cluster cluster;
  cluster.groups = {group(4, 8), group(6, 4, 2)};
  cluster.fabric = {.kind = FabricKind::fat_tree, .nodes_per_leaf = 3};
  return cluster;
}

TEST(Cluster, NumbersDevicesByGroupNodeAndIndex) {
  const Cluster cluster = two_groups();
  EXPECT_EQ(cluster.num_devices(), 56);
  const Cluster::Location first = cluster.locate(DeviceIndex(13));
  EXPECT_EQ(first.group, 0);
  EXPECT_EQ(first.node, 1);
  EXPECT_EQ(first.index, 5);
  const Cluster::Location second = cluster.locate(DeviceIndex(32 + 4 * 5 + 3));
  EXPECT_EQ(second.group, 1);
  EXPECT_EQ(second.node, 4 + 5);
  EXPECT_EQ(second.index, 3);
}

TEST(Cluster, LocatesANodeByItsFirstDevice) {
  const Cluster cluster = two_groups();
  EXPECT_EQ(cluster.num_nodes(), 10);
  for (const std::int32_t device : {0, 24, 32, 52}) {
    const Cluster::Location expected = cluster.locate(DeviceIndex(device));
    EXPECT_EQ(cluster.first_device(expected.node), DeviceIndex(device));
    const Cluster::Location at = cluster.locate_node(expected.node);
    EXPECT_EQ(at.index, 0);
    EXPECT_EQ(at.group, expected.group);
    EXPECT_EQ(at.node, expected.node);
    EXPECT_EQ(at.domain, expected.domain);
    EXPECT_EQ(at.leaf, expected.leaf);
  }
}

/// First and number of the NICs of device 5 of 8.
std::pair<std::int64_t, std::int64_t> nics_of_the_sixth(std::optional<Nics> nics) {
  NodeGroup node = group(1, 8);
  node.nics = nics;
  const auto [first, number] = node.own_nics(5);
  return {first, number};
}

TEST(NodeGroup, DividesItsNicsAmongItsDevices) {
  EXPECT_THAT(nics_of_the_sixth(Nics{.per_node = 8}), Pair(5, 1));
  EXPECT_THAT(nics_of_the_sixth(Nics{.per_node = 16}), Pair(10, 2));
  EXPECT_THAT(nics_of_the_sixth(Nics{.per_node = 4}), Pair(2, 1));  // with device 4
  EXPECT_THAT(nics_of_the_sixth(Nics{.per_node = 3}), Pair(0, 3));  // with all others
  EXPECT_THAT(nics_of_the_sixth(std::nullopt), Pair(0, 0));
}

TEST(Cluster, GroupsHaveDomainsAndLeavesOfTheirOwn) {
  const Cluster cluster = two_groups();
  EXPECT_EQ(cluster.locate(DeviceIndex(31)).domain, 3);
  EXPECT_EQ(cluster.locate(DeviceIndex(31)).leaf, 1);
  EXPECT_EQ(cluster.locate(DeviceIndex(32)).domain, 4);
  EXPECT_EQ(cluster.locate(DeviceIndex(32 + 7)).domain, 4);  // a domain of two nodes
  EXPECT_EQ(cluster.locate(DeviceIndex(32 + 8)).domain, 5);
  EXPECT_EQ(cluster.locate(DeviceIndex(32)).leaf, 2);
  EXPECT_EQ(cluster.locate(DeviceIndex(55)).leaf, 3);
}

TEST(Cluster, WithoutScaleUpEachDeviceIsAlone) {
  Cluster cluster = two_groups();
  cluster.groups[0].scale_up.kind = ScaleUpKind::none;
  EXPECT_EQ(cluster.locate(DeviceIndex(13)).domain, 13);
  EXPECT_EQ(cluster.locate(DeviceIndex(32)).domain, 32);
}

TEST(Cluster, WithoutFabricAGroupIsOneLeaf) {
  Cluster cluster = two_groups();
  cluster.fabric = {};
  EXPECT_EQ(cluster.locate(DeviceIndex(31)).leaf, 0);
  EXPECT_EQ(cluster.locate(DeviceIndex(55)).leaf, 1);
}

}  // namespace
}  // namespace orrery
