// SPDX-License-Identifier: Apache-2.0
#include "program/topology/topology.h"

#include "program/topology/path.h"
#include "tests/unit/program/topology/clusters.h"

#include <algorithm>
#include <map>

#include <gtest/gtest.h>

namespace orrery::topology {
namespace {

const std::filesystem::path kCatalog = ORRERY_SOURCE_DIR "/catalog";

Cluster catalog_cluster(const char* name) {
  return read_cluster(kCatalog / "clusters" / (std::string(name) + ".json"), kCatalog);
}

std::int64_t count(const Topology& topology, LinkKind kind) {
  return std::ranges::count(topology.graph().links, kind, &Link::kind) / 2;  // cables
}

TEST(Topology, OfTheH800ClusterHasEightPlanesOfEightLeavesAndThirtyTwoSpines) {
  const Topology topology(catalog_cluster("h800-2048"));
  EXPECT_EQ(topology.num_devices(), 2048);
  EXPECT_EQ(topology.count(PlaceKind::host), 256);
  EXPECT_EQ(topology.count(PlaceKind::scale_up), 256);
  EXPECT_EQ(topology.num_nics(), 2048);
  EXPECT_EQ(topology.count(PlaceKind::leaf), 8 * 8);    // 256 nodes / 32, for each of 8 rails
  EXPECT_EQ(topology.count(PlaceKind::spine), 8 * 32);  // a 64-port switch: 32 down, 32 up
  EXPECT_EQ(count(topology, LinkKind::uplink), 64 * 32);
  EXPECT_EQ(count(topology, LinkKind::nic), 2048);
}

TEST(Topology, OfOneLeafPerRailHasSpinesOnlyIfAPlaneHoldsSeveralRails) {
  const Topology joined(catalog_cluster("h100-64"));
  EXPECT_EQ(joined.count(PlaceKind::leaf), 8);
  EXPECT_EQ(joined.count(PlaceKind::spine), 8);
  Cluster apart = catalog_cluster("h100-64");
  apart.fabric.planes = 8;
  EXPECT_EQ(Topology(apart).count(PlaceKind::spine), 0);
}

TEST(Topology, RoutesWithinADomainByItsPortsOnly) {
  const Topology topology(catalog_cluster("h100-64"));
  const auto path = path_between(topology, device(0), device(7));
  ASSERT_TRUE(path);
  ASSERT_EQ(path->links.size(), 2);
  EXPECT_EQ(topology.graph()[path->links[0].first].from, topology.place_of(device(0)));
  EXPECT_EQ(topology.graph()[path->links[1].first].to, topology.place_of(device(7)));
  EXPECT_EQ(class_of(*path), "node");
  EXPECT_DOUBLE_EQ(gigabytes(path->bandwidth), 450.0);
  EXPECT_DOUBLE_EQ(path->latency->in(unit::microsecond), 3.33);
}

TEST(Topology, RoutesToTheOtherRailByTheNeighbourThatIsOnIt) {
  const Topology topology(cluster_of(4, 4, {.kind = FabricKind::rail_leaf_spine, .nodes_per_leaf = 2, .planes = 4}));
  const auto path = path_between(topology, device(0), device(4 + 2));  // index 0 to index 2, below one leaf
  ASSERT_TRUE(path);
  EXPECT_EQ(class_of(*path), "rail");
  EXPECT_TRUE(path->uses(LinkKind::scale_up));
  const auto nic = std::ranges::find_if(
      path->links, [&](const auto& link) { return topology.graph()[link.first].kind == LinkKind::nic; });
  EXPECT_EQ(topology.graph()[topology.graph()[nic->first].from].name, "node0.nic2");
}

TEST(Topology, RoutesAcrossLeavesByAllSpinesOfThePlane) {
  const Topology topology(cluster_of(8, 2, {.kind = FabricKind::rail_leaf_spine, .nodes_per_leaf = 4, .planes = 2}));
  const auto path = path_between(topology, device(0), device(8));
  ASSERT_TRUE(path);
  EXPECT_EQ(class_of(*path), "spine");
  double up = 0.0;
  int num_uplinks = 0;
  for (const auto& [link, share] : path->links) {
    if (topology.graph()[link].kind != LinkKind::uplink) continue;
    ++num_uplinks;
    up += share;
  }
  EXPECT_EQ(num_uplinks, 2 * 4);  // four spines, up and down
  EXPECT_DOUBLE_EQ(up, 2.0);
  EXPECT_DOUBLE_EQ(gigabytes(path->bandwidth), 50.0);
}

TEST(Topology, OversubscriptionTakesFromTheUplinksTogether) {
  const Topology topology(
      cluster_of(8, 1, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 4, .oversubscription = 4.0, .planes = 1}));
  EXPECT_EQ(count(topology, LinkKind::uplink), 2);  // 4 x 50 GB/s down, one uplink of 50 GB/s for each of two leaves
  Cluster cluster = topology.cluster();
  cluster.fabric.num_spines = 4;
  const Topology wide(cluster);
  EXPECT_EQ(count(wide, LinkKind::uplink), 2 * 4);
  for (const Link& link : wide.graph().links) {
    if (link.kind != LinkKind::uplink) continue;
    EXPECT_DOUBLE_EQ(gigabytes(*link.bandwidth), 50.0 / 4.0);
  }
}

TEST(Topology, NeighboursShareANicWhereThereAreFewer) {
  Cluster cluster = cluster_of(2, 4, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 2});
  cluster.groups[0].nics->per_node = cluster.groups[0].nics->rails = 2;
  const Topology topology(cluster);
  EXPECT_EQ(topology.num_nics(), 4);
  const auto nic_of = [&](std::int64_t from) {
    const auto path = path_between(topology, device(from), device(7));
    for (const auto& [link, share] : path->links) {
      if (topology.graph()[link].kind == LinkKind::nic) return topology.graph()[topology.graph()[link].from].name;
    }
    return std::string();
  };
  EXPECT_EQ(nic_of(0), "node0.nic0");
  EXPECT_EQ(nic_of(1), "node0.nic0");
  EXPECT_EQ(nic_of(2), "node0.nic1");
  EXPECT_EQ(nic_of(3), "node0.nic1");
}

