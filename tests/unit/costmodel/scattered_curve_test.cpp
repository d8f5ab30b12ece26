// SPDX-License-Identifier: Apache-2.0
#include "costmodel/scattered_curve.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

/// A power law on a grid: a plane in logarithms.
double power_law(double m, double n, double k) {
  return 3.0 * std::pow(m, -0.3) * std::pow(n, -0.1) * std::pow(k, 0.2);
}

ScatteredCurve grid() {
  ScatteredCurve curve;
  for (double m : {128.0, 512.0, 2048.0}) {
    for (double n : {256.0, 1024.0, 4096.0}) {
      for (double k : {256.0, 1024.0, 4096.0}) curve.add({m, n, k}, power_law(m, n, k));
    }
  }
  return curve;
}

TEST(ScatteredCurve, IsExactAtThePoints) {
  const ScatteredCurve::Value value = grid().at({512.0, 1024.0, 4096.0});
  EXPECT_DOUBLE_EQ(value.value, power_law(512.0, 1024.0, 4096.0));
  EXPECT_TRUE(value.inside);
}

TEST(ScatteredCurve, FollowsAPowerLawBetweenThePoints) {
  const ScatteredCurve::Value value = grid().at({700.0, 800.0, 1500.0});
  EXPECT_NEAR(value.value / power_law(700.0, 800.0, 1500.0), 1.0, 2e-3);
  EXPECT_TRUE(value.inside);
}

TEST(ScatteredCurve, StaysWithinItsNeighboursBeyondThePointsAndSaysSo) {
  const ScatteredCurve::Value value = grid().at({128.0, 256.0, 1e6});
  EXPECT_FALSE(value.inside);
  EXPECT_GE(value.value, power_law(2048.0, 4096.0, 256.0));
  EXPECT_LE(value.value, power_law(128.0, 256.0, 4096.0));
}

TEST(ScatteredCurve, HasNoJumpWhereTheNeighboursChange) {
  const ScatteredCurve curve = grid();
  const auto at = [&](double m) { return curve.at({m, 300.0 + m / 2.0, 600.0}).value; };
  for (double m = 128.0; m <= 2048.0; m *= 1.002) EXPECT_NEAR(at(m * 1.002) / at(m), 1.0, 0.01) << m;
}

TEST(ScatteredCurve, TakesASinglePointForEverything) {
  ScatteredCurve curve;
  curve.add({64.0}, 5.0);
  EXPECT_DOUBLE_EQ(curve.at({1000.0}).value, 5.0);
  EXPECT_FALSE(curve.at({1000.0}).inside);
}

TEST(ScatteredCurve, NeedsNoSpreadInEverySize) {
  ScatteredCurve line;  // the second size never changes
  line.add({100.0, 7.0}, 1.0);
  line.add({400.0, 7.0}, 2.0);
  EXPECT_NEAR(line.at({200.0, 7.0}).value, std::sqrt(2.0), 1e-3);
}

}  // namespace
}  // namespace orrery::costmodel
