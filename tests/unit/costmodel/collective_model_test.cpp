// SPDX-License-Identifier: Apache-2.0
#include "costmodel/collective_model.h"

#include "base/errors.h"
#include "costmodel/collective_fit.h"
#include "program/work.h"
#include "tests/conformance/programs.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using testing::small_cluster;

std::vector<DeviceIndex> devices(std::initializer_list<int> indices) {
  std::vector<DeviceIndex> out;
  for (int index : indices) out.emplace_back(index);
  return out;
}

CollectiveShape all_reduce(std::int64_t num_bytes) {
  return {.kind = CollectiveKind::all_reduce, .group = Group::dp, .bytes = num_bytes};
}

RoutingMatrix balanced(std::int64_t group, std::int64_t num_experts, std::int64_t pairs) {
  return routing(BalancedLoad{}, {.group = group, .num_experts = num_experts, .pairs_per_rank = pairs});
}

/// Points that reach 80 GB/s of a port of 100 GB/s within a node, and 20 of 25 GB/s on a rail, and start in 10 us.
Calibration calibrated() {
  Calibration calibration;
  calibration.conditions.links = {{"node", bytes_per_second(100e9)}, {"rail", bytes_per_second(25e9)}};
  for (const char* op : {"all_reduce", "all_to_all", "send_recv"}) {
    for (const auto& [path, rate] : {std::pair{"node", 80e9}, {"rail", 20e9}}) {
      for (const std::int64_t ranks : {2, 4}) {
        for (const Bytes size : {bytes(8), mib(64)}) {
          calibration.collectives.push_back(
              {.op = op,
               .path = path,
               .ranks = ranks,
               .bytes = size,
               .time = microseconds(10) + wire_factor(op, ranks) * size / bytes_per_second(rate),
               .source = "test"});
        }
      }
    }
  }
  return calibration;
}

TEST(CollectiveModel, UsesOneLegWithinANode) {
  const CollectiveModel model(small_cluster(1, 4), calibrated());
  const CommTime time = model.collective(all_reduce(8'000'000), devices({0, 1, 2, 3}));
  ASSERT_EQ(time.num_legs, 1);
  EXPECT_EQ(time.legs[0].path, PathClass::node);
  EXPECT_NEAR(time.legs[0].bytes.in(unit::byte), 1.5 * 8e6 / 0.8, 20.0);
  EXPECT_EQ(time.legs[0].bandwidth, bytes_per_second(100e9));
  EXPECT_NEAR(time.latency.in(unit::microsecond), 10.0, 1e-3);
  EXPECT_FALSE(time.extrapolated);
}

TEST(CollectiveModel, SharesTheRingsOfSeveralNodesAmongTheirNics) {
  // Two ranks on each of two nodes: half of each ring's traffic leaves through a NIC, half stays in the node.
  const CollectiveModel model(small_cluster(2, 2), calibrated());
  const CommTime time = model.collective(all_reduce(8'000'000), devices({0, 1, 2, 3}));
  ASSERT_EQ(time.num_legs, 2);
  EXPECT_EQ(time.legs[1].path, PathClass::rail);
  EXPECT_NEAR(time.legs[0].bytes.in(unit::byte), 1.5 * 8e6 / 2 / 0.8, 20.0);
  EXPECT_NEAR(time.legs[1].bytes.in(unit::byte), 1.5 * 8e6 / 2 / 0.8, 20.0);
  EXPECT_EQ(time.legs[1].bandwidth, bytes_per_second(25e9));
}

