// SPDX-License-Identifier: Apache-2.0
#include "base/median.h"

#include "base/errors.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

TEST(Median, IsTheMiddleValue) {
  EXPECT_EQ(median<double>({5}), 5);
  EXPECT_EQ(median<double>({9, 1, 5}), 5);
  EXPECT_EQ(median<Seconds>({seconds(1), seconds(100), seconds(2)}), seconds(2));
}

TEST(Median, OfAnEvenNumberIsTheMeanOfTheTwoInTheMiddle) {
  EXPECT_EQ(median<double>({8, 1, 4, 2}), 3);
  EXPECT_EQ(median<Bytes>({bytes(2), bytes(1)}), bytes(1.5));
}

TEST(Median, OfNothingDoesNotExist) { EXPECT_THROW(median<double>({}), InternalError); }

}  // namespace
}  // namespace orrery
