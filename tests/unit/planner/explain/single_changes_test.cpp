// SPDX-License-Identifier: Apache-2.0
#include "planner/explain/single_changes.h"

#include "planner/fit_check.h"
#include "tests/unit/planner/explain/calibrated_plan.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using testing::calibrated_plan;
using testing::h100_calibration;

const SingleChange* find(const std::vector<SingleChange>& changes, const std::string& text) {
  const auto found =
      std::find_if(changes.begin(), changes.end(), [&](const SingleChange& change) { return change.text == text; });
  return found == changes.end() ? nullptr : &*found;
}

TEST(SingleChanges, AreLegalFitAndTakeTheirTime) {
  const Plan plan = calibrated_plan();
  const StepTimer timer(plan, h100_calibration());
  const FitChecker checker(plan);
  const std::vector<SingleChange> changes = single_changes(plan, timer);
  ASSERT_GT(changes.size(), 10U);
  for (const SingleChange& change : changes) {
    EXPECT_TRUE(checker.check(change.strategy, plan.batch, plan.num_ranks()).fits) << change.text;
    EXPECT_NE(change.strategy, plan.strategy) << change.text;
    EXPECT_EQ(change.time, timer.time(change.strategy)) << change.text;
  }
  EXPECT_TRUE(std::is_sorted(changes.begin(), changes.end(),
                             [](const SingleChange& a, const SingleChange& b) { return a.time < b.time; }));
}

TEST(SingleChanges, TurnWhatGoesWithADegreeAlong) {
  const Plan plan = calibrated_plan();
  const std::vector<SingleChange> changes = single_changes(plan, StepTimer(plan, h100_calibration()));
  const SingleChange* tp = find(changes, "tp 2 instead of 1");
  ASSERT_NE(tp, nullptr);
  EXPECT_TRUE(tp->strategy.sp);
  const SingleChange* pp = find(changes, "pp 2 instead of 1");
  ASSERT_NE(pp, nullptr);
  EXPECT_EQ(pp->strategy.stages.size(), 2U);
  ASSERT_NE(find(changes, "recompute none instead of full"), nullptr);
  EXPECT_LT(find(changes, "recompute none instead of full")->time,
            StepTimer(plan, h100_calibration()).time(plan.strategy));
}

TEST(SingleChanges, LeaveOutWhatDoesNotFit) {
  Plan plan = calibrated_plan();
  const StepTimer timer(plan, h100_calibration());
  ASSERT_NE(find(single_changes(plan, timer), "micro_batch 2 instead of 1"), nullptr);
  const FitCheck now = FitChecker(plan).check(plan.strategy, plan.batch, plan.num_ranks());
  plan.cluster.groups.front().device.memory = now.memory;
  EXPECT_EQ(find(single_changes(plan, timer), "micro_batch 2 instead of 1"), nullptr);
}

}  // namespace
}  // namespace orrery::planner
