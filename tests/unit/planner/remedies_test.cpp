// SPDX-License-Identifier: Apache-2.0
#include "planner/remedies.h"

#include "planner/fit_check.h"
#include "program/arrivals.h"
#include "program/legality.h"
#include "tests/unit/planner/fit_plan.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::Field;
using ::testing::HasSubstr;
using testing::memory_of;
using ::testing::Not;
using testing::plan_that_needs;

TEST(Remedies, OfferSmallChangesThatFit) {
  const std::vector<Remedy> found = remedies(plan_that_needs(0.9)).singles;
  EXPECT_THAT(found, Contains(Field(&Remedy::change, "schedule 1f1b instead of gpipe")));
  EXPECT_THAT(found, Contains(Field(&Remedy::change, "recompute layernorm in every stage")));
}

TEST(Remedies, PredictTheMemoryOfTheChangedPlan) {
  const Plan plan = plan_that_needs(0.9);
  for (const Remedy& remedy : remedies(plan).singles) {
    SCOPED_TRACE(remedy.change);
    EXPECT_TRUE(violations(plan.model, remedy.strategy, plan.batch, plan.num_ranks()).empty());
    EXPECT_EQ(remedy.memory, memory_of(plan, remedy.strategy));
    EXPECT_LE(remedy.memory, *plan.cluster.groups[0].device.memory);
    EXPECT_NE(remedy.strategy, plan.strategy);
  }
  Strategy changed = plan.strategy;
  changed.schedule = Schedule::one_f_one_b;
  EXPECT_THAT(remedies(plan).singles,
              Contains(AllOf(Field(&Remedy::change, "schedule 1f1b instead of gpipe"),
                             Field(&Remedy::memory, memory_of(plan, changed)), Field(&Remedy::strategy, changed))));
}

TEST(Remedies, ComeCheapestFirst) {
  const std::vector<Remedy> found = remedies(plan_that_needs(0.9)).singles;
  ASSERT_GE(found.size(), 2);
  for (std::size_t i = 1; i < found.size(); ++i) EXPECT_LE(found[i - 1].extra_time, found[i].extra_time);
}

TEST(Remedies, RecomputeModulesBeforeWholeLayers) {
  for (const Remedy& remedy : remedies(plan_that_needs(0.9)).singles) {
    EXPECT_THAT(remedy.change, Not(HasSubstr("recompute full")));
  }
  // When the activations of a whole layer have to go, nothing less will do.
  Plan plan = plan_that_needs(1.0);
  Strategy full = plan.strategy;
  for (StageLayout& stage : full.stages) stage.recompute = {RecomputeModule::full};
  plan.cluster.groups[0].device.memory = memory_of(plan, full) * 1.001;
  EXPECT_THAT(remedies(plan).singles, Contains(Field(&Remedy::change, "recompute full in every stage")));
}

TEST(Remedies, KeepWhatIsRecomputedAlready) {
  Plan plan = plan_that_needs(0.9);
  for (StageLayout& stage : plan.strategy.stages) stage.recompute = {RecomputeModule::layernorm};
  plan.cluster.groups[0].device.memory = memory_of(plan, plan.strategy) * 0.95;
  for (const Remedy& remedy : remedies(plan).singles) {
    for (const StageLayout& stage : remedy.strategy.stages) {
      const bool kept = stage.recompute.contains(RecomputeModule::layernorm);
      EXPECT_TRUE(kept || stage.recompute == std::set{RecomputeModule::full}) << remedy.change;
    }
  }
}

TEST(Remedies, MoveALayerFromTheFullestRankToTheEmptiest) {
  Plan plan = plan_that_needs(1.0);
  plan.strategy.schedule = Schedule::one_f_one_b;
  plan.strategy.stages[0].num_layers = 3;
  plan.strategy.stages[1] = {.first_layer = 3, .num_layers = 1, .head = true};
  plan.cluster.groups[0].device.memory = memory_of(plan, plan.strategy) * 0.99;
  const std::vector<Remedy> found = remedies(plan).singles;
  const auto moved = std::find_if(found.begin(), found.end(),
                                  [](const Remedy& r) { return r.change == "a layer of stage 0 on stage 1"; });
  ASSERT_NE(moved, found.end());
  EXPECT_EQ(moved->strategy.stages[0].num_layers, 2);
  EXPECT_EQ(moved->strategy.stages[1].first_layer, 2);
  EXPECT_EQ(moved->strategy.stages[1].num_layers, 2);
  EXPECT_LT(moved->extra_time, 0.0) << "even stages are faster";
}

