// SPDX-License-Identifier: Apache-2.0
#include "sim/least_time.h"

#include "costmodel/collective_model.h"
#include "tests/conformance/random_programs.h"

#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using orrery::testing::small_cluster;

std::vector<DeviceIndex> devices(const std::vector<std::int32_t>& numbers) {
  std::vector<DeviceIndex> out;
  for (const std::int32_t number : numbers) out.emplace_back(number);
  return out;
}

std::vector<DeviceIndex> first_devices(std::int32_t n) {
  std::vector<DeviceIndex> out;
  for (std::int32_t i = 0; i < n; ++i) out.emplace_back(i);
  return out;
}

/// Microseconds that the links take. Ports of small_cluster: 100 GB/s inside (1 us), 25 GB/s to the network (5 us).
double least(const Cluster& cluster, CollectiveKind kind, double size, const std::vector<DeviceIndex>& members) {
  const CollectiveShape shape{.kind = kind, .bytes = static_cast<std::int64_t>(size)};
  return least_time(shape, Members{cluster, members}).links.in(unit::microsecond);
}

TEST(LeastTime, OfARingWithinANode) {
  const Cluster cluster = small_cluster(1, 4);
  EXPECT_DOUBLE_EQ(least(cluster, CollectiveKind::all_gather, 4e6, first_devices(4)), 30.0);
  EXPECT_DOUBLE_EQ(least(cluster, CollectiveKind::reduce_scatter, 4e6, first_devices(4)), 30.0);
}

TEST(LeastTime, OfAnAllReduceIsHalfWhereSwitchesAddUp) {
  Cluster cluster = small_cluster(1, 4);
  EXPECT_DOUBLE_EQ(least(cluster, CollectiveKind::all_reduce, 4e6, first_devices(4)), 40.0);
  cluster.groups[0].scale_up.kind = ScaleUpKind::xgmi;
  EXPECT_DOUBLE_EQ(least(cluster, CollectiveKind::all_reduce, 4e6, first_devices(4)), 60.0);
}

TEST(LeastTime, OfARingOverNodesIsThatOfANodesNics) {
  const Cluster cluster = small_cluster(4, 2);  // each node takes in 6 of 8 MB over 50 GB/s
  EXPECT_DOUBLE_EQ(least(cluster, CollectiveKind::all_gather, 8e6, first_devices(8)), 120.0);
  EXPECT_DOUBLE_EQ(least(cluster, CollectiveKind::all_reduce, 8e6, first_devices(8)), 240.0);  // 2 x 3/4 x 8 MB
}

TEST(LeastTime, CountsBothPortsOfADevice) {
  // A device takes in 7 of 8 MB over 125 GB/s; its node only 4 MB over 100 GB/s.
  EXPECT_DOUBLE_EQ(least(small_cluster(2, 4), CollectiveKind::all_gather, 8e6, first_devices(8)), 56.0);
}

TEST(LeastTime, OverRoutersIsThatOfTheirCables) {
  Cluster cluster = small_cluster(4, 1);
  cluster.fabric = {.kind = FabricKind::torus, .dimensions = {4}, .link = bytes_per_second(10e9)};
  const auto over_routers = [&](CollectiveKind kind, bool hashed = false) {
    const topology::Topology topology(cluster);
    const CollectiveShape shape{.kind = kind, .bytes = 4000000};
    const std::vector<DeviceIndex> members = first_devices(4);
    return least_time(shape, Members{.cluster = cluster, .devices = members, .routers = &topology, .hashed = hashed})
        .links.in(unit::microsecond);
  };
  // A cable has 1 MB of its node to the next one, and half of each of two nodes to the second next.
  EXPECT_DOUBLE_EQ(over_routers(CollectiveKind::all_to_all), 200.0);
  EXPECT_DOUBLE_EQ(over_routers(CollectiveKind::ring_shift), 400.0);  // 4 MB over one
  EXPECT_DOUBLE_EQ(over_routers(CollectiveKind::all_gather), 150.0);  // 3 MB into a router over both
  // Where a hash draws the way to the second next, only the two cables together are certain.
  EXPECT_DOUBLE_EQ(over_routers(CollectiveKind::all_to_all, true), 150.0);
  cluster.fabric = {.kind = FabricKind::dragonfly,
                    .dimensions = {2, 2},
                    .link = bytes_per_second(50e9),
                    .global_link = bytes_per_second(5e9)};
  EXPECT_DOUBLE_EQ(over_routers(CollectiveKind::all_gather), 400.0);  // 2 MB into a group of two routers
}

