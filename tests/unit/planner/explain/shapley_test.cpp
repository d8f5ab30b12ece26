// SPDX-License-Identifier: Apache-2.0
#include "planner/explain/shapley.h"

#include "base/rng.h"

#include <bit>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;

std::int64_t sum(const Attribution& parts) {
  return std::accumulate(parts.numerators.begin(), parts.numerators.end(), std::int64_t{0});
}

TEST(Shapley, OfOnePlayerIsTheDifference) {
  const Attribution parts = shapley(std::vector<std::int64_t>{7, 4});
  EXPECT_THAT(parts.numerators, ElementsAre(-3));
  EXPECT_EQ(parts.denominator, 1);
}

TEST(Shapley, OfNobodyIsNothing) { EXPECT_TRUE(shapley(std::vector<std::int64_t>{5}).numerators.empty()); }

TEST(Shapley, GivesPlayersWhatTheyAddIfTheyAddItAlways) {
  std::vector<std::int64_t> values;
  for (std::size_t coalition = 0; coalition < 8; ++coalition) {
    values.push_back(100 + ((coalition & 1) != 0 ? 5 : 0) + ((coalition & 2) != 0 ? -20 : 0));
  }
  const Attribution parts = shapley(values);
  EXPECT_EQ(parts.of(0), 5.0);
  EXPECT_EQ(parts.of(1), -20.0);
  EXPECT_EQ(parts.of(2), 0.0);
}

// Two left gloves and a right one: a pair is worth 6. Shapley's own example gives 1, 1, 4.
TEST(Shapley, SharesWhatOnlyTwoTogetherMake) {
  std::vector<std::int64_t> values;
  for (std::size_t coalition = 0; coalition < 8; ++coalition) {
    values.push_back((coalition & 3) != 0 && (coalition & 4) != 0 ? 6 : 0);
  }
  const Attribution parts = shapley(values);
  EXPECT_EQ(parts.of(0), 1.0);
  EXPECT_EQ(parts.of(1), 1.0);
  EXPECT_EQ(parts.of(2), 4.0);
}

TEST(Shapley, AddsUpToTheWholeExactlyForAnyValues) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const CounterRng rng(3, seed);
    const std::size_t n = rng.below(0, kMaxPlayers + 1);
    std::vector<std::int64_t> values;
    for (std::uint64_t i = 0; i < std::uint64_t{1} << n; ++i) {
      values.push_back(static_cast<std::int64_t>(rng.below(1 + i, std::uint64_t{1} << 45)));
    }
    const Attribution parts = shapley(values);
    EXPECT_EQ(sum(parts), parts.denominator * (values.back() - values.front())) << n;
  }
}

TEST(Shapley, TreatsEqualsAlike) {
  std::vector<std::int64_t> values;
  for (std::size_t coalition = 0; coalition < 32; ++coalition) {
    const int size = std::popcount(coalition);
    values.push_back(std::int64_t{size} * size * 1000);
  }
  const Attribution parts = shapley(values);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(parts.of(i), 5000.0);
}

}  // namespace
}  // namespace orrery::planner
