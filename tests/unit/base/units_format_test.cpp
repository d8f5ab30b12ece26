// SPDX-License-Identifier: Apache-2.0
#include "base/units_format.h"

#include <limits>

#include <gtest/gtest.h>

namespace orrery {
namespace {

TEST(UnitsFormat, PicksAReadablePrefix) {
  EXPECT_EQ(to_text(seconds(1.5432e-3)), "1.54 ms");
  EXPECT_EQ(to_text(gib(72.31)), "72.3 GiB");
  EXPECT_EQ(to_text(bytes_per_second(400e9)), "400 GB/s");
  EXPECT_EQ(to_text(flops_per_second(385e12)), "385 TFLOP/s");
  EXPECT_EQ(to_text(flops(2.5e18)), "2.50 EFLOP");
  EXPECT_EQ(to_text(joules(12345.0)), "12.3 kJ");
  EXPECT_EQ(to_text(watts(700.0)), "700 W");
  EXPECT_EQ(to_text(hertz(1.98e9)), "1.98 GHz");
}

TEST(UnitsFormat, KeepsThreeDigitsAtTheEdgeOfAPrefix) {
  EXPECT_EQ(to_text(microseconds(999.4)), "999 us");
  EXPECT_EQ(to_text(microseconds(999.6)), "1.00 ms");
  EXPECT_EQ(to_text(milliseconds(9.996)), "10.0 ms");
  EXPECT_EQ(to_text(milliseconds(99.96)), "100 ms");
}

TEST(UnitsFormat, ReadsLongTimesInHoursAndDays) {
  EXPECT_EQ(to_text(seconds(7199.0)), "7199 s");
  EXPECT_EQ(to_text(seconds(9000.0)), "2.50 h");
  EXPECT_EQ(to_text(seconds(86400.0 * 55.5)), "55.5 days");
}

TEST(UnitsFormat, CountsSmallSizesInWholeBytes) {
  EXPECT_EQ(to_text(bytes(0.0)), "0 B");
  EXPECT_EQ(to_text(bytes(1023.0)), "1023 B");
  EXPECT_EQ(to_text(bytes(1024.0)), "1.00 KiB");
}

TEST(UnitsFormat, ShowsZeroNegativeTinyAndInfinite) {
  EXPECT_EQ(to_text(seconds(0.0)), "0 s");
  EXPECT_EQ(to_text(milliseconds(-1.5)), "-1.50 ms");
  EXPECT_EQ(to_text(seconds(2e-12)), "0.002 ns");
  EXPECT_EQ(to_text(seconds(std::numeric_limits<double>::infinity())), "inf days");
}

TEST(UnitsFormat, WorksWithFmtAndItsWidths) {
  EXPECT_EQ(fmt::format("{}", gib(80.0)), "80.0 GiB");
  EXPECT_EQ(fmt::format("[{:>10}]", seconds(1.0)), "[    1.00 s]");
}

}  // namespace
}  // namespace orrery
