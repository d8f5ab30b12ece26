// SPDX-License-Identifier: Apache-2.0
#include "sim/link_changes.h"

#include "tests/conformance/programs.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using orrery::testing::small_cluster;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

/// "date us: link direction GB/s" of four nodes of one device, two below each leaf.
std::vector<std::string> changes(const Disturbances& disturbances,
                                 std::vector<Site> sites = {{.node = 0}, {.node = 1}, {.node = 2}, {.node = 3}},
                                 const Cluster& cluster = small_cluster(4, 1)) {
  const Network network(cluster, std::move(sites), {true, true, true});
  std::vector<std::string> text;
  for (const LinkChange& change : link_changes(disturbances, cluster, network)) {
    text.push_back(std::to_string(std::lround(change.date.in(unit::microsecond))) + ": " +
                   network.ports()[change.port].name + (change.inwards ? " in " : " out ") +
                   std::to_string(std::lround(change.bandwidth.in(unit::gigabytes_per_second))));
  }
  return text;
}

TEST(LinkChanges, OfAFaultBeginAndEnd) {
  EXPECT_THAT(changes({.links = {{.link = LinkClass::nic,
                                  .node = 1,
                                  .left = 0.2,
                                  .when = {.from = microseconds(5), .until = microseconds(9)}}}}),
              ElementsAre("5: node1.nic out 5", "5: node1.nic in 5", "9: node1.nic out 25", "9: node1.nic in 25"));
}

TEST(LinkChanges, OfAnUplinkAreThoseOfTheWholeLeaf) {
  EXPECT_THAT(changes({.links = {{.link = LinkClass::uplink, .node = 3}}}),
              ElementsAre("0: leaf1.uplink out 0", "0: leaf1.uplink in 0"));
}

TEST(LinkChanges, OfOneNicLeaveTheOthersToTheNode) {
  const std::vector<Site> sites = {{.node = 0}, {.node = 0, .device = 0}, {.node = 0, .device = 1}};
  const Cluster cluster = small_cluster(2, 4);  // four NICs of 25 GB/s
  EXPECT_THAT(changes({.links = {{.node = 0, .left = 0.2, .nic = 1}}}, sites, cluster),
              UnorderedElementsAre("0: node0.nic out 80", "0: node0.nic in 80", "0: node0.nic0 out 25",
                                   "0: node0.nic0 in 25", "0: node0.nic1 out 5", "0: node0.nic1 in 5"));
  // Down: the device takes the others' NICs, within what the node has left.
  EXPECT_THAT(
      changes({.links = {{.node = 0, .nic = 1}}}, {{.node = 0}, {.node = 0, .device = 1}}, cluster),
      UnorderedElementsAre("0: node0.nic out 75", "0: node0.nic in 75", "0: node0.nic1 out 25", "0: node0.nic1 in 25"));
  Disturbances all;
  for (const std::int64_t nic : {0, 1, 2, 3}) all.links.push_back({.node = 0, .nic = nic});
  EXPECT_THAT(
      changes(all, {{.node = 0}, {.node = 0, .device = 1}}, cluster),
      UnorderedElementsAre("0: node0.nic out 0", "0: node0.nic in 0", "0: node0.nic1 out 0", "0: node0.nic1 in 0"));
}

TEST(LinkChanges, OfOneUplinkOrPlaneLeaveTheOthersToTheLeaf) {
  Cluster cluster = small_cluster(4, 4);
  cluster.fabric.planes = 2;
  cluster.fabric.oversubscription = 2.0;  // of each leaf 4 rails with 1 uplink of 25 GB/s
  const std::vector<Site> sites = {{.node = 0}, {.node = 1}};
  const auto uplink = [](std::optional<std::int64_t> plane, std::optional<std::int64_t> one, double left = 0.0) {
    return LinkFault{.link = LinkClass::uplink, .node = 1, .left = left, .when = {}, .plane = plane, .uplink = one};
  };
  EXPECT_THAT(changes({.links = {uplink({}, 3)}}, sites, cluster),
              ElementsAre("0: leaf0.uplink out 75", "0: leaf0.uplink in 75"));
  EXPECT_THAT(changes({.links = {uplink(1, {})}}, sites, cluster),
              ElementsAre("0: leaf0.uplink out 50", "0: leaf0.uplink in 50"));
  EXPECT_THAT(changes({.links = {uplink(1, {}), uplink({}, 3), uplink({}, 2, 0.4)}}, sites, cluster),
              ElementsAre("0: leaf0.uplink out 35", "0: leaf0.uplink in 35"));  // uplinks 1 and 3 are of plane 1
  EXPECT_THAT(changes({.links = {uplink(0, {}), uplink(1, {})}}, sites, cluster),
              ElementsAre("0: leaf0.uplink out 0", "0: leaf0.uplink in 0"));
}

TEST(LinkChanges, OfSeveralFaultsAndTrafficAddUp) {
  EXPECT_THAT(changes({.links = {{.link = LinkClass::nic, .node = 0, .left = 0.8},
                                 {.link = LinkClass::nic, .node = 0, .left = 0.5, .when = {.from = microseconds(4)}}},
                       .traffic = {{.from_node = 0, .to_node = 1, .rate = bytes_per_second(3e9)}}}),
              UnorderedElementsAre("0: node0.nic out 17", "0: node0.nic in 20", "4: node0.nic out 7",
                                   "4: node0.nic in 10", "0: node1.nic in 22"));
}

TEST(LinkChanges, OfTrafficAcrossTheSpineTakeUplinksToo) {
  EXPECT_THAT(changes({.traffic = {{.from_node = 1, .to_node = 2, .rate = bytes_per_second(30e9)}}}),
              UnorderedElementsAre("0: node1.nic out 0", "0: leaf0.uplink out 20", "0: node2.nic in 0",
                                   "0: leaf1.uplink in 20"));
}

/// Two leaves of four nodes with 100 GB/s of uplinks each, over which others send 20.
std::vector<std::string> changes_by_traffic(std::vector<Site> sites) {
  Cluster cluster = small_cluster(8, 1);
  cluster.fabric.nodes_per_leaf = 4;
  return changes({.traffic = {{.from_node = 0, .to_node = 4, .rate = bytes_per_second(20e9)}}}, std::move(sites),
                 cluster);
}

TEST(LinkChanges, OfTrafficAreHalvedWhereNodesThatStandForTwoHaveHalfAnUplink) {
  EXPECT_THAT(changes_by_traffic({{.node = 0, .like_it = 2}, {.node = 2, .like_it = 2}, {.node = 4}}),
              UnorderedElementsAre("0: node0.nic out 5", "0: leaf0.uplink out 40", "0: node4.nic in 5",
                                   "0: leaf1.uplink in 80"));
}

// The first node stands for itself and the second for three: each has a quarter of the uplinks and of the traffic.
TEST(LinkChanges, OfTrafficAreSharedByNodesThatStandForDifferentNumbers) {
  EXPECT_THAT(changes_by_traffic({{.node = 0}, {.node = 1, .like_it = 3}, {.node = 4}}),
              UnorderedElementsAre("0: node0.nic out 5", "0: node0.uplink out 20", "0: node1.uplink out 20",
                                   "0: node4.nic in 5", "0: leaf1.uplink in 80"));
}

}  // namespace
}  // namespace orrery::sim
