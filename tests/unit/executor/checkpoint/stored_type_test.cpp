// SPDX-License-Identifier: Apache-2.0
#include "executor/checkpoint/stored_type.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

std::uint16_t narrow(StoredType type, float value) {
  const std::vector<std::byte> bytes = narrowed(type, {&value, 1});
  std::uint16_t half = 0;
  std::memcpy(&half, bytes.data(), 2);
  return half;
}

float widened(StoredType type, std::uint16_t half) {
  float value = 0.0F;
  widen(type, std::as_bytes(std::span(&half, 1)), {&value, 1});
  return value;
}

TEST(StoredType, EveryHalfComesBackFromF32) {
  for (const StoredType type : {StoredType::bf16, StoredType::f16}) {
    for (std::uint32_t half = 0; half < 0x10000; ++half) {
      const float value = widened(type, static_cast<std::uint16_t>(half));
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(widened(type, narrow(type, value)))) << half;
      } else {
        ASSERT_EQ(narrow(type, value), half) << value;
      }
    }
  }
}

// Known values of IEEE 754 binary16, and ties.
TEST(StoredType, F16IsTheNearestOneAndOfTwoTheEven) {
  const auto f16 = [](float value) { return narrow(StoredType::f16, value); };
  EXPECT_EQ(f16(1.0F), 0x3C00);
  EXPECT_EQ(f16(-2.5F), 0xC100);
  EXPECT_EQ(f16(65504.0F), 0x7BFF);
  EXPECT_EQ(f16(65519.0F), 0x7BFF);
  EXPECT_EQ(f16(65520.0F), 0x7C00);  // a tie with what would be 65536
  EXPECT_EQ(f16(-std::numeric_limits<float>::infinity()), 0xFC00);
  EXPECT_EQ(f16(1.0F + 0x1p-11F), 0x3C00);
  EXPECT_EQ(f16(1.0F + 0x3p-11F), 0x3C02);
  EXPECT_EQ(f16(1.0F + 0x1p-11F + 0x1p-20F), 0x3C01);
  EXPECT_EQ(f16(0x1p-24F), 0x0001);
  EXPECT_EQ(f16(0x1p-25F), 0x0000);
  EXPECT_EQ(f16(0x3p-25F), 0x0002);
  EXPECT_EQ(f16(0x1p-14F - 0x1p-26F), 0x0400);  // the largest small number rounds to the smallest normal one
  EXPECT_EQ(f16(-0.0F), 0x8000);
}

TEST(StoredType, Bf16IsTheNearestOneAndOfTwoTheEven) {
  const auto bf16 = [](float value) { return narrow(StoredType::bf16, value); };
  EXPECT_EQ(bf16(1.0F), 0x3F80);
  EXPECT_EQ(bf16(1.0F + 0x1p-8F), 0x3F80);
  EXPECT_EQ(bf16(1.0F + 0x3p-8F), 0x3F82);
  EXPECT_EQ(bf16(1.0F + 0x1p-8F + 0x1p-20F), 0x3F81);
  EXPECT_EQ(bf16(-1.0F - 0x3p-9F), 0xBF81);
  EXPECT_EQ(bf16(std::numeric_limits<float>::max()), 0x7F80);
}

TEST(StoredType, F32IsItself) {
  const float values[] = {1.5F, -0.0F, 1e-40F};
  const std::vector<std::byte> bytes = narrowed(StoredType::f32, values);
  float back[3] = {};
  widen(StoredType::f32, bytes, back);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(values[i]), std::bit_cast<std::uint32_t>(back[i]));
  }
}

}  // namespace
}  // namespace orrery::executor