TEST(LeastTime, OfANarrowPodIsThatOfTheLinksAboveItsSpines) {
  Cluster cluster = small_cluster(8, 2);  // pods of two leaves of two nodes: 200 GB/s of uplinks, 12.5 to the cores
  cluster.fabric.pods = Pods{.leaves = 2, .oversubscription = 16.0};
  EXPECT_DOUBLE_EQ(least(cluster, CollectiveKind::all_gather, 16e6, first_devices(16)), 8e6 / 12.5e3);
  EXPECT_DOUBLE_EQ(least(cluster, CollectiveKind::all_to_all, 16e6, first_devices(16)), 8 * 8e6 / 12.5e3);
  EXPECT_DOUBLE_EQ(least(cluster, CollectiveKind::all_to_all, 8e6, first_devices(8)), 8e6 * 6 / 8 / 25e3);  // one pod
  // The last pod is not full, and has as many spines: 4 of 20 MB leave it, 16 enter it.
  cluster.groups[0].num_nodes = 5;
  EXPECT_DOUBLE_EQ(least(cluster, CollectiveKind::all_gather, 10e6, first_devices(10)), 8e6 / 12.5e3);
  const CollectiveShape shape{.kind = CollectiveKind::all_gather, .bytes = 16000000};
  cluster.groups[0].num_nodes = 8;
  EXPECT_LT(least_time(shape, Members{.cluster = cluster, .devices = first_devices(16), .uplinks = false}).links,
            least_time(shape, Members{cluster, first_devices(16)}).links);
}

TEST(LeastTime, OfAnOversubscribedLeafIsThatOfItsUplinks) {
  Cluster cluster = small_cluster(4, 2);  // two nodes a leaf: 100 GB/s of NICs, 25 GB/s of uplinks
  cluster.fabric.oversubscription = 4.0;
  EXPECT_DOUBLE_EQ(least(cluster, CollectiveKind::all_gather, 8e6, first_devices(8)), 160.0);
  const CollectiveShape shape{.kind = CollectiveKind::all_gather, .bytes = 8000000};
  const std::vector<DeviceIndex> members = first_devices(8);
  EXPECT_DOUBLE_EQ(
      least_time(shape, {.cluster = cluster, .devices = members, .uplinks = false}).links.in(unit::microsecond), 120.0);
}

TEST(LeastTime, RoutesAnAllToAllPairByPair) {
  const Cluster cluster = small_cluster(2, 2);  // 1 MB to each peer: 10 us inside, 2 MB over a NIC
  EXPECT_DOUBLE_EQ(least(cluster, CollectiveKind::all_to_all, 4e6, first_devices(4)), 80.0);
  EXPECT_DOUBLE_EQ(least(cluster, CollectiveKind::all_to_all, 2e6, first_devices(2)), 10.0);
}

TEST(LeastTime, OfARingShiftCrossesOnlyWhereNeighboursAreApart) {
  EXPECT_DOUBLE_EQ(least(small_cluster(1, 4), CollectiveKind::ring_shift, 1e6, first_devices(4)), 10.0);
  EXPECT_DOUBLE_EQ(least(small_cluster(2, 2), CollectiveKind::ring_shift, 1e6, first_devices(4)), 40.0);
}

