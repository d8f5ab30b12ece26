// SPDX-License-Identifier: Apache-2.0
#include "costmodel/network_limit.h"

#include "base/errors.h"
#include "costmodel/collective_model.h"
#include "tests/unit/program/topology/clusters.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using topology::cluster_of;
using topology::device;
using topology::gigabytes;
using topology::lone_devices;

constexpr BytesPerSecond kLink = 10.0 * unit::gigabytes_per_second;

std::vector<DeviceIndex> devices(std::int64_t first, std::int64_t last, std::int64_t step = 1) {
  std::vector<DeviceIndex> out;
  for (std::int64_t i = first; i < last; i += step) out.push_back(device(i));
  return out;
}

double rate(const Cluster& cluster, TrafficPattern pattern, const std::vector<DeviceIndex>& members) {
  return gigabytes(NetworkLimit(cluster).of(pattern, members).rate);
}

TEST(NetworkLimit, OfATreeThatIsNotOversubscribedIsNone) {
  const Cluster cluster = cluster_of(8, 2, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 2});
  EXPECT_TRUE(std::isinf(rate(cluster, TrafficPattern::all_pairs, devices(0, 16))));
}

TEST(NetworkLimit, OfALoneGroupIsAllUplinksOfItsLeaf) {
  // Leaves of 4 NICs of 50 GB/s, 50 GB/s of uplinks.
  const Cluster cluster = lone_devices(8, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 4, .oversubscription = 4.0});
  // All 8: each sends 7, 16 leave a leaf: 7 / (16 / 50).
  EXPECT_DOUBLE_EQ(rate(cluster, TrafficPattern::all_pairs, devices(0, 8)), 7.0 * 50.0 / 16.0);
  // One below each leaf has them to itself.
  EXPECT_DOUBLE_EQ(rate(cluster, TrafficPattern::all_pairs, devices(0, 8, 4)), 50.0);
  // A ring leaves a leaf once.
  EXPECT_DOUBLE_EQ(rate(cluster, TrafficPattern::domain_rings, devices(0, 8)), 50.0);
  // Below one leaf there is no limit.
  EXPECT_TRUE(std::isinf(rate(cluster, TrafficPattern::all_pairs, devices(0, 4))));
}

TEST(NetworkLimit, OfAllPairsOnATorusIsItsLinkLoad) {
  // A ring of 8 carries 8 over a link while each sends 7.
  const Cluster ring =
      lone_devices(8, {.kind = FabricKind::torus, .dimensions = {8}, .link = kLink, .hop_latency = microseconds(1)});
  EXPECT_DOUBLE_EQ(rate(ring, TrafficPattern::all_pairs, devices(0, 8)), 7.0 * 10.0 / 8.0);
  EXPECT_DOUBLE_EQ(rate(ring, TrafficPattern::domain_rings, devices(0, 8)), 10.0);
  // Ranks two routers apart share links with nobody: each pair of neighbours takes two of its own.
  EXPECT_DOUBLE_EQ(rate(ring, TrafficPattern::domain_rings, devices(0, 8, 2)), 10.0);
  // Half way round both ways are as long.
  EXPECT_DOUBLE_EQ(rate(ring, TrafficPattern::shift, {device(0), device(4)}), 20.0);
}

TEST(NetworkLimit, OfADragonflyIsTheCableBetweenTheGroups) {
  const Fabric fabric{.kind = FabricKind::dragonfly,
                      .nodes_per_leaf = 2,
                      .dimensions = {2, 2},
                      .link = topology::kUnlimited,
                      .global_link = kLink,
                      .hop_latency = microseconds(1)};
  // 4 x 4 pairs over one cable, each of 8 members sends 7.
  EXPECT_DOUBLE_EQ(rate(lone_devices(8, fabric), TrafficPattern::all_pairs, devices(0, 8)), 7.0 * 10.0 / 16.0);
}

TEST(NetworkLimit, DevicesOfADomainSendTogether) {
  // Two nodes of 4 on a ring of 2 routers: 4 x 4 pairs over the cable; each member sends 4 beyond its node.
  const Cluster cluster =
      cluster_of(2, 4, {.kind = FabricKind::torus, .dimensions = {2}, .link = kLink, .hop_latency = Seconds::zero()});
  EXPECT_DOUBLE_EQ(rate(cluster, TrafficPattern::all_pairs, devices(0, 8)), 4.0 * 10.0 / 16.0);
  EXPECT_DOUBLE_EQ(rate(cluster, TrafficPattern::domain_rings, devices(0, 8)), 10.0 / 4.0);
  EXPECT_DOUBLE_EQ(rate(cluster, TrafficPattern::shift, devices(0, 8)), 10.0);
}

TEST(NetworkLimit, CountsTheRoutersOfTheLongestWay) {
  const Cluster cluster =
      lone_devices(8, {.kind = FabricKind::torus, .dimensions = {8}, .link = kLink, .hop_latency = microseconds(0.5)});
  const NetworkLimit limit(cluster);
  EXPECT_EQ(limit.of(TrafficPattern::domain_rings, devices(0, 8)).latency, microseconds(0.5));
  EXPECT_EQ(limit.of(TrafficPattern::all_pairs, devices(0, 8)).latency, microseconds(2.0));
}

TEST(NetworkLimit, NeedsWhatItUses) {
  Cluster cluster = lone_devices(4, {.kind = FabricKind::torus, .dimensions = {4}, .hop_latency = Seconds::zero()});
  const auto message = [&] {
    try {
      NetworkLimit(cluster).of(TrafficPattern::shift, devices(0, 4));
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(
      message(),
      "cluster small: fabric.link is unknown (null): expected its value, since ranks of the plan communicate over "
      "routers");
  cluster.fabric.link = kLink;
  cluster.fabric.hop_latency = std::nullopt;
  EXPECT_EQ(message(),
            "cluster small: fabric.hop_latency is unknown (null): expected its value, since ranks of the plan "
            "communicate over routers");
}

TEST(NetworkLimit, IsTheRateOfTheLegs) {
  // 8 nodes of one device on a ring: NICs of 50 GB/s, links of 10 GB/s.
  const Cluster slow =
      lone_devices(8, {.kind = FabricKind::torus, .dimensions = {8}, .link = kLink, .hop_latency = microseconds(1)});
  Cluster fast = slow;
  fast.fabric.link = topology::kUnlimited;
  fast.fabric.hop_latency = Seconds::zero();
  const CollectiveShape shape{.kind = CollectiveKind::all_to_all, .bytes = 80'000'000};
  const std::vector<DeviceIndex> all = devices(0, 8);
  const CommTime limited = CollectiveModel(slow, {}).collective(shape, all);
  const CommTime free = CollectiveModel(fast, {}).collective(shape, all);
  ASSERT_EQ(limited.num_legs, 1);
  EXPECT_EQ(limited.legs[0].path, PathClass::spine);
  EXPECT_DOUBLE_EQ(gigabytes(limited.legs[0].bandwidth), 8.75);
  EXPECT_DOUBLE_EQ(gigabytes(free.legs[0].bandwidth), 50.0);
  EXPECT_EQ(limited.legs[0].bytes, free.legs[0].bytes);
  EXPECT_GT(limited.latency, free.latency);
  EXPECT_TRUE(limited.extrapolated);
}

}  // namespace
}  // namespace orrery::costmodel
