// SPDX-License-Identifier: Apache-2.0
#include "base/lower_case.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

TEST(LowerCase, ChangesLettersOfAsciiAlone) {
  EXPECT_EQ(lower_case("FP8_CS (Blocks) @[`{"), "fp8_cs (blocks) @[`{");
  EXPECT_EQ(lower_case("AZaz09"), "azaz09");
  EXPECT_EQ(lower_case("\xc3\x84"), "\xc3\x84");
  EXPECT_EQ(lower_case(""), "");
}

}  // namespace
}  // namespace orrery