TEST(CollectiveModel, LetsTheDomainWithFewestMembersCarryMostOnEachNic) {
  const CollectiveModel model(small_cluster(2, 4), calibrated());
  const auto network = [&](std::initializer_list<int> members, CollectiveKind kind) {
    const CommTime time = model.collective({.kind = kind, .group = Group::dp, .bytes = 64'000'000}, devices(members));
    EXPECT_EQ(time.num_legs, 2);
    EXPECT_EQ(time.legs[1].path, PathClass::rail);
    return time.legs[1].bytes.in(unit::byte);
  };
  // Two rings' worth on four and on one NIC: what a domain of one member has to carry.
  const double even = network({0, 1, 2, 3, 4, 5, 6, 7}, CollectiveKind::all_gather);
  const double lone = network({0, 1, 2, 3, 4}, CollectiveKind::all_gather);
  EXPECT_NEAR(even / (7.0 / 8.0 / 4.0), lone / (4.0 / 5.0), 0.01 * lone);
  // In an exchange the lone member has all its peers beyond the network, the others one of four.
  EXPECT_NEAR(network({0, 1, 2, 3, 4}, CollectiveKind::all_to_all), 0.8 * 64e6 / 0.8, 100.0);
}

TEST(CollectiveModel, CallsTheWidestPathByItsSwitches) {
  const CollectiveModel model(small_cluster(4, 1), calibrated());
  const PeerShape message{.bytes = 1'000'000'000};
  EXPECT_EQ(model.peer(message, DeviceIndex(0), DeviceIndex(1)).legs[0].path, PathClass::rail);
  const CommTime spine = model.peer(message, DeviceIndex(0), DeviceIndex(2));
  EXPECT_EQ(spine.legs[0].path, PathClass::spine);
  EXPECT_TRUE(spine.extrapolated);                               // only the rail was measured
  EXPECT_NEAR(spine.legs[0].bytes.in(unit::byte), 1.25e9, 1e3);  // at the rail's efficiency
}

TEST(CollectiveModel, SplitsAnExchangeByWhereThePeersAre) {
  // Four ranks on two nodes, 100 pairs each: 25 stay, 25 go to the neighbour, 50 to the other node.
  const CollectiveModel model(small_cluster(2, 2), calibrated());
  const ExchangeShape shape{.rows = {Rows::Kind::routed, 100}, .row_bytes = 80'000, .count_bytes = 0};
  const CommTime time = model.exchange(shape, balanced(4, 8, 100), devices({0, 1, 2, 3}));
  ASSERT_EQ(time.num_legs, 2);
  EXPECT_NEAR(time.legs[0].bytes.in(unit::byte), 25 * 80e3 / 0.8, 10.0);
  EXPECT_NEAR(time.legs[1].bytes.in(unit::byte), 50 * 80e3 / 0.8, 10.0);
}

TEST(CollectiveModel, SendsOneCopyOfATokenToEachDomainAndThenToEachRank) {
  // 100 tokens on each of eight ranks on two nodes, four of 16 experts for each.
  const CollectiveModel model(small_cluster(2, 4), calibrated());
  const ExchangeShape shape{
      .rows = {Rows::Kind::routed, 400}, .row_bytes = 80'000, .count_bytes = 0, .two_level = true, .top_k = 4};
  const CommTime time = model.exchange(shape, balanced(8, 16, 400), devices({0, 1, 2, 3, 4, 5, 6, 7}));
  ASSERT_EQ(time.num_legs, 2);
  const double copies = 100 * 80e3 / 0.8;
  EXPECT_NEAR(time.legs[0].bytes.in(unit::byte) / (copies * expected_distinct(16, 4, 8) * 3 / 4), 1.0, 1e-5);
  EXPECT_NEAR(time.legs[1].bytes.in(unit::byte) / (copies * expected_distinct(16, 4, 2) * 1 / 2), 1.0, 1e-5);
}

TEST(CollectiveModel, SendsTheTokensThatWereCountedWithinADomain) {
  const CollectiveModel model(small_cluster(1, 2), calibrated());
  RoutingMatrix routing{.group = 2, .num_experts = 4, .pairs = {40, 10, 30, 20, 50, 20, 20, 10}};
  const ExchangeShape shape{
      .rows = {Rows::Kind::routed, 100}, .row_bytes = 80'000, .count_bytes = 0, .two_level = true, .top_k = 2};
  routing.tokens = {40, 45, 48, 28};  // rank 1 sends 48 tokens with 70 pairs
  EXPECT_NEAR(model.exchange(shape, routing, devices({0, 1})).legs[0].bytes.in(unit::byte), 48 * 80e3 / 0.8, 10.0);
  ExchangeShape of_pairs = shape;
  of_pairs.two_level = false;
  EXPECT_NEAR(model.exchange(of_pairs, routing, devices({0, 1})).legs[0].bytes.in(unit::byte), 70 * 80e3 / 0.8, 10.0);
}

TEST(CollectiveModel, LetsTheBusiestMemberDecideAnExchange) {
  const CollectiveModel model(small_cluster(1, 2), calibrated());
  RoutingMatrix skewed{.group = 2, .num_experts = 2, .pairs = {100, 0, 70, 30}};  // all go to rank 0
  const ExchangeShape shape{.rows = {Rows::Kind::routed, 100}, .row_bytes = 80'000, .count_bytes = 0};
  const CommTime there = model.exchange(shape, skewed, devices({0, 1}));
  EXPECT_NEAR(there.legs[0].bytes.in(unit::byte), 70 * 80e3 / 0.8, 10.0);
}

// Where all pairs get the same, members are counted instead of added up: as if one of them got next to nothing more.
TEST(CollectiveModel, TakesForABalancedExchangeWhatTheSumOverPairsTakes) {
  const CollectiveModel model(small_cluster(2, 4), calibrated());
  for (const auto& members : {devices({0, 1, 2, 3}), devices({0, 1, 2, 4}), devices({0, 4}), devices({0, 1, 4, 5})}) {
    const auto n = static_cast<std::int64_t>(members.size());
    const RoutingMatrix even = balanced(n, 2 * n, 1000);
    RoutingMatrix uneven = even;
    uneven.pairs.back() *= 1.0 + 1e-12;
    for (const bool two_level : {false, true}) {
      const ExchangeShape shape{
          .rows = {Rows::Kind::routed, 1000}, .row_bytes = 4096, .count_bytes = 8, .two_level = two_level, .top_k = 2};
      const CommTime time = model.exchange(shape, even, members);
      EXPECT_NEAR(time.alone() / model.exchange(shape, uneven, members).alone(), 1.0, 1e-6) << n << two_level;
      EXPECT_GT(time.alone(), microseconds(10));
    }
  }
}

TEST(CollectiveModel, GetsFasterWithFasterPorts) {
  Cluster fast = small_cluster(2, 2);
  fast.groups[0].nics->each = bytes_per_second(50e9);
  fast.groups[0].scale_up.per_device = bytes_per_second(300e9);
  const auto members = devices({0, 1, 2, 3});
  const CommTime before = CollectiveModel(small_cluster(2, 2), calibrated()).collective(all_reduce(1 << 28), members);
  const CommTime after = CollectiveModel(fast, calibrated()).collective(all_reduce(1 << 28), members);
  EXPECT_LT(after.alone(), 0.6 * before.alone());
}

TEST(CollectiveModel, TakesLatenciesOfTheClusterBetweenNodesWhereNothingIsKnownOfItsLibrary) {
  Cluster cluster = small_cluster(4, 2);
  cluster.groups[0].device.kind = DeviceKind::hip;
  const CollectiveModel model(cluster, {});
  // Within a node 2 (2 - 1) steps of 1 us, and up and down a tree over four nodes: 2 * 2 hops of 5 us.
  const CommTime reduce = model.collective(all_reduce(8), devices({0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_NEAR(reduce.latency.in(unit::microsecond), 2.0 + 20.0, 1e-9);
  EXPECT_TRUE(reduce.extrapolated);
  const CollectiveShape gather{.kind = CollectiveKind::all_gather, .group = Group::dp, .bytes = 8};
  EXPECT_NEAR(model.collective(gather, devices({0, 2, 4, 6})).latency.in(unit::microsecond), 15.0, 1e-9);
}

TEST(CollectiveModel, MarksGroupsLargerThanTheMeasuredOnes) {
  const CollectiveModel model(small_cluster(1, 8), calibrated());
  EXPECT_FALSE(model.collective(all_reduce(1 << 20), devices({0, 1, 2, 3})).extrapolated);
  EXPECT_TRUE(model.collective(all_reduce(1 << 20), devices({0, 1, 2, 3, 4, 5})).extrapolated);
}

TEST(CollectiveModel, LeavesOutLegsWithoutLimit) {
  Cluster cluster = small_cluster(1, 2);
  cluster.groups[0].scale_up.per_device = bytes_per_second(HUGE_VAL);
  EXPECT_EQ(CollectiveModel(cluster, {}).peer({.bytes = 100}, DeviceIndex(0), DeviceIndex(1)).num_legs, 0);
}

Cluster cpu_ranks() {
  Cluster cluster = small_cluster(1, 4);
  cluster.groups[0].scale_up = {.kind = ScaleUpKind::shared_memory};
  cluster.groups[0].nics.reset();
  return cluster;
}

TEST(CollectiveModel, InterpolatesMeasuredTimesWithinSharedMemory) {
  Calibration calibration;
  const auto measured = [&](const char* op, std::int64_t ranks, double size, double time) {
    calibration.collectives.push_back(
        {.op = op, .path = "node", .ranks = ranks, .bytes = bytes(size), .time = microseconds(time), .source = "test"});
  };
  measured("all_reduce", 2, 1000, 5);
  measured("all_reduce", 2, 3000, 9);
  measured("all_to_all", 2, 1000, 4);
  measured("all_to_all", 2, 2000, 6);
  const CollectiveModel model(cpu_ranks(), calibration);
  const CommTime reduce = model.collective(all_reduce(2000), devices({0, 1}));
  EXPECT_NEAR(reduce.alone().in(unit::microsecond), 7.0, 1e-9);
  EXPECT_EQ(reduce.num_legs, 0);  // there is no port: the time is the whole of it
  EXPECT_FALSE(reduce.extrapolated);
  // nccl-tests counts a rank's own half: 750 bytes on the wire are a size of 1500.
  const ExchangeShape shape{.rows = {Rows::Kind::routed, 15}, .row_bytes = 100, .count_bytes = 0};
  const CommTime exchange = model.exchange(shape, balanced(2, 4, 15), devices({0, 1}));
  EXPECT_NEAR(exchange.alone().in(unit::microsecond), 5.0, 1e-9);
  // Of two of four experts one is on the other rank with 5/6: there go 5/6 rows for each pair.
  const ExchangeShape of_tokens{
      .rows = {Rows::Kind::routed, 15}, .row_bytes = 120, .count_bytes = 0, .two_level = true, .top_k = 2};
  EXPECT_NEAR(model.exchange(of_tokens, balanced(2, 4, 15), devices({0, 1})).alone().in(unit::microsecond), 5.0, 1e-9);
  EXPECT_TRUE(model.collective(all_reduce(2000), devices({0, 1, 2, 3})).extrapolated);  // four were not measured
}

TEST(CollectiveModel, SaysWhatTheClusterDoesNotKnow) {
  const auto message = [](const Cluster& cluster, int other) -> std::string {
    try {
      CollectiveModel(cluster, {}).peer({.bytes = 1}, DeviceIndex(0), DeviceIndex(other));
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message(cpu_ranks(), 1),
            "group \"small\" of the cluster: scale_up.latency is unknown (null): expected a time, since ranks of the "
            "plan communicate there");
  Cluster unconnected = small_cluster(2, 1);
  unconnected.groups[0].nics.reset();
  EXPECT_EQ(message(unconnected, 1),
            "group \"small\" of the cluster: nics is null: expected a network, since ranks of the plan communicate "
            "between nodes");
}

}  // namespace
}  // namespace orrery::costmodel