TEST(Remedies, ArePairsOnlyWhereNoSingleChangeIsEnough) {
  const Plan roomy = plan_that_needs(0.9);
  EXPECT_FALSE(remedies(roomy).pair);
  int num_pairs = 0;
  for (const double fraction : {0.3, 0.25, 0.2, 0.15, 0.1, 0.05}) {
    const Plan plan = plan_that_needs(fraction);
    const Remedies found = remedies(plan);
    if (!found.pair) continue;
    ++num_pairs;
    EXPECT_TRUE(found.singles.empty());
    EXPECT_THAT(found.pair->change, HasSubstr("; "));
    EXPECT_TRUE(violations(plan.model, found.pair->strategy, plan.batch, plan.num_ranks()).empty());
    EXPECT_EQ(found.pair->memory, memory_of(plan, found.pair->strategy));
    EXPECT_LE(found.pair->memory, *plan.cluster.groups[0].device.memory);
  }
  EXPECT_GT(num_pairs, 0);
}

TEST(Remedies, AreNoneWhenNothingIsEnough) {
  const Remedies found = remedies(plan_that_needs(1e-3));
  EXPECT_TRUE(found.singles.empty());
  EXPECT_FALSE(found.pair);
}

TEST(Remedies, OfDenseModelsDoNotTouchExperts) {
  Plan plan = plan_that_needs(0.9);
  plan.model.moe.reset();
  plan.model.layers.assign(4, LayerKind::dense);
  plan.cluster.groups[0].device.memory = memory_of(plan, plan.strategy) * 0.9;
  EXPECT_THAT(remedies(plan).singles, Each(Field(&Remedy::change, Not(HasSubstr("expert")))));
}

TEST(Remedies, CountTheFullestRankOfTheLoad) {
  Plan plan = plan_that_needs(1.0);
  plan.strategy.ep = 2;
  Strategy changed = plan.strategy;
  changed.schedule = Schedule::one_f_one_b;
  plan.load = ZipfLoad{.exponent = 2.0};
  const double rho = FullestShare(plan.model, plan.load).of(changed);
  auto parameters = costmodel::MemoryModel::of(plan.cluster.groups[0].device);
  parameters.rho = rho;
  const Bytes skewed = costmodel::fullest(
      costmodel::memory_per_stage(plan.model, changed, plan.batch, Mesh(changed, plan.num_ranks()), parameters));
  EXPECT_GT(rho, 1.1);
  EXPECT_GT(skewed, memory_of(plan, changed));
  plan.cluster.groups[0].device.memory = skewed;
  EXPECT_THAT(remedies(plan).singles, Contains(Field(&Remedy::memory, skewed)));
  plan.cluster.groups[0].device.memory = 0.999 * skewed;
  EXPECT_THAT(remedies(plan).singles, Not(Contains(Field(&Remedy::memory, skewed))));
}

TEST(FitCheck, TellsTheIllegalFromTheTooLarge) {
  Plan plan = plan_that_needs(0.5);
  const FitChecker checker(plan);
  FitCheck check = checker.check(plan.strategy, plan.batch, 4);
  EXPECT_TRUE(check.legal);
  EXPECT_FALSE(check.fits);
  EXPECT_EQ(check.memory, memory_of(plan, plan.strategy));
  EXPECT_THAT(check.why, HasSubstr(", device has "));
  plan.strategy.ep = 3;
  check = checker.check(plan.strategy, plan.batch, 4);
  EXPECT_FALSE(check.legal);
  EXPECT_FALSE(check.fits);
  EXPECT_EQ(check.why, "ep: expected etp * ep * pp to be a divisor of 4 (number of devices), got 6");
}

}  // namespace
}  // namespace orrery::planner
