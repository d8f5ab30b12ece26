// SPDX-License-Identifier: Apache-2.0
#include "base/number_text.h"

#include <cstdint>

#include <gtest/gtest.h>

namespace orrery {
namespace {

TEST(NumberText, IsANumberFromItsFirstCharacterToItsLast) {
  EXPECT_EQ(number_in<int>("12"), 12);
  EXPECT_EQ(number_in<int>("-1"), -1);
  EXPECT_EQ(number_in<double>("12.5"), 12.5);
  EXPECT_EQ(number_in<double>("1e-3"), 1e-3);
  for (const char* text : {"", " 1", "1 ", "+1", "1x", "x", "0x1"}) {
    EXPECT_FALSE(number_in<int>(text).has_value()) << text;
    EXPECT_FALSE(number_in<double>(text).has_value()) << text;
  }
  EXPECT_FALSE(number_in<int>("1.5").has_value());
}

TEST(NumberText, WhatDoesNotFitIsNone) {
  EXPECT_EQ(number_in<std::int64_t>("9223372036854775807"), INT64_MAX);
  EXPECT_FALSE(number_in<std::int64_t>("9223372036854775808").has_value());
  EXPECT_FALSE(number_in<double>("1e999").has_value());
}

}  // namespace
}  // namespace orrery
