// SPDX-License-Identifier: Apache-2.0
#include "base/rng.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

using Block = std::array<std::uint32_t, 4>;

// Source: known answers (kat_vectors) published with Random123, philox4x32 with 10 rounds.
TEST(Philox, GivesTheKnownAnswers) {
  static_assert(philox({0, 0, 0, 0}, {0, 0}) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(CounterRng, IsAFunctionOfSeedStreamAndIndex) {
  EXPECT_EQ(CounterRng(1, 2).bits(3), CounterRng(1, 2).bits(3));
  EXPECT_NE(CounterRng(1, 2).bits(3), CounterRng(1, 2).bits(4));
  EXPECT_NE(CounterRng(1, 2).bits(3), CounterRng(1, 3).bits(3));
  EXPECT_NE(CounterRng(1, 2).bits(3), CounterRng(2, 2).bits(3));
  EXPECT_NE(CounterRng(1, 2).bits(3), CounterRng(1, 2).bits(3 + (std::uint64_t{1} << 32)));
}

constexpr std::uint64_t kSamples = 100000;

TEST(CounterRng, UniformHasTheMomentsOfAUniformVariable) {
  const CounterRng random(7, 0);
  double sum = 0.0, squares = 0.0;
  for (std::uint64_t i = 0; i < kSamples; ++i) {
    const double x = random.uniform(i);
    ASSERT_GE(x, 0.0);
    ASSERT_LT(x, 1.0);
    sum += x;
    squares += x * x;
  }
  // Four standard errors: 4 * sqrt(1/12 / n) and 4 * sqrt(4/45 / n).
  EXPECT_NEAR(sum / kSamples, 0.5, 0.0037);
  EXPECT_NEAR(squares / kSamples, 1.0 / 3.0, 0.0038);
}

TEST(CounterRng, NormalHasTheMomentsOfANormalVariable) {
  const CounterRng random(7, 1);
  double sum = 0.0, squares = 0.0;
  for (std::uint64_t i = 0; i < kSamples; ++i) {
    const double x = random.normal(i);
    sum += x;
    squares += x * x;
  }
  // Four standard errors: 4 / sqrt(n) and 4 * sqrt(2 / n).
  EXPECT_NEAR(sum / kSamples, 0.0, 0.0127);
  EXPECT_NEAR(squares / kSamples, 1.0, 0.0179);
}

TEST(CounterRng, BelowReachesEveryValueAboutEqually) {
  const CounterRng random(7, 2);
  std::array<int, 5> counts{};
  for (std::uint64_t i = 0; i < kSamples; ++i) ++counts.at(random.below(i, 5));
  for (const int count : counts) EXPECT_NEAR(count, kSamples / 5, 4 * 127);  // sqrt(n * 1/5 * 4/5) is 126.5
}

}  // namespace
}  // namespace orrery
