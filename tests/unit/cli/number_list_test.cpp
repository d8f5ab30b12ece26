// SPDX-License-Identifier: Apache-2.0
#include "cli/number_list.h"

#include "base/errors.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

using ::testing::ElementsAre;

std::string refusal_of(std::string_view text) {
  try {
    number_list(text, 16, "--on: nodes");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(NumberList, HasNumbersAndRangesInTheirOrder) {
  EXPECT_THAT(number_list("3", 16, "x"), ElementsAre(3));
  EXPECT_THAT(number_list("12,3-5,0", 16, "x"), ElementsAre(12, 3, 4, 5, 0));
  EXPECT_THAT(number_list("7-7,15", 16, "x"), ElementsAre(7, 15));
}

TEST(NumberList, SaysWhatIsWrong) {
  for (const char* text : {"", "a", "1,", ",1", "1-", "-1", "5-3", "1 2", "1--2", "0x3", "99999999999999999999"}) {
    EXPECT_EQ(refusal_of(text), "--on: nodes: expected numbers such as \"3,8-15\", got \"" + std::string(text) + "\"");
  }
  EXPECT_EQ(refusal_of("3,8-16"), "--on: nodes: expected numbers below 16, got 16");
  EXPECT_EQ(refusal_of("0-9223372036854775807"), "--on: nodes: expected numbers below 16, got 9223372036854775807");
  EXPECT_EQ(refusal_of("1-3,2"), "--on: nodes: 2 stands twice");
}

}  // namespace
}  // namespace orrery::cli
