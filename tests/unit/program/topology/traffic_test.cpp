// SPDX-License-Identifier: Apache-2.0
// Link loads of an all-to-all against sums by hand.
#include "program/topology/traffic.h"

#include "tests/unit/program/topology/clusters.h"

#include <cmath>
#include <set>

#include <gtest/gtest.h>

namespace orrery::topology {
namespace {

std::vector<DeviceIndex> devices_of(const Topology& topology) {
  std::vector<DeviceIndex> all;
  for (std::int64_t i = 0; i < topology.num_devices(); ++i) all.push_back(device(i));
  return all;
}

/// All different loads of the links of a kind, in bytes, rounded to a millionth.
std::set<double> loads_of(const Topology& topology, const LinkLoads& loads, LinkKind kind) {
  std::set<double> found;
  for (std::size_t i = 0; i < loads.of.size(); ++i) {
    if (topology.graph().links[i].kind == kind) found.insert(std::round(loads.of[i].in(unit::byte) * 1e6) / 1e6);
  }
  return found;
}

std::set<double> all_to_all_loads(const Topology& topology, LinkKind kind) {
  return loads_of(topology, all_to_all(topology, devices_of(topology), bytes(1)).loads(), kind);
}

TEST(Traffic, AllToAllOfATreeLoadsUplinksByThePairsBeyondTheLeaf) {
  // 2 leaves of 4 nodes: each node sends 7, of which 4 beyond; 4 uplinks share 4 x 4.
  const Topology topology(lone_devices(8, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 4}));
  EXPECT_EQ(all_to_all_loads(topology, LinkKind::nic), std::set<double>{7.0});
  EXPECT_EQ(all_to_all_loads(topology, LinkKind::uplink), std::set<double>{4.0});
}

TEST(Traffic, OversubscribedUplinksBind) {
  const Topology topology(
      lone_devices(8, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 4, .oversubscription = 4.0}));
  const LinkLoads loads = all_to_all(topology, devices_of(topology), bytes(1)).loads();
  EXPECT_EQ(topology.graph()[loads.busiest(topology.graph())].kind, LinkKind::uplink);
  EXPECT_DOUBLE_EQ(loads.time(topology.graph()).in(unit::nanosecond), 16.0 / 50.0);  // one uplink of 50 GB/s
}

TEST(Traffic, RailsCarryWhatEachDeviceOfTheOtherNodesTakesIn) {
  // 4 nodes of 2, a plane for each rail. Into each device: 6 from other nodes, all on its rail.
  const Topology topology(cluster_of(4, 2, {.kind = FabricKind::rail_leaf_spine, .nodes_per_leaf = 2, .planes = 2}));
  EXPECT_EQ(all_to_all_loads(topology, LinkKind::nic), std::set<double>{6.0});
  // A leaf has 2 uplinks; its 2 nodes send 2 x 2 pairs to the rail's devices of each of the 2 nodes beyond: 8.
  EXPECT_EQ(all_to_all_loads(topology, LinkKind::uplink), std::set<double>{4.0});
  // Out of a device into its domain: 1 to the neighbour, 3 for the neighbour's rail; in: the same.
  EXPECT_EQ(all_to_all_loads(topology, LinkKind::scale_up), std::set<double>{4.0});
}

TEST(Traffic, AllToAllOfThreeLevelsLoadsCoresByThePairsBeyondThePod) {
  // 2 pods of 2 leaves of 2 nodes. Out of a pod: 4 x 4 = 16 pairs, over 2 spines with 2 core links each.
  const Topology topology(
      lone_devices(8, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 2, .pods = Pods{.leaves = 2}}));
  EXPECT_EQ(all_to_all_loads(topology, LinkKind::core), std::set<double>{4.0});
  EXPECT_EQ(all_to_all_loads(topology, LinkKind::uplink), std::set<double>{2.0 * 6.0 / 2.0});  // 2 nodes, 6 beyond
}

TEST(Traffic, AllToAllOfARingLoadsEachLinkByTheSumOfDistances) {
  // Odd k: each of k nodes sends 1 + 2 + .. + (k-1)/2 hops each way; the k links of a direction share it evenly.
  const Topology odd(lone_devices(5, {.kind = FabricKind::torus, .dimensions = {5}, .link = kUnlimited}));
  EXPECT_EQ(all_to_all_loads(odd, LinkKind::hop), std::set<double>{3.0});
  // Even k: the pair at k/2 goes half each way: k^2/8.
  const Topology even(lone_devices(8, {.kind = FabricKind::torus, .dimensions = {8}, .link = kUnlimited}));
  EXPECT_EQ(all_to_all_loads(even, LinkKind::hop), std::set<double>{8.0});
}

