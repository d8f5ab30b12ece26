// SPDX-License-Identifier: Apache-2.0
#include "planner/importers/layer_pattern.h"

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

/// "dmm" for a dense layer and two with experts; what is wrong as it is said.
std::string pattern(std::string_view text, std::int64_t num_layers) {
  const auto found = read_layer_pattern(text, num_layers);
  if (const auto* problem = std::get_if<std::string>(&found)) return *problem;
  std::string letters;
  for (const LayerKind kind : std::get<std::vector<LayerKind>>(found)) letters += kind == LayerKind::moe ? 'm' : 'd';
  return letters;
}

TEST(LayerPattern, OfANumberIsEveryNthLayerFromTheFirst) {
  EXPECT_EQ(pattern("1", 4), "mmmm");
  EXPECT_EQ(pattern("3", 7), "mddmddm");
}

TEST(LayerPattern, OfAnExpressionIsWhatPythonMakesOfIt) {
  EXPECT_EQ(pattern("([0]*3+[1]*5)", 8), "dddmmmmm");
  EXPECT_EQ(pattern("[0]*1+[1]*2", 3), "dmm");
  EXPECT_EQ(pattern("[0, 1] * 2 + ( [1] + [0,1]*2 ) * 1", 9), "dmdmmdmdm");
  EXPECT_EQ(pattern("[1]*2*2", 4), "mmmm");
  EXPECT_EQ(pattern("[0]+[1]*0+[1]", 2), "dm");
}

TEST(LayerPattern, HasAnEntryForEachLayer) { EXPECT_EQ(pattern("[0]*3+[1]*58", 60), "expected 60 layers, got 61"); }

TEST(LayerPattern, IsNothingElse) {
  for (const char* text : {"", "0", "-1", "[2]", "[", "[]", "[1]*", "[1]*-1", "([1]", "[1])", "1+[1]", "[1]*99999999",
                           "[1]*99999999999999999999", "[0]*2[1]", "open('f')"}) {
    const std::string expected = "expected a number from 1 or lists of 0 and 1 such as \"([0]*3+[1]*58)\", got \"";
    EXPECT_EQ(pattern(text, 2), expected + text + "\"");
  }
  EXPECT_NE(pattern(std::string(100000, '('), 2), "");
  EXPECT_NE(pattern("[1]*60000+[1]*60000", 2), "expected 2 layers, got 120000");
}

}  // namespace
}  // namespace orrery::planner
