// SPDX-License-Identifier: Apache-2.0
#include "base/errors.h"

#include "base/check.h"
#include "base/enum_names.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

TEST(ConfigError, ListsAllProblemsWithTheirHints) {
  const ConfigError error({{.file = "strategies/ep64.json",
                            .line = 14,
                            .pointer = "/ep",
                            .message = "expected a divisor of 256 (number of experts), got 48",
                            .hint = "nearest divisors are 32 and 64"},
                           {.file = "catalog/clusters/mixed.json",
                            .line = 7,
                            .pointer = "/links/0/bandwith",
                            .message = "unknown key; did you mean \"bandwidth\"?"}});
  EXPECT_STREQ(error.what(),
               "strategies/ep64.json:14: /ep: expected a divisor of 256 (number of experts), got 48\n"
               "  hint: nearest divisors are 32 and 64\n"
               "catalog/clusters/mixed.json:7: /links/0/bandwith: unknown key; did you mean \"bandwidth\"?");
  EXPECT_EQ(error.problems().size(), 2u);
}

TEST(ConfigError, OfAFlagHasNoPlace) {
  EXPECT_STREQ(ConfigError("expected --ranks of at least 1, got 0").what(), "expected --ranks of at least 1, got 0");
}

TEST(ProblemList, ThrowsInTheOrderOfTheLines) {
  ProblemList problems;
  problems.throw_if_any();
  problems.add({.file = "a.json", .line = 9, .message = "second"});
  problems.add({.file = "a.json", .line = 2, .message = "first"});
  try {
    problems.throw_if_any();
    FAIL() << "expected a ConfigError";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "a.json:2: first\na.json:9: second");
  }
}

TEST(BackendError, NamesRankAndOp) {
  const BackendError error(3, "mb0/stage1/layer4/fwd/moe.dispatch", "peer 2 is gone");
  EXPECT_STREQ(error.what(), "rank 3, mb0/stage1/layer4/fwd/moe.dispatch: peer 2 is gone");
  EXPECT_EQ(error.rank(), 3);
  EXPECT_STREQ(BackendError(1, "", "was killed").what(), "rank 1: was killed");
  EXPECT_EQ(BackendError("no shared memory").rank(), -1);
}

std::string message_of(void (*broken)()) {
  try {
    broken();
  } catch (const InternalError& error) {
    return error.what();
  }
  return "no error";
}

/// The message without its place, which must be a line of this file.
std::string failure_of(void (*broken)()) {
  const std::string message = message_of(broken);
  const std::string place = "base/errors_test.cpp:";
  EXPECT_EQ(message.substr(0, place.size()), place);
  return message.substr(std::min(message.size(), message.find(' ')));
}

enum class Color { red, green };
constexpr Named<Color> kColorNames[] = {{"red", Color::red}};

TEST(Check, PassesInSilence) {
  CHECK(1 + 1 == 2);
  CHECK(true, "never printed");
}

TEST(Check, PrintsTheExpressionAndTheNamedValues) {
  EXPECT_EQ(failure_of([] {
              const int stage = 4, num_stages = 4;
              CHECK(stage < num_stages, stage, num_stages);
            }),
            " CHECK failed: stage < num_stages (stage = 4, num_stages = 4)");
  EXPECT_EQ(failure_of([] { CHECK(1 > 2); }), " CHECK failed: 1 > 2");
}

TEST(Check, PrintsEveryKindOfValue) {
  EXPECT_EQ(failure_of([] {
              const std::string name = "h800";
              CHECK(false, std::max(1, 2), 2.5, name, milliseconds(2.0), Color::green, true, Id<struct Tag>(7),
                    std::size_t{8});
            }),
            " CHECK failed: false (std::max(1, 2) = 2, 2.5 = 2.5, name = h800, milliseconds(2.0) = 0.002, "
            "Color::green = 1, true = true, Id<struct Tag>(7) = 7, std::size_t{8} = 8)");
}

TEST(EnumNames, GiveTheNameOfAValue) {
  EXPECT_EQ(name_of(kColorNames, Color::red), "red");
  EXPECT_NE(message_of([] { name_of(kColorNames, Color::green); }).find("CHECK failed: false (value = 1)"),
            std::string::npos);
}

}  // namespace
}  // namespace orrery
