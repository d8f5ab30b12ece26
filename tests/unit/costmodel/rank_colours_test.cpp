// SPDX-License-Identifier: Apache-2.0
// Exact partitions on four nodes of two devices, two nodes below each leaf. Numbers follow the first rank of a colour.
#include "costmodel/rank_colours.h"

#include "tests/conformance/programs.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using orrery::testing::ProgramBuilder;
using orrery::testing::small_cluster;
using ::testing::ElementsAre;

std::vector<std::uint32_t> colours(const StepProgram& program, const Cluster& cluster,
                                   const Disturbances& disturbances) {
  return colours_of(program, cluster, [](RankId rank) { return DeviceIndex(rank.value()); }, disturbances);
}

/// Of eight ranks that exchange within their node and sum the gradients of experts with their like on other nodes.
std::vector<std::uint32_t> colours(const Disturbances& disturbances) {
  ProgramBuilder builder(1, 8, 2);
  builder.dispatch(0, 16, 100);
  builder.all_reduce(0, Queue::edp, Group::edp, 1000);
  return colours(builder.program(), small_cluster(4, 2), disturbances);
}

TEST(RankColours, WithoutDisturbancesAreTheClasses) { EXPECT_THAT(colours({}), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0)); }

TEST(RankColours, OfReplicasDifferAndAreOneWithinEach) {
  ProgramBuilder builder(2, 4, 2);  // two stages; ranks 0 and 1 hold the experts of a stage once, as do 2 and 3
  for (const std::int64_t stage : {0, 1}) builder.dispatch(stage, 16, 100);
  builder.all_reduce(0, Queue::edp, Group::edp, 1000);
  builder.send_next(0, 1000);
  builder.recv_prev(1, 1000);
  const auto device_of = [](RankId rank) { return DeviceIndex(rank.value()); };
  EXPECT_THAT(colours_of(builder.program(), small_cluster(4, 2), device_of, {}, true),
              ElementsAre(0, 0, 1, 1, 2, 2, 3, 3));
  EXPECT_THAT(colours_of(builder.program(), small_cluster(4, 2), device_of, {}), ElementsAre(0, 0, 0, 0, 1, 1, 1, 1));
}

// 0 is slow, 1 on its node; 2 and 3 are below its leaf, with its like and with 1's; 4 and 6, 5 and 7 are not.
TEST(RankColours, OfOneStragglerTellApartWhoMeetsIt) {
  EXPECT_THAT(colours({.stragglers = {{.rank = 0, .factor = 2.0}}}), ElementsAre(0, 1, 2, 3, 4, 5, 4, 5));
}

TEST(RankColours, OfTwoEqualStragglersInOneGroupAreThoseOfTheirNodes) {
  EXPECT_THAT(colours({.stragglers = {{.rank = 0, .factor = 2.0}, {.rank = 1, .factor = 2.0}}}),
              ElementsAre(0, 0, 1, 1, 2, 2, 2, 2));
}

TEST(RankColours, OfTwoDifferentStragglersInOneGroupDiffer) {
  EXPECT_THAT(colours({.stragglers = {{.rank = 0, .factor = 2.0}, {.rank = 1, .factor = 3.0}}}),
              ElementsAre(0, 1, 2, 3, 4, 5, 4, 5));
}

TEST(RankColours, OfAFaultOnANodeTellItsLeafFromTheOther) {
  EXPECT_THAT(colours({.links = {{.link = LinkClass::nic, .node = 2, .left = 0.5}}}),
              ElementsAre(0, 0, 0, 0, 1, 1, 2, 2));
}

// The node that the file names has a colour of its own, though the fault is the whole leaf's.
TEST(RankColours, OfAFaultOnAnUplinkTellTheNamedNodeFromItsLeaf) {
  EXPECT_THAT(colours({.links = {{.link = LinkClass::uplink, .node = 3, .left = 0.5}}}),
              ElementsAre(0, 0, 0, 0, 1, 1, 2, 2));
}

TEST(RankColours, OfTrafficTellApartBothEnds) {
  EXPECT_THAT(colours({.traffic = {{.from_node = 0, .to_node = 3, .rate = bytes_per_second(1e9)}}}),
              ElementsAre(0, 0, 1, 1, 2, 2, 3, 3));
}

// All four nodes are below one leaf.
TEST(RankColours, BelowUplinksThatCanBeFullTellAllNodesOfAMixedLeafApart) {
  ProgramBuilder builder(1, 8, 2);
  builder.dispatch(0, 16, 100);
  builder.all_reduce(0, Queue::edp, Group::edp, 1000);
  Cluster cluster = small_cluster(4, 2);
  cluster.fabric.nodes_per_leaf = 4;
  const Disturbances straggler{.stragglers = {{.rank = 0, .factor = 2.0}}};
  EXPECT_THAT(colours(builder.program(), cluster, straggler), ElementsAre(0, 1, 2, 3, 2, 3, 2, 3));
  cluster.fabric.oversubscription = 2.0;
  EXPECT_THAT(colours(builder.program(), cluster, straggler), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(colours(builder.program(), cluster, {}), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
}

// Three pipelines of two stages, each rank alone on its node and leaf.
TEST(RankColours, OfAStragglerReachItsPipelineNeighbour) {
  ProgramBuilder builder(2, 3);
  builder.send_next(0, 1000);
  builder.recv_prev(1, 1000);
  Cluster cluster = small_cluster(6, 1);
  cluster.fabric.nodes_per_leaf = 1;
  EXPECT_THAT(colours(builder.program(), cluster, {.stragglers = {{.rank = 1, .factor = 2.0}}}),
              ElementsAre(0, 1, 0, 2, 3, 2));
}

}  // namespace
}  // namespace orrery::costmodel
