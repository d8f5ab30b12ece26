// SPDX-License-Identifier: Apache-2.0
#include "planner/disagreement.h"

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

/// Times of the closed form, of the analytic interpreter and, unless it is 0, of the simulator.
RankedPlan plan(double closed, double analytic, double simgrid = 0.0) {
  RankedPlan out{.strategy = {}, .predictions = {}, .extrapolated = {}};
  const auto add = [&](const char* tier, double time) {
    if (time > 0.0) out.predictions.push_back({.tier = tier, .step_time = seconds(time), .peak_memory = gib(1)});
  };
  add("closed", closed);
  add("analytic", analytic);
  add("simgrid", simgrid);
  return out;
}

TEST(Disagreement, IsTheDistanceOfStepTimesAndWhatChangesPlaces) {
  const auto found = disagreements({plan(1.0, 1.25, 1.5), plan(2.0, 1.0, 2.0), plan(4.0, 4.0)});
  ASSERT_EQ(found.size(), 3);
  EXPECT_EQ(found[0].first, "closed");
  EXPECT_EQ(found[0].second, "analytic");
  EXPECT_EQ(found[0].num_plans, 3);
  EXPECT_DOUBLE_EQ(found[0].median, 0.25);  // of 0.25, 0.5 and 0
  EXPECT_DOUBLE_EQ(found[0].largest, 0.5);
  EXPECT_EQ(found[0].num_swaps, 1);  // the first two
  EXPECT_EQ(found[0].num_pairs, 3);
  EXPECT_EQ(found[1].first, "analytic");
  EXPECT_EQ(found[1].second, "simgrid");
  EXPECT_EQ(found[1].num_plans, 2);
  EXPECT_DOUBLE_EQ(found[1].median, 0.6);  // of 0.2 and 1
  EXPECT_DOUBLE_EQ(found[1].largest, 1.0);
  EXPECT_EQ(found[1].num_swaps, 1);
  EXPECT_EQ(found[2].first, "closed");
  EXPECT_EQ(found[2].second, "simgrid");
  EXPECT_DOUBLE_EQ(found[2].median, 0.25);  // of 0.5 and 0
  EXPECT_EQ(found[2].num_swaps, 0);
}

TEST(Disagreement, OfEqualTimesIsNoSwap) {
  const auto found = disagreements({plan(1.0, 2.0), plan(1.0, 3.0)});
  ASSERT_EQ(found.size(), 1);
  EXPECT_EQ(found[0].num_swaps, 0);
}

TEST(Disagreement, NeedsTwoPlans) {
  EXPECT_TRUE(disagreements({plan(1.0, 1.25, 1.5)}).empty());
  EXPECT_TRUE(disagreements({}).empty());
}

}  // namespace
}  // namespace orrery::planner