TEST(Topology, ARackIsOneDomainOfSeveralNodes) {
  Cluster cluster = cluster_of(36, 4, {.kind = FabricKind::rail_leaf_spine, .nodes_per_leaf = 18, .planes = 4});
  cluster.groups[0].scale_up.span_nodes = 18;
  const Topology topology(cluster);
  EXPECT_EQ(topology.count(PlaceKind::scale_up), 2);
  EXPECT_EQ(class_of(*path_between(topology, device(0), device(71))), "node");
  EXPECT_EQ(class_of(*path_between(topology, device(0), device(72))), "spine");
}

TEST(Topology, WithoutAFabricNodesDoNotReachEachOther) {
  const Topology topology(cluster_of(2, 2, {}));
  EXPECT_TRUE(path_between(topology, device(0), device(1)));
  EXPECT_FALSE(path_between(topology, device(0), device(2)));
}

TEST(Topology, GroupsReachEachOtherByTheirGateway) {
  Cluster cluster = cluster_of(2, 2, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 2});
  cluster.groups.push_back(cluster.groups[0]);
  cluster.groups[1].name = "h";
  EXPECT_FALSE(path_between(Topology(cluster), device(0), device(4)));
  cluster.gateways = {{.from = "h", .to = "g", .bandwidth = 12.0 * unit::gigabytes_per_second}};
  const Topology topology(cluster);
  const auto path = path_between(topology, device(0), device(4));
  ASSERT_TRUE(path);
  EXPECT_EQ(class_of(*path), "gateway");
  EXPECT_DOUBLE_EQ(gigabytes(path->bandwidth), 12.0);
  EXPECT_FALSE(path->latency);
}

TEST(Topology, PodsReachEachOtherByCores) {
  const Fabric fabric{
      .kind = FabricKind::fat_tree, .nodes_per_leaf = 2, .pods = Pods{.leaves = 2, .oversubscription = 2.0}};
  const Topology topology(lone_devices(8, fabric));
  EXPECT_EQ(topology.count(PlaceKind::leaf), 4);
  EXPECT_EQ(topology.count(PlaceKind::spine), 4);  // two for each of two pods
  EXPECT_EQ(topology.count(PlaceKind::core), 2);   // a spine has two links down and, at 2 : 1, one up
  EXPECT_FALSE(path_between(topology, device(0), device(2))->uses(LinkKind::core));
  const auto path = path_between(topology, device(0), device(4));
  EXPECT_TRUE(path->uses(LinkKind::core));
  EXPECT_EQ(class_of(*path), "spine");
}

TEST(Topology, EveryRouteIsOneFlowFromEndToEnd) {
  // What enters a place leaves it, but for the two ends; of every pair, on networks of all kinds.
  const Fabric fabrics[] = {
      {.kind = FabricKind::rail_leaf_spine, .nodes_per_leaf = 2, .oversubscription = 2.0, .planes = 2},
      {.kind = FabricKind::rail_leaf_spine, .nodes_per_leaf = 2, .planes = 1, .num_spines = 3},
      {.kind = FabricKind::fat_tree, .nodes_per_leaf = 3, .planes = 2, .pods = Pods{.leaves = 2}},
      {.kind = FabricKind::torus, .nodes_per_leaf = 2, .dimensions = {3, 2}, .link = kUnlimited},
      {.kind = FabricKind::dragonfly,
       .nodes_per_leaf = 1,
       .dimensions = {4, 3},
       .link = kUnlimited,
       .num_global_links = 2}};
  for (const Fabric& fabric : fabrics) {
    const Topology topology(cluster_of(12, 2, fabric));
    for (const Ways& ways : {Ways::balanced(), Ways::drawn(7, 11)}) {
      for (std::int64_t from = 0; from < topology.num_devices(); ++from) {
        for (std::int64_t to = 0; to < topology.num_devices(); ++to) {
          if (from == to) continue;
          std::map<PlaceIndex, double> net;
          EXPECT_TRUE(topology.route(device(from), device(to), ways, [&](LinkIndex link, double share) {
            net[topology.graph()[link].from] -= share;
            net[topology.graph()[link].to] += share;
          }));
          for (const auto& [place, flow] : net) {
            const double expected =
                place == topology.place_of(device(from)) ? -1.0 : (place == topology.place_of(device(to)) ? 1.0 : 0.0);
            EXPECT_NEAR(flow, expected, 1e-12) << topology.graph()[place].name << ", " << from << " to " << to;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace orrery::topology
