// SPDX-License-Identifier: Apache-2.0
#include "planner/explain/single_changes.h"

#include "planner/fit_check.h"
#include "tests/unit/planner/explain/calibrated_plan.h"

#include <algorithm>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using testing::calibrated_plan;
using testing::h100_calibration;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

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

/// "ep 4" of "ep 4 instead of 8", and so on, of those that start with `what`.
std::vector<std::string> starting_with(const std::vector<SingleChange>& changes, const std::string& what) {
  std::vector<std::string> found;
  for (const SingleChange& change : changes) {
    if (change.text.starts_with(what)) found.push_back(change.text.substr(0, change.text.find(" instead")));
  }
  return found;
}

TEST(SingleChanges, AreTheTwoNearestDegreesOnEitherSideAndEveryOtherChoice) {
  Plan plan = calibrated_plan();
  plan.cluster.groups.front().num_nodes = 8;
  plan.strategy.pp = 4;
  plan.strategy.stages = even_stages(8, 4);
  const std::vector<SingleChange> changes = single_changes(plan, StepTimer(plan, h100_calibration()));
  EXPECT_THAT(starting_with(changes, "tp "), UnorderedElementsAre("tp 2", "tp 4"));
  EXPECT_THAT(starting_with(changes, "cuda_graphs "), IsEmpty());  // routers say how many rows experts get
  EXPECT_THAT(starting_with(changes, "cp "), UnorderedElementsAre("cp 2", "cp 4"));
  EXPECT_THAT(starting_with(changes, "pp "), UnorderedElementsAre("pp 1", "pp 2", "pp 8"));
  EXPECT_THAT(starting_with(changes, "ep "), UnorderedElementsAre("ep 2", "ep 4"));
  EXPECT_THAT(starting_with(changes, "etp "), UnorderedElementsAre("etp 2"));
  EXPECT_THAT(starting_with(changes, "vpp "), UnorderedElementsAre("vpp 2"));
  EXPECT_THAT(starting_with(changes, "micro_batch "), UnorderedElementsAre("micro_batch 2", "micro_batch 4"));
  EXPECT_THAT(starting_with(changes, "num_optimizer_instances "), UnorderedElementsAre("num_optimizer_instances 2"));
  EXPECT_THAT(starting_with(changes, "schedule "),
              UnorderedElementsAre("schedule \"gpipe\"", "schedule \"zb_h1\"", "schedule \"zb_h2\""));
  EXPECT_THAT(starting_with(changes, "dispatcher "),
              UnorderedElementsAre("dispatcher \"all_gather\"", "dispatcher \"two_level\""));
  EXPECT_THAT(starting_with(changes, "ZeRO "), UnorderedElementsAre("ZeRO 0", "ZeRO 2", "ZeRO 3"));
  EXPECT_THAT(starting_with(changes, "recompute "),
              UnorderedElementsAre("recompute layernorm", "recompute core_attn", "recompute mlp", "recompute moe",
                                   "recompute moe_act", "recompute full"));
  EXPECT_THAT(starting_with(changes, "overlap/"),
              UnorderedElementsAre("overlap/dp_buckets true", "overlap/tp true", "overlap/ep_batch_level true",
                                   "overlap/delayed_wgrad true"));
}

TEST(SingleChanges, LeaveTheTrainingItselfAsItIs) {
  const Plan plan = calibrated_plan();
  for (const SingleChange& change : single_changes(plan, StepTimer(plan, h100_calibration()))) {
    Strategy s = change.strategy;
    EXPECT_EQ(std::tie(s.precision, s.fp8_recipe, s.optimizer, s.master_dtype, s.moment_dtype, s.grad_dtype),
              std::tie(plan.strategy.precision, plan.strategy.fp8_recipe, plan.strategy.optimizer,
                       plan.strategy.master_dtype, plan.strategy.moment_dtype, plan.strategy.grad_dtype))
        << change.text;
    EXPECT_EQ(s.mtp, plan.strategy.mtp) << change.text;
    EXPECT_EQ(s.capacity_factor, plan.strategy.capacity_factor) << change.text;
  }
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
  Plan four = plan;
  four.strategy.pp = four.strategy.ep = 4;
  four.strategy.stages = even_stages(8, 4);
  const std::vector<SingleChange> of_four = single_changes(four, StepTimer(four, h100_calibration()));
  const SingleChange* vpp = find(of_four, "vpp 2 instead of 1");
  ASSERT_NE(vpp, nullptr);
  EXPECT_EQ(vpp->strategy.schedule, Schedule::interleaved);
  const Plan interleaved = [&] {
    Plan changed = four;
    changed.strategy = vpp->strategy;
    return changed;
  }();
  const SingleChange* back =
      find(single_changes(interleaved, StepTimer(interleaved, h100_calibration())), "vpp 1 instead of 2");
  ASSERT_NE(back, nullptr);
  EXPECT_EQ(back->strategy.schedule, Schedule::one_f_one_b);
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
