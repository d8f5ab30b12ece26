// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/bf16.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

float rounded(float value) { return static_cast<float>(bf16(value)); }

TEST(Bf16, KeepsValuesWithEightSignificantBits) {
  for (const float value : {0.0F, -0.0F, 1.0F, -2.5F, 255.0F, 0x1.02p-100F, 0x1.fep127F}) {
    EXPECT_EQ(rounded(value), value);
  }
  EXPECT_TRUE(std::signbit(rounded(-0.0F)));
}

TEST(Bf16, RoundsToTheNearestAndTiesToEven) {
  EXPECT_EQ(rounded(0x1.01p0F), 0x1.00p0F);      // a tie: down to even
  EXPECT_EQ(rounded(0x1.03p0F), 0x1.04p0F);      // a tie: up to even
  EXPECT_EQ(rounded(0x1.010002p0F), 0x1.02p0F);  // above the tie
  EXPECT_EQ(rounded(0x1.00fffep0F), 0x1.00p0F);  // below the tie
  EXPECT_EQ(rounded(-0x1.03p0F), -0x1.04p0F);
}

TEST(Bf16, RoundsTooLargeValuesToInfinity) {
  EXPECT_EQ(rounded(std::numeric_limits<float>::max()), std::numeric_limits<float>::infinity());
  EXPECT_EQ(rounded(-std::numeric_limits<float>::infinity()), -std::numeric_limits<float>::infinity());
}

TEST(Bf16, KeepsNanANan) {
  EXPECT_TRUE(std::isnan(rounded(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(rounded(std::bit_cast<float>(0x7f800001U))));  // all payload in the lost half
  EXPECT_TRUE(std::isnan(rounded(std::bit_cast<float>(0x7fffffffU))));  // rounding up would overflow
}

}  // namespace
}  // namespace orrery::executor
