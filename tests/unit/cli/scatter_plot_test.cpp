// SPDX-License-Identifier: Apache-2.0
#include "cli/scatter_plot.h"

#include <regex>
#include <string>

#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

/// Centre of the point with this name.
std::pair<double, double> place_of(const std::string& svg, const std::string& name) {
  std::smatch match;
  const std::regex circle("<circle cx=\"([0-9.]+)\" cy=\"([0-9.]+)\"[^>]*><title>" + name + "</title>");
  EXPECT_TRUE(std::regex_search(svg, match, circle)) << name;
  return {std::stod(match[1]), std::stod(match[2])};
}

TEST(ScatterPlot, PutsAPerfectPredictionOnTheDiagonal) {
  const std::string svg = scatter_plot({{.group = "g", .name = "a", .measured = 1.0, .predicted = 1.0},
                                        {.group = "g", .name = "b", .measured = 100.0, .predicted = 100.0}},
                                       "title");
  const auto [ax, ay] = place_of(svg, "a");
  const auto [bx, by] = place_of(svg, "b");
  EXPECT_NEAR(bx - ax, ay - by, 0.2);  // y grows downwards
  EXPECT_GT(bx, ax);
}

TEST(ScatterPlot, PutsASlowPredictionAboveTheDiagonal) {
  const std::string svg = scatter_plot({{.group = "g", .name = "a", .measured = 1.0, .predicted = 1.0},
                                        {.group = "h", .name = "b", .measured = 1.0, .predicted = 10.0}},
                                       "title");
  EXPECT_LT(place_of(svg, "b").second, place_of(svg, "a").second);
  EXPECT_NEAR(place_of(svg, "b").first, place_of(svg, "a").first, 0.1);
}

TEST(ScatterPlot, NamesGroupsAndEscapesText) {
  const std::string svg = scatter_plot({{.group = "a<b", .name = "n", .measured = 1.0, .predicted = 2.0}}, "x & y");
  EXPECT_NE(svg.find("a&lt;b"), std::string::npos);
  EXPECT_NE(svg.find("x &amp; y"), std::string::npos);
}

TEST(ScatterPlot, DrawsAxesWithoutPoints) { EXPECT_NE(scatter_plot({}, "empty").find("measured"), std::string::npos); }

}  // namespace
}  // namespace orrery::cli
