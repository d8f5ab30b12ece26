// SPDX-License-Identifier: Apache-2.0
#include "program/topology/check.h"

#include "tests/unit/program/topology/clusters.h"

#include <gtest/gtest.h>

namespace orrery::topology {
namespace {

std::vector<std::string> problems(const Cluster& cluster) {
  std::vector<std::string> all;
  for (const Problem& problem : problems_of(Topology(cluster))) all.push_back(to_text(problem));
  return all;
}

TEST(TopologyCheck, AcceptsWhatIsWhole) {
  EXPECT_EQ(problems(cluster_of(4, 4, {.kind = FabricKind::rail_leaf_spine, .nodes_per_leaf = 2, .planes = 2})),
            std::vector<std::string>());
  EXPECT_EQ(problems(cluster_of(1, 4, {})), std::vector<std::string>());
}

TEST(TopologyCheck, NamesEveryLinkWithoutBandwidthAtOnce) {
  Cluster cluster = cluster_of(4, 4, {.kind = FabricKind::dragonfly, .dimensions = {2, 2}});
  cluster.groups[0].scale_up.per_device = std::nullopt;
  cluster.groups[0].nics->each = std::nullopt;
  EXPECT_EQ(problems(cluster),
            (std::vector<std::string>{
                "/groups/0/scale_up/per_device: expected the bandwidth of a device's links into its domain, got null",
                "/groups/0/nics/each: expected the bandwidth of a NIC, got null",
                "/fabric/link: expected the bandwidth of a cable between two routers, got null",
                "/fabric/global_link: expected the bandwidth of a cable between two groups, got null"}));
}

TEST(TopologyCheck, NamesNumbersThatDoNotFit) {
  Cluster cluster = cluster_of(6, 4, {.kind = FabricKind::rail_leaf_spine, .nodes_per_leaf = 3, .planes = 2});
  cluster.groups[0].nics->rails = 3;
  cluster.groups[0].scale_up.span_nodes = 2;
  EXPECT_EQ(problems(cluster), (std::vector<std::string>{
                                   "/groups/0/nics/rails: expected a divisor of 4, the NICs of a node, got 3",
                                   "/groups/0/scale_up/span_nodes: expected a divisor or a multiple of 3, the nodes of "
                                   "a leaf, got 2",
                                   "/fabric/planes: expected a divisor of 3, the rails of group \"g\", got 2"}));
}

TEST(TopologyCheck, NamesDevicesThatNothingJoins) {
  EXPECT_EQ(problems(cluster_of(3, 2, {})),
            (std::vector<std::string>{
                "/fabric/kind: expected all devices to reach each other, got 3 parts that nothing joins: 2 of group "
                "\"g\" from device 0 on, 2 of group \"g\" from device 2 on, 2 of group \"g\" from device 4 on\n"
                "  hint: a fabric joins the nodes of a group, a gateway two groups"}));
  Cluster cluster = cluster_of(2, 2, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 2});
  cluster.groups.push_back(cluster.groups[0]);
  cluster.groups[1].name = "h";
  EXPECT_EQ(problems(cluster),
            (std::vector<std::string>{
                "/gateways: expected all devices to reach each other, got 2 parts that nothing joins: 4 of group \"g\" "
                "from device 0 on, 4 of group \"h\" from device 4 on\n  hint: a gateway joins two groups"}));
  cluster.groups[1].nics = std::nullopt;
  cluster.gateways = {{.from = "g", .to = "h"}};
  EXPECT_EQ(problems(cluster),
            (std::vector<std::string>{"/gateways/0/bandwidth: expected the bandwidth of a gateway, got null"}));
}

TEST(TopologyCheck, GroupsNeedAGatewayOfTheirOwn) {
  Cluster cluster = cluster_of(2, 2, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 2});
  cluster.groups.resize(3, cluster.groups[0]);
  cluster.groups[1].name = "h";
  cluster.groups[2].name = "i";
  cluster.gateways = {{.from = "g", .to = "h", .bandwidth = kUnlimited},
                      {.from = "h", .to = "i", .bandwidth = kUnlimited}};
  EXPECT_EQ(problems(cluster),
            (std::vector<std::string>{"/gateways: expected a gateway between \"g\" and \"i\", got none"}));
}

TEST(TopologyCheck, UnknownsAreNoProblemsButNamed) {
  Cluster cluster = cluster_of(2, 2, {.kind = FabricKind::torus, .dimensions = {2}, .link = kUnlimited});
  cluster.pue = 1.1;
  cluster.kg_co2_per_kwh = 0.1;
  cluster.usd_per_device_hour = 2.0;
  EXPECT_EQ(problems(cluster), std::vector<std::string>());
  std::vector<std::string> pointers;
  for (const Unknown& unknown : unknowns_of(cluster)) pointers.push_back(unknown.pointer);
  EXPECT_EQ(pointers, (std::vector<std::string>{"/groups/0/host/memory", "/groups/0/device/memory",
                                                "/groups/0/device/power_limit", "/fabric/hop_latency", "/failures"}));
}

}  // namespace
}  // namespace orrery::topology
