// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/square_sum.h"

#include "tests/unit/executor/kernels/values.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

SquareSum sum_of(const std::vector<float>& values) {
  SquareSum sum;
  sum.add(values);
  return sum;
}

TEST(SquareSum, AddsSquaresExactly) {
  EXPECT_EQ(sum_of({3.0F, -4.0F}).value(), 25.0);
  EXPECT_EQ(sum_of({0x1p-45F}).value(), 0x1p-90);
  EXPECT_EQ(sum_of({1.0F, 0x1p-26F}).value(), 1.0 + 0x1p-52);
  EXPECT_EQ(sum_of({}).value(), 0.0);
}

TEST(SquareSum, RoundsEachSquareToAMultipleOfTwoToTheMinusNinety) {
  EXPECT_EQ(sum_of({0x1p-46F}).value(), 0.0);             // a quarter of a unit
  EXPECT_EQ(sum_of({0x1.8p-46F}).value(), 0x1p-90);       // 9/16 of a unit
  EXPECT_EQ(sum_of({0x1.4p-45F}).value(), 0x1p-89);       // 25/16 units
  EXPECT_EQ(sum_of({0x1p-149F, 0x1p-70F}).value(), 0.0);  // a subnormal and a tiny number
}

TEST(SquareSum, IsTheSumOfTheSquaresToTheLastDigits) {
  const std::vector<float> values = Values::random(1, 10000, "gradient").floats();
  long double want = 0.0L;  // wider than what is tested: ten thousand additions in f64 lose two digits
  for (const float value : values) want += static_cast<long double>(value) * static_cast<long double>(value);
  EXPECT_DOUBLE_EQ(sum_of(values).value(), static_cast<double>(want));
}

TEST(SquareSum, DoesNotDependOnOrderOrOnShards) {
  std::vector<float> values = Values::random(1, 1000, "gradient").floats();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] *= std::ldexp(1.0F, -static_cast<int>(i % 60));
  const auto want = sum_of(values).words();
  std::vector<float> reversed(values.rbegin(), values.rend());
  EXPECT_EQ(sum_of(reversed).words(), want);
  SquareSum merged;
  for (std::size_t begin = 0; begin < values.size(); begin += 125) {
    const auto first = values.begin() + static_cast<std::ptrdiff_t>(begin);
    merged.merge(SquareSum::from_words(sum_of({first, first + 125}).words()));
  }
  EXPECT_EQ(merged.words(), want);
}

TEST(SquareSum, ReportsAnOverflow) {
  const float large = 0x1p18F;  // its square is a quarter of what overflows
  EXPECT_EQ(sum_of({large, large, large}).value(), 3 * 0x1p36);
  EXPECT_FALSE(sum_of({large, large, large}).overflowed());
  EXPECT_TRUE(sum_of({large, large, large, large}).overflowed());
  EXPECT_EQ(sum_of({large, large, large, large}).value(), std::numeric_limits<double>::infinity());
  SquareSum merged = sum_of({large, large});
  merged.merge(sum_of({large, large}));
  EXPECT_TRUE(merged.overflowed());
}

TEST(SquareSum, ReportsValuesThatAreTooLargeOrNotNumbers) {
  for (const float value :
       {0x1p19F, -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_TRUE(sum_of({value}).overflowed()) << value;
    EXPECT_TRUE(SquareSum::from_words(sum_of({value}).words()).overflowed()) << value;
  }
  EXPECT_FALSE(sum_of({0x1.fffffep18F}).overflowed());
}

}  // namespace
}  // namespace orrery::executor