TEST(LeastTime, SharesANicBetweenTheDevicesBehindIt) {
  Cluster cluster = small_cluster(2, 2);
  cluster.groups[0].nics->per_node = 1;  // one message has it alone, the four pairs of an all-to-all share it
  EXPECT_DOUBLE_EQ(least(cluster, CollectiveKind::all_to_all, 4e6, first_devices(4)), 160.0);
  const std::vector<DeviceIndex> ends = devices({0, 2});
  EXPECT_DOUBLE_EQ(least_time(PeerShape{.bytes = 1000000}, Members{cluster, ends}).links.in(unit::microsecond), 40.0);
}

TEST(LeastTime, OfAMessageHasTheLatencyOfItsPath) {
  const Cluster cluster = small_cluster(2, 2);
  const std::vector<DeviceIndex> inside = devices({0, 1}), outside = devices({1, 2});
  const PeerShape message{.bytes = 1000000};
  EXPECT_DOUBLE_EQ(least_time(message, Members{cluster, inside}).total().in(unit::microsecond), 11.0);
  EXPECT_DOUBLE_EQ(least_time(message, Members{cluster, outside}).total().in(unit::microsecond), 45.0);
}

TEST(LeastTime, OfAFlatExchangeIsItsMatrix) {
  const Cluster cluster = small_cluster(2, 1);
  const std::vector<DeviceIndex> members = first_devices(2);
  const RoutingMatrix skewed{.group = 2, .num_experts = 2, .pairs = {100, 900, 700, 300}};
  const ExchangeShape shape{.rows = {Rows::Kind::routed, 1000}, .row_bytes = 1000, .count_bytes = 100000};
  EXPECT_DOUBLE_EQ(least_time(shape, skewed, false, Members{cluster, members}).links.in(unit::microsecond), 40.0);
}

TEST(LeastTime, SendsOneCopyOfATokenToANode) {
  // 600 tokens of two experts each, of four: a node has one of a token's with 5/6, hence 500 copies of 1 kB.
  const Cluster cluster = small_cluster(2, 1);
  const std::vector<DeviceIndex> members = first_devices(2);
  const RoutingMatrix even = routing(BalancedLoad{}, {.group = 2, .num_experts = 4, .pairs_per_rank = 1200});
  const ExchangeShape shape{.rows = {Rows::Kind::routed, 1200}, .row_bytes = 1000, .two_level = true, .top_k = 2};
  EXPECT_NEAR(least_time(shape, even, true, Members{cluster, members}).links.in(unit::microsecond), 20.0, 1e-9);
  // Of 600 pairs whose tokens nobody knows, two may be of one token.
  EXPECT_NEAR(least_time(shape, even, false, Members{cluster, members}).links.in(unit::microsecond), 12.0, 1e-9);
}

TEST(LeastTime, SendsFewerCopiesToLimitedNodes) {
  // DeepSeek-V3: 8 of 256 experts, in 4 of 8 groups, a group a node. Groups drawn at random would have 3.63 of 4 hit.
  const Cluster cluster = small_cluster(8, 8);
  const std::vector<DeviceIndex> members = first_devices(64);
  const RoutingMatrix even = routing(BalancedLoad{}, {.group = 64, .num_experts = 256, .pairs_per_rank = 8000});
  const ExchangeShape shape{.rows = {Rows::Kind::routed, 8000},
                            .row_bytes = 1000,
                            .two_level = true,
                            .top_k = 8,
                            .num_groups = 8,
                            .top_k_groups = 4};
  const double copies = least_time(shape, even, true, Members{cluster, members}).links.in(unit::microsecond) * 25.0;
  EXPECT_NEAR(copies, 1000.0 * 3.63 * 7 / 8, 5.0);
}

TEST(LeastTime, HasNoBoundOverSharedMemory) {
  Cluster cluster = small_cluster(1, 2);
  cluster.groups[0].scale_up.kind = ScaleUpKind::shared_memory;
  const std::vector<DeviceIndex> members = first_devices(2);
  EXPECT_EQ(least_time(PeerShape{.bytes = 1000}, Members{cluster, members}).total(), Seconds::zero());
}

