// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/fixed_point.h"

#include "tests/unit/executor/kernels/values.h"

#include <algorithm>
#include <limits>
#include <random>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

constexpr std::int64_t kCols = 37;

std::vector<float> sum_of(const std::vector<Values>& terms) {
  Values sum(2, kCols, DType::i64);
  for (const Values& term : terms) EXPECT_TRUE(add_fixed_point(term, 100.0, sum));
  return sum.floats();
}

// The terms differ in size by 10^6, so that f32 loses bits of every second one.
std::vector<Values> terms_of_many_sizes(std::int64_t count) {
  std::vector<Values> terms;
  for (std::int64_t i = 0; i < count; ++i) {
    terms.push_back(Values::random(2, kCols, "term" + std::to_string(i)));
    if (i % 2 == 0) continue;
    for (std::int64_t row = 0; row < 2; ++row) {
      for (std::int64_t col = 0; col < kCols; ++col) terms.back().view().row<float>(row)[col] *= 1e-6F;
    }
  }
  return terms;
}

TEST(FixedPoint, NoOrderAndNoGroupingOfTheTermsChangesABit) {
  std::vector<Values> terms = terms_of_many_sizes(24);
  const std::vector<float> want = sum_of(terms);
  const auto f32_sum = [&] {
    Values sum(2, kCols);
    for (const Values& term : terms) add(sum, term, sum);
    return sum.floats();
  };
  const std::vector<float> rounded = f32_sum();
  std::mt19937 generator(1);
  for (int i = 0; i < 20; ++i) {
    std::shuffle(terms.begin(), terms.end(), generator);
    EXPECT_EQ(sum_of(terms), want);
    EXPECT_NE(f32_sum(), rounded) << "the terms are such that an order of f32 sums shows";
  }
  // Ranks with 5, 0 and 19 terms.
  Values first(2, kCols, DType::i64), none(2, kCols, DType::i64), rest(2, kCols, DType::i64);
  for (std::size_t i = 0; i < terms.size(); ++i) ASSERT_TRUE(add_fixed_point(terms[i], 100.0, i < 5 ? first : rest));
  add(rest, none, none);
  add(first, none, first);
  EXPECT_EQ(first.floats(), want);
}

TEST(FixedPoint, IsAsCloseToTheSumAsF32) {
  const std::vector<Values> terms = terms_of_many_sizes(24);
  const std::vector<float> got = sum_of(terms);
  Doubles want(got.size());
  for (const Values& term : terms) {
    const Doubles values = term.doubles();
    for (std::size_t i = 0; i < want.size(); ++i) want[i] += values[i];
  }
  for (std::size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], 0x1p-24 * std::abs(want[i]) + 12 * kFixedPointUnit);
  }
}

TEST(FixedPoint, ATermIsRoundedToTheNearestMultipleTiesToEven) {
  const auto multiples = [](double term) {
    Values terms = Values::of({term}, 1), sum(1, 1, DType::i64);
    EXPECT_TRUE(add_fixed_point(terms, 4096.0, sum));
    return sum.doubles()[0] / kFixedPointUnit;
  };
  EXPECT_EQ(multiples(0.49 * kFixedPointUnit), 0.0);
  EXPECT_EQ(multiples(0.5 * kFixedPointUnit), 0.0);
  EXPECT_EQ(multiples(-1.5 * kFixedPointUnit), -2.0);
  EXPECT_EQ(multiples(2.5 * kFixedPointUnit), 2.0);
  EXPECT_EQ(multiples(-7.0 * kFixedPointUnit), -7.0);
  EXPECT_EQ(multiples(4095.5), 4095.5 / kFixedPointUnit);
}

TEST(FixedPoint, SaysWhatItCannotHold) {
  for (const double term : {100.0, -100.0, 1e30, static_cast<double>(std::numeric_limits<float>::infinity()),
                            std::numeric_limits<double>::quiet_NaN()}) {
    Doubles values(kCols, 1.0);
    values[20] = term;
    Values sum(1, kCols, DType::i64);
    EXPECT_FALSE(add_fixed_point(Values::of(values, 1), 100.0, sum)) << term;
    values[20] = 99.99;
    EXPECT_TRUE(add_fixed_point(Values::of(values, 1), 100.0, sum));
  }
}

}  // namespace
}  // namespace orrery::executor
