// SPDX-License-Identifier: Apache-2.0
#include "costmodel/exchange_multiprocessors.h"

#include "costmodel/calibrated_cost_model.h"
#include "tests/conformance/programs.h"

#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

constexpr std::int64_t kHopper = 132, kBlackwell = 148;

/// Of 256 experts and 8 of them a token, over domains of eight devices with a NIC of 400 Gb/s each.
TokenExchange exchange(std::int64_t num_domains, double scale_up = 450.0) {
  return {.num_experts = 256,
          .top_k = 8,
          .num_ranks = 8 * num_domains,
          .num_domains = num_domains,
          .network = 50.0 * unit::gigabytes_per_second,
          .scale_up = scale_up * unit::gigabytes_per_second};
}

// The column of multiprocessors in the README of DeepEP V2 (deepseek-ai/DeepEP@0297fc80): EP 8 x 2 and EP 8 x 4 on
// SM90, EP 8 x 2 on SM100, and EP 8 on SM100 with the fewest multiprocessors.
TEST(ExchangeMultiprocessors, AreThoseOfThePublishedTable) {
  EXPECT_EQ(needed_multiprocessors(exchange(2), kHopper), 12);
  EXPECT_EQ(needed_multiprocessors(exchange(4), kHopper), 6);
  EXPECT_EQ(needed_multiprocessors(exchange(2, 900.0), kBlackwell), 12);
  EXPECT_EQ(needed_multiprocessors(exchange(1, 900.0), kBlackwell), 24);
}

// "For V3-like legacy training, SM usage reduced from 24 to 4 - 6", over eight and four domains of eight.
TEST(ExchangeMultiprocessors, AreFewWhereTokensGoToManyDomains) {
  EXPECT_EQ(needed_multiprocessors(exchange(8), kHopper), 4);
  EXPECT_EQ(needed_multiprocessors(exchange(16), kHopper), 4);
}

TEST(ExchangeMultiprocessors, KeepUpWithTheSlowerLink) {
  // 10.7 of them keep up with a NIC, and so 21.4 with two.
  TokenExchange fast = exchange(2, 900.0);
  fast.network = 2.0 * fast.network;
  EXPECT_EQ(needed_multiprocessors(fast, kHopper), 22);
  // A link of the domain that is the slower of the two decides alone: H800's NVLink has 200 GB/s.
  EXPECT_EQ(needed_multiprocessors(exchange(2, 200.0), kHopper), 8);
  EXPECT_EQ(needed_multiprocessors(exchange(2, 10.0), kHopper), 4);
  // In a domain of its own one rank of a node sends over the network alone.
  TokenExchange apart = exchange(8);
  apart.num_ranks = 8;
  apart.scale_up = {};
  EXPECT_EQ(needed_multiprocessors(apart, kHopper), 4);
}

TEST(ExchangeMultiprocessors, StayWithinTheDevice) {
  TokenExchange fast = exchange(2, 9000.0);
  fast.network = 9000.0 * unit::gigabytes_per_second;
  EXPECT_EQ(needed_multiprocessors(fast, kHopper), kHopper);
}

TEST(ExchangeMultiprocessors, AreNotKnownWhereTheRuleDoesNotHold) {
  TokenExchange limited = exchange(8);
  limited.num_groups = 8;
  limited.top_k_groups = 4;
  EXPECT_EQ(needed_multiprocessors(limited, kHopper), std::nullopt);
  TokenExchange nobody = exchange(1);
  nobody.num_ranks = 1;
  EXPECT_EQ(needed_multiprocessors(nobody, kHopper), std::nullopt);
}

/// Two nodes of eight Hoppers.
Cluster two_nodes() {
  Cluster cluster = orrery::testing::small_cluster(2, 8);
  NodeGroup& group = cluster.groups.front();
  group.device.kind = DeviceKind::cuda;
  group.device.num_sms = kHopper;
  group.device.peak = {{DType::bf16, 989.0 * unit::teraflops_per_second}};
  group.device.memory_bandwidth = 3350.0 * unit::gigabytes_per_second;
  group.scale_up.per_device = 450.0 * unit::gigabytes_per_second;
  group.nics = Nics{.per_node = 8, .each = 50.0 * unit::gigabytes_per_second, .latency = microseconds(5)};
  return cluster;
}

std::vector<DeviceIndex> devices(std::int32_t count) {
  std::vector<DeviceIndex> out;
  for (std::int32_t i = 0; i < count; ++i) out.emplace_back(i);
  return out;
}

constexpr ExchangeShape kSentOnce{.two_level = true, .top_k = 8};

