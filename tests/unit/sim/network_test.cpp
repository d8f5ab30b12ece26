// SPDX-License-Identifier: Apache-2.0
#include "sim/network.h"

#include "base/errors.h"
#include "tests/conformance/programs.h"

#include <limits>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using costmodel::PathClass;
using orrery::testing::small_cluster;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;

constexpr PathClasses kAll = {true, true, true};

std::vector<std::string> way(const Network& network, SiteIndex site, PathClass path) {
  std::vector<std::string> names;
  for (const PortIndex port : network.way(site, path)) names.push_back(network.ports()[port].name);
  return names;
}

auto port(const std::string& name, double gigabytes_per_second) {
  return AllOf(Field(&Port::name, name), Field(&Port::bandwidth, bytes_per_second(gigabytes_per_second * 1e9)));
}

std::string message_of(const Cluster& cluster, const PathClasses& used) {
  try {
    const Network network(cluster, {{.node = 0}}, used);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Network, HasPortsOfAllDevicesOfANodeTogether) {
  Cluster cluster = small_cluster(4, 8);
  cluster.fabric.oversubscription = 4.0;
  const Network network(cluster, {{.node = 1}}, kAll);
  EXPECT_THAT(network.ports(), ElementsAre(port("node1.scale_up", 800), port("node1.nic", 200),
                                           port("leaf0.uplink", 100)));  // two nodes below a leaf
  EXPECT_THAT(way(network, 0, PathClass::node), ElementsAre("node1.scale_up"));
  EXPECT_THAT(way(network, 0, PathClass::rail), ElementsAre("node1.nic"));
  EXPECT_THAT(way(network, 0, PathClass::spine), ElementsAre("node1.nic", "leaf0.uplink"));
}

TEST(Network, CountsNicsAndNotDevices) {
  Cluster cluster = small_cluster(2, 8);
  cluster.groups[0].nics->per_node = 2;
  EXPECT_THAT(Network(cluster, {{.node = 0}}, {false, true, false}).ports(), ElementsAre(port("node0.nic", 50)));
}

TEST(Network, SharesTheUplinksOfALeafAmongItsNodes) {
  const Network network(small_cluster(4, 1), {{.node = 0}, {.node = 1}, {.node = 2}}, kAll);
  EXPECT_THAT(way(network, 0, PathClass::spine), ElementsAre("node0.nic", "leaf0.uplink"));
  EXPECT_THAT(way(network, 1, PathClass::spine), ElementsAre("node1.nic", "leaf0.uplink"));
  EXPECT_THAT(way(network, 2, PathClass::spine), ElementsAre("node2.nic", "leaf1.uplink"));
}

TEST(Network, GivesANodeThatStandsForOthersItsPartOfTheUplinks) {
  const auto spine = [](const Network& network, SiteIndex site) {
    return network.ports()[network.way(site, PathClass::spine).back()];
  };
  Cluster cluster = small_cluster(8, 1);
  cluster.fabric.nodes_per_leaf = 4;
  const Network even(cluster, {{.node = 0, .like_it = 2}, {.node = 2, .like_it = 2}}, kAll);
  EXPECT_THAT(spine(even, 0), port("leaf0.uplink", 50));
  EXPECT_THAT(spine(even, 1), port("leaf0.uplink", 50));
  const Network uneven(cluster, {{.node = 0, .like_it = 3}, {.node = 3}, {.node = 4}}, kAll);
  EXPECT_THAT(spine(uneven, 0), port("node0.uplink", 25));
  EXPECT_THAT(spine(uneven, 1), port("node3.uplink", 25));
  EXPECT_THAT(spine(uneven, 2), port("leaf1.uplink", 100));
}

TEST(Network, PutsPortsOfADeviceBeforeThoseOfItsNode) {
  const Network network(small_cluster(4, 2), {{.node = 0, .device = 1}, {.node = 0}}, kAll);
  EXPECT_THAT(way(network, 0, PathClass::node), ElementsAre("node0.device1.scale_up", "node0.scale_up"));
  EXPECT_THAT(way(network, 0, PathClass::spine), ElementsAre("node0.nic1", "node0.nic", "leaf0.uplink"));
  EXPECT_THAT(way(network, 1, PathClass::spine), ElementsAre("node0.nic", "leaf0.uplink"));
}

TEST(Network, LetsNeighboursShareANicWhereThereAreFewer) {
  Cluster cluster = small_cluster(1, 8);
  cluster.groups[0].nics->per_node = 4;
  const std::vector<Site> sites = {{.node = 0, .device = 2}, {.node = 0, .device = 3}, {.node = 0, .device = 4}};
  const Network network(cluster, sites, {false, true, false});
  EXPECT_THAT(way(network, 0, PathClass::rail), ElementsAre("node0.nic1", "node0.nic"));
  EXPECT_THAT(way(network, 1, PathClass::rail), ElementsAre("node0.nic1", "node0.nic"));
  EXPECT_THAT(way(network, 2, PathClass::rail), ElementsAre("node0.nic2", "node0.nic"));
  cluster.groups[0].nics->per_node = 3;
  EXPECT_THAT(way(Network(cluster, sites, {false, true, false}), 0, PathClass::rail),
              ElementsAre("node0.nic0", "node0.nic"));  // all of them, of all devices
}

TEST(Network, HasNoPortForWhatIsUnlimited) {
  Cluster cluster = small_cluster(1, 1);
  cluster.groups[0].scale_up.per_device = bytes_per_second(std::numeric_limits<double>::infinity());
  EXPECT_THAT(Network(cluster, {{.node = 0}}, {true, false, false}).ports(), IsEmpty());
}

TEST(Network, NeedsNoBandwidthThatNothingUses) {
  Cluster cluster = small_cluster(1, 8);
  cluster.groups[0].nics.reset();
  EXPECT_EQ(message_of(cluster, {true, false, false}), "no error");
  cluster.groups[0].scale_up.per_device.reset();
  EXPECT_EQ(message_of(cluster, {false, false, false}), "no error");
}

TEST(Network, NamesTheBandwidthThatIsMissing) {
  Cluster cluster = small_cluster(1, 8);
  cluster.groups[0].nics->each.reset();
  EXPECT_EQ(message_of(cluster, {false, false, true}),
            "cluster small, group small: nics.each is null; expected a bandwidth, because the program communicates "
            "over it");
  cluster.groups[0].nics.reset();
  EXPECT_EQ(message_of(cluster, {false, true, false}),
            "cluster small, group small: nics is null; expected a bandwidth, because the program communicates over it");
}

}  // namespace
}  // namespace orrery::sim
