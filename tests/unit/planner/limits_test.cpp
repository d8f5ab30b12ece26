// SPDX-License-Identifier: Apache-2.0
#include "planner/limits.h"

#include "planner/fit_check.h"
#include "tests/unit/planner/fit_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::HasSubstr;
using testing::memory_of;
using testing::plan_that_needs;
using ::testing::StartsWith;

/// 1F1B with sharded states on four nodes: something that each question has an answer for.
Plan sharded_plan(double fraction) {
  Plan plan = plan_that_needs(1.0, 4);
  plan.strategy.schedule = Schedule::one_f_one_b;
  plan.strategy.micro_batch = 2;
  plan.strategy.zero_dense = plan.strategy.zero_expert = 1;
  plan.strategy.ep = 2;
  plan.cluster.groups[0].device.memory = memory_of(plan, plan.strategy) * fraction;
  return plan;
}

FitCheck check(const Plan& plan, const Strategy& strategy, const BatchShape& batch, std::int64_t num_devices) {
  return FitChecker(plan).check(strategy, batch, num_devices);
}

TEST(Limits, BisectionFindsTheLastThatHolds) {
  for (std::int64_t count = 0; count <= 20; ++count) {
    for (std::int64_t holding = 0; holding <= count; ++holding) {
      EXPECT_EQ(num_leading(count, [&](std::int64_t i) { return i < holding; }), holding);
    }
  }
}

// Each answer below is compared with trying every value.

TEST(Limits, FewestDevicesIsTheLeastOfAll) {
  for (const double fraction : {0.8, 1.0, 1.05, 1.2, 1.5, 2.0, 4.0}) {
    SCOPED_TRACE(fraction);
    const Plan plan = sharded_plan(fraction);
    std::optional<std::int64_t> least;
    for (std::int64_t count = 512; count >= 4; count -= 4) {
      if (check(plan, plan.strategy, plan.batch, count).fits) least = count;
    }
    const Limit limit = fewest_devices(plan);
    EXPECT_EQ(limit.value, least);
    if (!least) continue;
    EXPECT_EQ(limit.memory, check(plan, plan.strategy, plan.batch, *least).memory);
  }
}

TEST(Limits, FewestDevicesSaysWhatBinds) {
  EXPECT_EQ(
      fewest_devices(sharded_plan(100.0)).binds,
      "no smaller number is legal: one pipeline is tp * cp * pp = 2, its experts are on etp * ep * pp = 4, a node "
      "has 4");
  const Limit none = fewest_devices(sharded_plan(0.1));
  EXPECT_FALSE(none.value);
  EXPECT_THAT(none.binds, StartsWith("at 64: pipeline rank 1 needs "));
}

TEST(Limits, LongestSequenceIsTheLongestOfAll) {
  for (const double fraction : {0.5, 0.8, 1.0, 1.3, 2.0}) {
    SCOPED_TRACE(fraction);
    const Plan plan = sharded_plan(fraction);
    std::int64_t longest = 0;
    for (std::int64_t seq = 1; seq <= 1500; ++seq) {
      if (check(plan, plan.strategy, {.seq = seq, .global_batch = 64}, 16).fits) longest = seq;
    }
    ASSERT_LT(longest, 1500);
    const Limit limit = longest_sequence(plan);
    EXPECT_EQ(limit.value.value_or(0), longest);
    EXPECT_THAT(limit.binds, StartsWith("at " + std::to_string(longest + 1) + ": pipeline rank "));
  }
}

TEST(Limits, SequencesSplitOverTheRanksThatShareThem) {
  Plan plan = sharded_plan(2.0);
  plan.strategy.ep = 1;
  plan.strategy.cp = 2;
  const Limit limit = longest_sequence(plan);
  ASSERT_TRUE(limit.value);
  EXPECT_EQ(*limit.value % 4, 0);
  EXPECT_TRUE(check(plan, plan.strategy, {.seq = *limit.value, .global_batch = 64}, 16).fits);
  EXPECT_FALSE(check(plan, plan.strategy, {.seq = *limit.value + 4, .global_batch = 64}, 16).fits);
}