/// Nodes, devices, NICs, leaves and links at random; domains of a node or of two.
Cluster random_cluster(orrery::testing::Draws& draws) {
  const auto one_of = [&](std::vector<std::int64_t> values) { return values[draws.below(values.size())]; };
  Cluster cluster = small_cluster(one_of({2, 4, 6}), one_of({1, 2, 4, 8}));
  NodeGroup& group = cluster.groups[0];
  group.scale_up.kind = draws.below(2) == 0 ? ScaleUpKind::nvlink : ScaleUpKind::xgmi;
  group.scale_up.span_nodes = one_of({1, 2});
  group.scale_up.per_device = bytes_per_second(static_cast<double>(one_of({30, 100, 450})) * 1e9);
  group.nics->per_node = one_of({1, 2, 4, 5, 8, 16});
  return cluster;
}

/// Devices at random, in order.
std::vector<DeviceIndex> random_members(orrery::testing::Draws& draws, const Cluster& cluster) {
  const auto all = static_cast<std::uint64_t>(cluster.num_devices());
  const std::uint64_t stride = 1 + draws.below(2), keep = 1 + draws.below(4);
  std::vector<DeviceIndex> members;
  for (std::uint64_t i = 0; i < all; i += stride) {
    if (draws.below(keep) == 0) members.emplace_back(static_cast<std::int32_t>(i));
  }
  while (members.size() < 2) members.emplace_back(static_cast<std::int32_t>(all - 2 + members.size()));
  if (members[0] == members[1]) members[0] = DeviceIndex(0);
  return members;
}

TEST(LeastTime, IsNeverBeatenByTheCostModel) {
  const std::string tables = std::string(ORRERY_SOURCE_DIR) + "/catalog/calibration/tables/";
  for (const std::string device : {"h100", "h800", "mi300x"}) {
    const costmodel::Calibration calibration = costmodel::read_calibration(tables + device + ".json");
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
      SCOPED_TRACE(fmt::format("{}, seed {}", device, seed));
      orrery::testing::Draws draws{.rng = CounterRng(seed, 0)};
      Cluster cluster = random_cluster(draws);
      cluster.groups[0].device.kind = device == "mi300x" ? DeviceKind::hip : DeviceKind::cuda;
      const costmodel::CollectiveModel model(cluster, calibration);
      const std::vector<DeviceIndex> list = random_members(draws, cluster);
      const Members members{.cluster = cluster, .devices = list, .uplinks = false};
      const auto n = static_cast<std::int64_t>(list.size());
      for (int kind = 0; kind <= static_cast<int>(CollectiveKind::ring_shift); ++kind) {
        const CollectiveShape shape{.kind = static_cast<CollectiveKind>(kind),
                                    .bytes = std::int64_t{1} << draws.below(31)};
        EXPECT_GE(model.collective(shape, list).alone(), least_time(shape, members).total()) << name_of(shape.kind);
      }
      const auto top_k = static_cast<std::int64_t>(1 + draws.below(8));
      ExchangeShape shape{.rows = {Rows::Kind::routed, 512 * top_k}, .row_bytes = 4096, .top_k = top_k};
      const RoutingQuery query{.group = n, .num_experts = 8 * n, .pairs_per_rank = 512 * top_k};
      const LoadModel loads[] = {BalancedLoad{}, DirichletLoad{.alpha = 0.3, .seed = seed}};
      for (const LoadModel& load : loads) {
        for (const bool two_level : {false, true}) {
          shape.two_level = two_level;
          const RoutingMatrix matrix = routing(load, query);
          EXPECT_GE(model.exchange(shape, matrix, list).alone(),
                    least_time(shape, matrix, is_balanced(load), members).total())
              << (two_level ? "two levels" : "flat") << (is_balanced(load) ? "" : ", skewed");
        }
      }
    }
  }
}

}  // namespace
}  // namespace orrery::sim
