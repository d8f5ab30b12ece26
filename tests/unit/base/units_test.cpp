// SPDX-License-Identifier: Apache-2.0
#include "base/units.h"

#include <algorithm>
#include <type_traits>

#include <gtest/gtest.h>

namespace orrery {
namespace {

TEST(Units, BytesOverBandwidthIsTime) {
  const Seconds time = gib(1.0) / bytes_per_second(2.0e9);
  EXPECT_EQ(time.in(unit::second), 1073741824.0 / 2.0e9);
}

TEST(Units, PowerTimesTimeIsEnergy) {
  const Joules energy = watts(700.0) * seconds(3.0);
  EXPECT_EQ(energy, joules(2100.0));
  EXPECT_EQ(energy / seconds(3.0), watts(700.0));
}

TEST(Units, RatioOfEqualDimensionsIsAPlainNumber) {
  static_assert(std::is_same_v<decltype(seconds(1.0) / seconds(2.0)), double>);
  static_assert(std::is_same_v<decltype(hertz(2.0) * seconds(3.0)), double>);
  EXPECT_EQ(seconds(1.0) / seconds(2.0), 0.5);
  EXPECT_EQ(hertz(2.0) * seconds(3.0), 6.0);
}

TEST(Units, ReciprocalOfTimeIsFrequency) { EXPECT_EQ(1.0 / milliseconds(4.0), hertz(250.0)); }

TEST(Units, LeavingTheTypeNamesTheUnit) {
  EXPECT_EQ((3.0 * unit::gigabyte).in(unit::megabyte), 3000.0);
  EXPECT_EQ(seconds(0.25).in(unit::millisecond), 250.0);
  EXPECT_EQ(unit::gigabits_per_second.in(unit::byte_per_second), 125.0e6);
  EXPECT_EQ(unit::kilowatt_hour, watts(1000.0) * unit::hour);
}

TEST(Units, MakersAgreeWithUnits) {
  EXPECT_EQ(microseconds(3.0), 3.0 * unit::microsecond);
  EXPECT_EQ(kib(2.0), bytes(2048.0));
  EXPECT_EQ(mib(2.0), 2.0 * unit::mebibyte);
  EXPECT_EQ(flops(5.0) / seconds(1.0), flops_per_second(5.0));
}

TEST(Units, ArithmeticIsThatOfNumbers) {
  Seconds t = seconds(1.0);
  t += seconds(2.0);
  t -= seconds(0.5);
  t *= 4.0;
  t /= 2.0;
  EXPECT_EQ(t, seconds(5.0));
  EXPECT_EQ(-t, seconds(-5.0));
  EXPECT_EQ(abs(-t), t);
}

TEST(Units, OrderIsThatOfNumbers) {
  EXPECT_LT(microseconds(999.0), milliseconds(1.0));
  EXPECT_EQ(std::max(seconds(1.0), seconds(2.0)), seconds(2.0));
  EXPECT_EQ(std::clamp(watts(900.0), watts(0.0), watts(700.0)), watts(700.0));
}

TEST(Units, DefaultIsZero) {
  EXPECT_EQ(Seconds(), Seconds::zero());
  EXPECT_EQ(Bytes::zero().in(unit::byte), 0.0);
}

TEST(Units, AreAsSmallAsADouble) {
  static_assert(sizeof(Seconds) == sizeof(double));
  static_assert(std::is_trivially_copyable_v<Seconds>);
}

}  // namespace
}  // namespace orrery
