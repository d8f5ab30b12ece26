// SPDX-License-Identifier: Apache-2.0
#include "costmodel/linear_curve.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

LinearCurve two_points() {
  LinearCurve curve;
  curve.add(bytes(100), microseconds(10));
  curve.add(bytes(300), microseconds(14));
  return curve;
}

void expect(const LinearCurve& curve, double size, double time, bool inside) {
  const LinearCurve::Value value = curve.at(bytes(size));
  EXPECT_NEAR(value.time.in(unit::microsecond), time, 1e-12) << size;
  EXPECT_EQ(value.inside, inside) << size;
}

TEST(LinearCurve, IsExactAtThePointsAndStraightBetweenThem) {
  expect(two_points(), 100, 10, true);
  expect(two_points(), 200, 12, true);
  expect(two_points(), 300, 14, true);
}

TEST(LinearCurve, GoesOnBelowTheLeastSizeAndSaysSo) { expect(two_points(), 50, 9, false); }

TEST(LinearCurve, TakesForFurtherBytesWhatTheLastOnesTook) {
  expect(two_points(), 600, 20, false);
  EXPECT_NEAR(two_points().end_rate().in(unit::byte_per_second), 200 / 4e-6, 1.0);
}

TEST(LinearCurve, DoesNotLetTwoPointsThatLieCloseTogetherDecide) {
  LinearCurve curve = two_points();
  curve.add(bytes(299), microseconds(8));
  expect(curve, 600, 20, false);
}

TEST(LinearCurve, GrowsInProportionWhereTheLastBytesTookNoTime) {
  LinearCurve falling;
  falling.add(bytes(100), microseconds(9));
  falling.add(bytes(200), microseconds(4));
  expect(falling, 600, 12, false);
}

TEST(LinearCurve, NeverGoesBelowZeroNorAboveTheFirstPoint) {
  LinearCurve steep;
  steep.add(bytes(100), microseconds(1));
  steep.add(bytes(200), microseconds(9));
  expect(steep, 10, 0, false);
  LinearCurve falling;
  falling.add(bytes(100), microseconds(9));
  falling.add(bytes(200), microseconds(1));
  expect(falling, 10, 9, false);
}

TEST(LinearCurve, TakesOnePointForAllThatIsSmaller) {
  LinearCurve curve;
  curve.add(bytes(100), microseconds(10));
  expect(curve, 1, 10, false);
  expect(curve, 200, 20, false);
}

}  // namespace
}  // namespace orrery::costmodel