TEST(Traffic, AllToAllOfATorusLoadsADimensionByItsRingTimesTheRest) {
  // Every one of the 4 x 6 x 2 sources of a ring of k nodes sends to N/k nodes at each distance: k^2/8 x N/k.
  const Topology topology(lone_devices(48, {.kind = FabricKind::torus, .dimensions = {4, 6, 2}, .link = kUnlimited}));
  const double n = 48.0;
  // Of k = 2 there is one cable: each node of a pair sends N/2 over it.
  EXPECT_EQ(all_to_all_loads(topology, LinkKind::hop), (std::set<double>{n / 4.0 * 2.0, n / 6.0 * 4.5, n / 2.0}));
}

TEST(Traffic, RoutersOfATorusShareLinksAmongTheirNodes) {
  // A ring of 4 routers with 3 nodes each: 9 times the load of single nodes, 2.
  const Topology topology(
      lone_devices(12, {.kind = FabricKind::torus, .nodes_per_leaf = 3, .dimensions = {4}, .link = kUnlimited}));
  EXPECT_EQ(all_to_all_loads(topology, LinkKind::hop), std::set<double>{18.0});
}

TEST(Traffic, AllToAllOfALargeTorus) {
  const Topology topology(
      lone_devices(1000, {.kind = FabricKind::torus, .dimensions = {10, 10, 10}, .link = kUnlimited}));
  EXPECT_EQ(all_to_all_loads(topology, LinkKind::hop), std::set<double>{1000.0 / 10.0 * 12.5});
}

TEST(Traffic, AllToAllOfADragonfly) {
  // 5 groups of 4 routers with 1 node, one cable for each pair of groups, so one for each router: h = 1.
  const Topology topology(lone_devices(
      20, {.kind = FabricKind::dragonfly, .dimensions = {5, 4}, .link = kUnlimited, .num_global_links = 1}));
  // A cable carries the 4 x 4 pairs of its groups, each way.
  EXPECT_EQ(all_to_all_loads(topology, LinkKind::global), std::set<double>{16.0});
  // From router r to s of a group: 1 pair of their own; what r sends by the cable of s, 4 nodes; what comes for s by
  // the cable of r, from 4 nodes.
  EXPECT_EQ(all_to_all_loads(topology, LinkKind::hop), std::set<double>{9.0});
}

TEST(Traffic, SeveralCablesBetweenGroupsShareTheirTraffic) {
  const Topology topology(lone_devices(
      8, {.kind = FabricKind::dragonfly, .dimensions = {2, 4}, .link = kUnlimited, .num_global_links = 4}));
  EXPECT_EQ(all_to_all_loads(topology, LinkKind::global), std::set<double>{16.0 / 4.0});
  // 1 of their own, 4/4 of what r sends by the cable of s, 4/4 of what comes by that of r for s.
  EXPECT_EQ(all_to_all_loads(topology, LinkKind::hop), std::set<double>{3.0});
}

TEST(Traffic, ARingLoadsUplinksWhereItLeavesALeaf) {
  const Topology topology(lone_devices(6, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 3, .num_spines = 1}));
  const LinkLoads loads = ring(topology, devices_of(topology), bytes(1)).loads();
  EXPECT_EQ(loads_of(topology, loads, LinkKind::nic), std::set<double>{1.0});
  EXPECT_EQ(loads_of(topology, loads, LinkKind::uplink), std::set<double>{1.0});
}

TEST(Traffic, DrawnPathsCarryTheSameInAllAndMoreOnTheBusiest) {
  const Topology topology(lone_devices(64, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 8}));
  const Traffic traffic = all_to_all(topology, devices_of(topology), bytes(1));
  const auto sum = [&](const LinkLoads& loads) {
    Bytes all;
    for (const Bytes load : loads.of) all += load;
    return all.in(unit::byte);
  };
  const LinkLoads balanced = traffic.loads(), one = traffic.loads(1), two = traffic.loads(2);
  EXPECT_NEAR(sum(one), sum(balanced), 1e-6);
  EXPECT_GT(one.time(topology.graph()), balanced.time(topology.graph()));
  EXPECT_NE(one.of, two.of);
  EXPECT_EQ(one.of, traffic.loads(1).of);
  // Every flow is whole on one way.
  for (const double load : loads_of(topology, one, LinkKind::uplink)) EXPECT_EQ(load, std::round(load));
}

TEST(Traffic, AFlowThatHasOneWayOnlyIsNotDrawn) {
  const Topology topology(lone_devices(6, {.kind = FabricKind::torus, .dimensions = {3, 2}, .link = kUnlimited}));
  const Traffic traffic = all_to_all(topology, devices_of(topology), bytes(1));
  EXPECT_EQ(traffic.loads().of, traffic.loads(5).of);
}

TEST(Traffic, UnknownAndUnlimitedLinksTakeNoTime) {
  Cluster cluster = lone_devices(4, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 4});
  cluster.groups[0].nics->each = std::nullopt;
  cluster.groups[0].host.pcie = kUnlimited;
  const Topology topology(cluster);
  const LinkLoads loads = all_to_all(topology, devices_of(topology), bytes(1)).loads();
  EXPECT_TRUE(loads.busiest(topology.graph()).is_none());
  EXPECT_EQ(loads.time(topology.graph()), Seconds::zero());
}

}  // namespace
}  // namespace orrery::topology
