// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/simd_math.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

TEST(VectorExp, IsWithinTwoTenthsOfAMillionthOfTheExponential) {
  for (int i = -86000; i < 88000; ++i) {
    const float x = static_cast<float>(i) * 1e-3F;
    const double exact = std::exp(static_cast<double>(x));
    ASSERT_NEAR(vector_exp(x) / exact, 1.0, 2e-7) << "at " << x;
  }
}

TEST(VectorExp, IsOneAtZero) { EXPECT_EQ(vector_exp(0.0F), 1.0F); }

TEST(VectorExp, ClampsWhatWouldOverflowOrVanish) {
  EXPECT_EQ(vector_exp(1000.0F), vector_exp(88.0F));
  EXPECT_EQ(vector_exp(-INFINITY), vector_exp(-87.0F));
  EXPECT_TRUE(std::isnormal(vector_exp(-INFINITY)));
  EXPECT_TRUE(std::isnormal(vector_exp(INFINITY)));
}

}  // namespace
}  // namespace orrery::executor