TEST(ExchangeMultiprocessors, AreReadFromACluster) {
  const Cluster cluster = two_nodes();
  EXPECT_EQ(needed_multiprocessors(cluster, kSentOnce, 256, devices(16)), 12);
  EXPECT_EQ(needed_multiprocessors(cluster, kSentOnce, 256, devices(8)), 12);  // 11.6 keep up with NVLink
  EXPECT_EQ(needed_multiprocessors(cluster, {.top_k = 8}, 256, devices(16)), std::nullopt);
  EXPECT_EQ(needed_multiprocessors(cluster, kSentOnce, 256, devices(1)), std::nullopt);
  // Eight of one node and four of the other.
  EXPECT_EQ(needed_multiprocessors(cluster, kSentOnce, 240, devices(12)), std::nullopt);
  Cluster unknown = cluster;
  unknown.groups.front().nics->each.reset();
  EXPECT_EQ(needed_multiprocessors(unknown, kSentOnce, 256, devices(16)), std::nullopt);
  EXPECT_EQ(needed_multiprocessors(unknown, kSentOnce, 256, devices(8)), 12);
  unknown.groups.front().scale_up.per_device.reset();
  EXPECT_EQ(needed_multiprocessors(unknown, kSentOnce, 256, devices(8)), std::nullopt);
  unknown = cluster;
  unknown.groups.front().device.num_sms.reset();
  EXPECT_EQ(needed_multiprocessors(unknown, kSentOnce, 256, devices(16)), std::nullopt);
}

Calibration of_kernels(std::optional<double> holds) {
  Calibration calibration;
  calibration.kernels = KernelParameters{.taken = 30.0, .exchange_holds = holds, .source = "test"};
  return calibration;
}

TEST(HeldByExchanges, IsWhatACalibrationStatesElseWhatTheyNeed) {
  const Cluster cluster = two_nodes();
  const CalibratedCostModel by_need(cluster, of_kernels({})), stated(cluster, of_kernels(32.0));
  EXPECT_EQ(by_need.held_by(kSentOnce, 256, devices(16)), 12.0);
  EXPECT_EQ(stated.held_by(kSentOnce, 256, devices(16)), 32.0);
  EXPECT_EQ(stated.held_by({.top_k = 8}, 256, devices(16)), std::nullopt);  // another library's
  EXPECT_EQ(CalibratedCostModel(cluster, {}).held_by(kSentOnce, 256, devices(16)), std::nullopt);

  Model model;
  Strategy strategy;
  strategy.dispatcher = Dispatcher::two_level;
  EXPECT_EQ(held_by_exchanges(by_need, model, strategy, devices(16)), std::nullopt);  // nothing is exchanged
  model.moe = MoeBlock{.num_experts = 256, .top_k = 8};
  EXPECT_EQ(held_by_exchanges(by_need, model, strategy, devices(16)), 12.0);
  EXPECT_EQ(held_by_exchanges(by_need, model, strategy, devices(1)), std::nullopt);
  strategy.dispatcher = Dispatcher::all_to_all;
  EXPECT_EQ(held_by_exchanges(by_need, model, strategy, devices(16)), std::nullopt);
}

TEST(HeldByExchanges, SlowsProductsMoreThanOtherCommunicationsWhereItIsMore) {
  const CalibratedCostModel cost(two_nodes(), of_kernels({}));
  const OpKey key{.op = OpCode::mlp_fc1};
  const GemmShape many_waves{.m = 8192, .n = 8192, .k = 8192};
  const auto beside = [&](double held, const OpShape& shape) {
    return cost.slowdown_beside(held, key, shape, {}, DeviceIndex(0));
  };
  EXPECT_EQ(beside(6.0, many_waves), std::nullopt);
  EXPECT_EQ(beside(kHeldMultiprocessors, many_waves), std::nullopt);
  const double usual = *cost.compute(key, many_waves, {}, DeviceIndex(0)).slowdown;
  EXPECT_GT(*beside(32.0, many_waves), usual);
  EXPECT_GT(*beside(48.0, many_waves), *beside(32.0, many_waves));
  // 48 of 132 are missing: as many waves as fit on 84.
  const double tiles = 8192.0 / 256.0 * 8192.0 / 128.0;
  EXPECT_NEAR(*beside(32.0, many_waves), std::ceil(tiles / 84.0) / std::ceil(tiles / 132.0) - 1.0, 0.01);
  // Where a recipe states a number, all communications are taken to hold it.
  const CalibratedCostModel stated(two_nodes(), of_kernels(32.0));
  EXPECT_EQ(stated.compute(key, many_waves, {}, DeviceIndex(0)).slowdown, beside(32.0, many_waves));
  EXPECT_EQ(stated.slowdown_beside(32.0, key, many_waves, {}, DeviceIndex(0)), std::nullopt);
  EXPECT_EQ(beside(32.0, MemoryShape{.rows = {Rows::Kind::fixed, 8}, .read_per_row = 8}), std::nullopt);
}

}  // namespace
}  // namespace orrery::costmodel
