// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/rank_correlation.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

TEST(KendallTau, IsOneForTheSameOrderAndMinusOneForTheReverse) {
  const std::vector<double> up = {1.0, 2.0, 5.0, 7.0}, also_up = {0.1, 0.2, 0.3, 9.0}, down = {4.0, 3.0, 2.0, 1.0};
  EXPECT_DOUBLE_EQ(*kendall_tau(up, also_up), 1.0);
  EXPECT_DOUBLE_EQ(*kendall_tau(up, down), -1.0);
}

TEST(KendallTau, CountsPairs) {
  // Of six pairs one, (2, 3), is in the other order: (5 - 1) / 6.
  const std::vector<double> a = {1.0, 2.0, 3.0, 4.0}, b = {1.0, 3.0, 2.0, 4.0};
  EXPECT_DOUBLE_EQ(*kendall_tau(a, b), 4.0 / 6.0);
}

TEST(KendallTau, CorrectsTies) {
  // Pairs: (1,2) tied in b, (1,3) and (2,3) agree; 2 / sqrt(3 * 2).
  const std::vector<double> a = {1.0, 2.0, 3.0}, b = {1.0, 1.0, 2.0};
  EXPECT_DOUBLE_EQ(*kendall_tau(a, b), 2.0 / std::sqrt(6.0));
}

TEST(KendallTau, IsUndefinedWithoutAnOrder) {
  const std::vector<double> one = {1.0}, same = {2.0, 2.0}, other = {1.0, 2.0};
  EXPECT_FALSE(kendall_tau(one, one));
  EXPECT_FALSE(kendall_tau(same, other));
}

}  // namespace
}  // namespace orrery::costmodel