TEST(Limits, LearnedPositionsEndASequence) {
  Plan plan = sharded_plan(4.0);
  plan.model.learned_positions = true;
  plan.model.max_positions = 300;
  const Limit limit = longest_sequence(plan);
  EXPECT_EQ(limit.value, 300);
  EXPECT_EQ(limit.binds, "the model has 300 positions");
}

TEST(Limits, LargestMicroBatchIsTheLargestOfAll) {
  for (const double fraction : {0.3, 0.8, 1.0, 1.5, 2.0, 3.0, 50.0}) {
    SCOPED_TRACE(fraction);
    const Plan plan = sharded_plan(fraction);
    std::int64_t largest = 0;
    for (std::int64_t size = 1; size <= 8; ++size) {
      Strategy strategy = plan.strategy;
      strategy.micro_batch = size;
      if (check(plan, strategy, plan.batch, 16).fits) largest = size;
    }
    EXPECT_EQ(largest_micro_batch(plan).value.value_or(0), largest);
  }
  EXPECT_EQ(largest_micro_batch(sharded_plan(50.0)).binds, "it is all 8 sequences of a rank");
  EXPECT_THAT(largest_micro_batch(sharded_plan(1.0)).binds, StartsWith("at 4: pipeline rank 0 needs "));
}

TEST(Limits, LargestLayersIsTheMostOfAll) {
  for (const double fraction : {0.7, 1.0, 1.3, 2.0, 5.0}) {
    for (const std::int64_t dense_width : {128, 4096}) {
      SCOPED_TRACE(fraction * static_cast<double>(dense_width));
      Plan plan = sharded_plan(1.0);
      plan.model.dense_width = dense_width;  // a dense layer that is larger than one of experts
      plan.cluster.groups[0].device.memory = memory_of(plan, plan.strategy) * fraction;
      std::int64_t most = 0;
      for (std::int64_t layers = 2; layers <= 250; ++layers) {
        const Model model = with_layers(plan.model, layers);
        if (check_model(model, plan).fits) most = layers;
      }
      ASSERT_LT(most, 250);
      const Limit limit = largest_layers(plan);
      EXPECT_EQ(limit.value.value_or(0), most);
      EXPECT_THAT(limit.binds, StartsWith("at " + std::to_string(std::max<std::int64_t>(most + 1, 2)) + ": "));
    }
  }
}

TEST(Limits, AModelOfMoreLayersGoesOnAsItEnds) {
  Model model = testing::small_moe(4);
  model.spans.assign(4, {});
  model.spans[1].window = 16;
  const Model longer = with_layers(model, 6);
  EXPECT_EQ(longer.num_layers(), 6);
  EXPECT_EQ(longer.kind(0), LayerKind::dense);
  EXPECT_EQ(longer.kind(5), LayerKind::moe);
  EXPECT_EQ(longer.spans.size(), 6);
  EXPECT_EQ(longer.span(5).window, 16);
  EXPECT_TRUE(longer.span(4).is_full());
  EXPECT_EQ(with_layers(model, 2).num_layers(), 2);
}

TEST(Limits, AnotherModelGetsEvenStagesAndItsOwnModules) {
  Plan plan = sharded_plan(1.0);
  plan.strategy.stages[1].recompute = {RecomputeModule::full};
  Model model = testing::small_moe(7);
  Strategy strategy = strategy_for(model, plan);
  ASSERT_EQ(strategy.stages.size(), 2);
  EXPECT_EQ(strategy.stages[0].num_layers, 4);
  EXPECT_EQ(strategy.stages[0].recompute, std::set{RecomputeModule::full});
  plan.strategy.mtp = Mtp::on;
  EXPECT_EQ(strategy_for(model, plan).mtp, Mtp::off) << "it has no modules";
  model.num_mtp_modules = 1;
  EXPECT_EQ(strategy_for(model, plan).stages[1].num_mtp, 1);
}

}  // namespace
}  // namespace orrery::planner
