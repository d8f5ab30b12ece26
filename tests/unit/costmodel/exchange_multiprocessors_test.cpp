// SPDX-License-Identifier: Apache-2.0
#include "costmodel/exchange_multiprocessors.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

constexpr std::int64_t kHopper = 132;

/// Domains of eight Hoppers with a NIC of 400 Gb/s each.
TwoLevelExchange exchange(std::int64_t num_domains) {
  return {.num_experts = 256,
          .top_k = 8,
          .num_ranks = 8 * num_domains,
          .num_domains = num_domains,
          .network = 50.0 * unit::gigabytes_per_second,
          .scale_up = 450.0 * unit::gigabytes_per_second};
}

// The column of multiprocessors in the README of DeepEP V2: EP 8 x 2 and EP 8 x 4.
TEST(ExchangeMultiprocessors, AreThoseOfThePublishedTable) {
  EXPECT_EQ(needed_multiprocessors(exchange(2), kHopper, true), 12);
  EXPECT_EQ(needed_multiprocessors(exchange(4), kHopper, true), 6);
}

TEST(ExchangeMultiprocessors, GrowWithTheLinks) {
  TwoLevelExchange faster = exchange(2);
  faster.network = faster.network * 2.0;
  faster.scale_up = faster.scale_up * 2.0;
  EXPECT_EQ(needed_multiprocessors(faster, kHopper, true), 22);  // 21.4 of them keep up
  // A link of the domain that is the slower of the two decides alone.
  TwoLevelExchange slow = exchange(2);
  slow.scale_up = 10.0 * unit::gigabytes_per_second;
  EXPECT_EQ(needed_multiprocessors(slow, kHopper, true), 4);
}

TEST(ExchangeMultiprocessors, StayWithinTheDevice) {
  TwoLevelExchange fast = exchange(2);
  fast.network = fast.scale_up = 9000.0 * unit::gigabytes_per_second;
  EXPECT_EQ(needed_multiprocessors(fast, kHopper, true), kHopper);
  EXPECT_EQ(needed_multiprocessors(exchange(4), kHopper, false), 64);
  EXPECT_EQ(needed_multiprocessors(exchange(4), 24, false), 24);
}

TEST(ExchangeMultiprocessors, AreNotKnownWhereTheRuleDoesNotHold) {
  TwoLevelExchange limited = exchange(8);
  limited.num_groups = 8;
  limited.top_k_groups = 4;
  EXPECT_EQ(needed_multiprocessors(limited, kHopper, true), std::nullopt);
  EXPECT_EQ(needed_multiprocessors(exchange(1), kHopper, true), std::nullopt);
}

}  // namespace
}  // namespace orrery::costmodel
