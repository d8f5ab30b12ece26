// SPDX-License-Identifier: Apache-2.0
#include "base/enum_names.h"

#include <cstdint>

#include <gtest/gtest.h>

namespace orrery {
namespace {

enum class Colour : std::uint8_t { red, green };
constexpr Named<Colour> kColourNames[] = {{"red", Colour::red}, {"green", Colour::green}};

TEST(EnumNames, AreReadInBothDirections) {
  EXPECT_EQ(name_of(kColourNames, Colour::green), "green");
  EXPECT_EQ(find_named(kColourNames, "green"), Colour::green);
  EXPECT_EQ(find_named(kColourNames, "gree"), std::nullopt);
  EXPECT_EQ(find_named(kColourNames, ""), std::nullopt);
}

}  // namespace
}  // namespace orrery
