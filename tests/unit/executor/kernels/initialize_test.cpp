// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/initialize.h"

#include "tests/unit/executor/kernels/values.h"

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

TEST(InitializeNormal, HasTheMeanAndDeviationAskedFor) {
  Values values(100, 1000);
  initialize_normal(7, "layers.0.w", 0, 0.02F, values);
  double sum = 0.0, squares = 0.0;
  for (const double value : values.doubles()) {
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / 1e5, 0.0, 5.0 * 0.02 / std::sqrt(1e5));
  EXPECT_NEAR(std::sqrt(squares / 1e5), 0.02, 5.0 * 0.02 / std::sqrt(2e5));
}

TEST(InitializeNormal, GivesAPartTheNumbersOfTheWhole) {
  Values whole(6, 10), part(2, 10);
  initialize_normal(7, "w", 0, 1.0F, whole);
  initialize_normal(7, "w", 30, 1.0F, part);
  EXPECT_EQ(std::memcmp(whole.view().at(3, 0), part.bytes().data(), part.bytes().size()), 0);
}

TEST(InitializeNormal, DiffersBetweenSeedsAndNames) {
  Values a(1, 8), b(1, 8), c(1, 8);
  initialize_normal(7, "w", 0, 1.0F, a);
  initialize_normal(8, "w", 0, 1.0F, b);
  initialize_normal(7, "v", 0, 1.0F, c);
  EXPECT_NE(a.bytes(), b.bytes());
  EXPECT_NE(a.bytes(), c.bytes());
}

TEST(InitializeNormal, RoundsTheF32NumbersToBf16) {
  Values wide(2, 8), narrow(2, 8, DType::bf16), rounded(2, 8, DType::bf16);
  initialize_normal(7, "w", 0, 1.0F, wide);
  initialize_normal(7, "w", 0, 1.0F, narrow);
  convert(wide, rounded);
  EXPECT_EQ(narrow.bytes(), rounded.bytes());
}

TEST(InitializeConstant, SetsEveryElement) {
  Values ones(2, 3, DType::bf16);
  initialize_constant(1.0F, ones);
  EXPECT_EQ(ones.doubles(), Doubles(6, 1.0));
}

}  // namespace
}  // namespace orrery::executor
