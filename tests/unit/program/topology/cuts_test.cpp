// SPDX-License-Identifier: Apache-2.0
#include "program/topology/cuts.h"

#include "tests/unit/program/topology/clusters.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery::topology {
namespace {

double bisection_of(const Cluster& cluster) { return gigabytes(bisection(Topology(cluster)).bandwidth); }

TEST(Cuts, HalfOfANonBlockingTreeSendsAtAllItsNics) {
  EXPECT_DOUBLE_EQ(
      bisection_of(cluster_of(8, 4, {.kind = FabricKind::rail_leaf_spine, .nodes_per_leaf = 2, .planes = 4})),
      16 * 50.0);
  EXPECT_DOUBLE_EQ(bisection_of(cluster_of(8, 4, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 2})), 16 * 50.0);
}

TEST(Cuts, OversubscriptionDividesIt) {
  EXPECT_DOUBLE_EQ(
      bisection_of(cluster_of(8, 4, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 2, .oversubscription = 4.0})),
      16 * 50.0 / 4.0);
  EXPECT_DOUBLE_EQ(bisection_of(cluster_of(8, 4,
                                           {.kind = FabricKind::fat_tree,
                                            .nodes_per_leaf = 2,
                                            .oversubscription = 2.0,
                                            .pods = Pods{.leaves = 2, .oversubscription = 2.0}})),
                   16 * 50.0 / 4.0);
}

TEST(Cuts, ATorusIsCutTwiceInItsFirstDimension) {
  const BytesPerSecond link = 10.0 * unit::gigabytes_per_second;
  EXPECT_DOUBLE_EQ(bisection_of(lone_devices(32, {.kind = FabricKind::torus, .dimensions = {8, 4}, .link = link})),
                   2 * 4 * 10.0);
}

TEST(Cuts, ADragonflyByTheCablesBetweenTheHalves) {
  const Fabric fabric{.kind = FabricKind::dragonfly,
                      .dimensions = {4, 3},
                      .link = kUnlimited,
                      .global_link = 10.0 * unit::gigabytes_per_second};
  EXPECT_DOUBLE_EQ(bisection_of(lone_devices(12, fabric)), 2 * 2 * 10.0);
}

TEST(Cuts, OneDomainIsHalvedWithinItself) {
  const Bisection half = bisection(Topology(cluster_of(1, 8, {})));
  EXPECT_EQ(half.num_devices, 4);
  EXPECT_DOUBLE_EQ(gigabytes(half.bandwidth), 4 * 200.0);
}

TEST(Cuts, DomainsStayWhole) {
  const Bisection half = bisection(Topology(cluster_of(3, 2, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 3})));
  EXPECT_EQ(half.num_devices, 2);
  EXPECT_DOUBLE_EQ(gigabytes(half.bandwidth), 2 * 50.0);
}

TEST(Cuts, AreUnlimitedWhereNothingLimits) {
  Cluster cluster = lone_devices(2, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 2});
  cluster.groups[0].nics->each = kUnlimited;
  cluster.groups[0].host.pcie = std::nullopt;
  EXPECT_TRUE(std::isinf(bisection_of(cluster)));
}

TEST(Cuts, NodesWithoutAFabricAreIslands) {
  EXPECT_EQ(islands(Topology(cluster_of(3, 2, {}))), (std::vector<std::int64_t>{0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(islands(Topology(cluster_of(2, 1, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 2}))),
            (std::vector<std::int64_t>{0, 0}));
}

}  // namespace
}  // namespace orrery::topology
