// SPDX-License-Identifier: Apache-2.0
#include "planner/explain/difference.h"

#include "planner/explain/dimensions.h"
#include "tests/unit/planner/explain/calibrated_plan.h"
#include "tests/unit/planner/strategy_changes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using testing::calibrated_plan;
using ::testing::ElementsAre;
using testing::h100_calibration;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Difference of(const Plan& plan, const Strategy& other) {
  const StepTimer timer(plan, h100_calibration());
  Difference found = difference(plan, other, timer);
  EXPECT_EQ(found.coalitions.front().time, timer.time(plan.strategy));
  EXPECT_EQ(found.coalitions.back().time, timer.time(other));
  const auto whole = std::llround(found.coalitions.back().time.in(unit::nanosecond)) -
                     std::llround(found.coalitions.front().time.in(unit::nanosecond));
  const std::vector<std::int64_t>& parts = found.worth.numerators;
  EXPECT_EQ(std::accumulate(parts.begin(), parts.end(), std::int64_t{0}), whole * found.worth.denominator);
  return found;
}

TEST(Difference, OfEqualPlansIsNothing) {
  const Plan plan = calibrated_plan();
  const Difference found = of(plan, plan.strategy);
  EXPECT_THAT(found.players, IsEmpty());
  EXPECT_THAT(found.coalitions, SizeIs(1));
}

TEST(Difference, GivesEveryChoiceItsPartAndLosesNothing) {
  const Plan plan = calibrated_plan();
  Strategy other = plan.strategy;
  other.ep = 4;
  other.micro_batch = 2;
  other.stages[0].recompute = {};
  const Difference found = of(plan, other);
  EXPECT_THAT(found.players, ElementsAre("ep 8 -> 4", "micro_batch 1 -> 2", "recompute full -> none"));
  EXPECT_THAT(found.coalitions, SizeIs(8));
  // Recomputation costs time whatever else is chosen.
  EXPECT_LT(found.worth.numerators[2], 0);
  EXPECT_EQ(found.num_too_large(), 0);
}

TEST(Difference, MakesOnePlayerOfWhatIsNotLegalAlone) {
  const Plan plan = calibrated_plan();
  Strategy other = plan.strategy;
  other.pp = 2;
  other.vpp = 2;
  other.schedule = Schedule::interleaved;
  other.stages = even_stages(8, 4);
  for (StageLayout& stage : other.stages) stage.recompute = {RecomputeModule::full};
  other.tp = 2;
  other.sp = true;
  EXPECT_THAT(
      of(plan, other).players,
      ElementsAre("tp 1 -> 2, sp off -> on", "pp 1 -> 2, vpp 1 -> 2, schedule 1f1b -> interleaved, stages 8 -> 4x2"));
}

TEST(Difference, MarksCombinationsThatAreTooLargeAndTimesThemAllTheSame) {
  Plan plan = calibrated_plan();
  Strategy other = plan.strategy;
  other.stages[0].recompute = {};
  other.micro_batch = 2;
  const Difference before = of(plan, other);
  // Room for each alone, and not for both.
  plan.cluster.groups.front().device.memory = before.coalitions[3].memory * 0.999;
  const Difference found = of(plan, other);
  EXPECT_EQ(found.num_too_large(), 1);
  EXPECT_FALSE(found.coalitions[3].fits);
  EXPECT_EQ(found.coalitions[3].time, before.coalitions[3].time);
}

TEST(Difference, HasAtMostEightPlayersOfWhichThoseOfAKindGoTogether) {
  const Plan plan = calibrated_plan();
  Strategy other = plan.strategy;
  other.ep = 4;
  other.etp = 2;
  other.micro_batch = 2;
  other.zero_expert = 0;
  other.stages[0].recompute = {RecomputeModule::core_attn};
  other.dispatcher = Dispatcher::two_level;
  other.overlap.dp_buckets = true;
  other.overlap.ep_batch_level = true;
  other.overlap.delayed_wgrad = true;
  other.master_dtype = other.grad_dtype = DType::bf16;
  other.moment_dtype = DType::bf16;
  const Difference found = of(plan, other);
  EXPECT_THAT(found.players,
              ElementsAre("ep 8 -> 4", "etp 1 -> 2", "zero_expert 1 -> 0", "micro_batch 1 -> 2",
                          "dispatcher all_to_all -> two_level",
                          "overlap/dp_buckets off -> on, overlap/ep_batch_level off -> on, overlap/delayed_wgrad off "
                          "-> on",
                          "master_dtype f32 -> bf16, moment_dtype f32 -> bf16, grad_dtype f32 -> bf16",
                          "recompute full -> core_attn"));
}

TEST(Difference, LetsRecomputationFollowStagesOfAnotherNumberThatSayTheSame) {
  Plan plan = calibrated_plan();
  const auto lay = [](Strategy& s, std::int64_t pp) {
    s.pp = pp;
    s.stages = even_stages(8, pp);
    for (std::int64_t i = 0; i < pp / 2; ++i) s.stages[static_cast<std::size_t>(i)].recompute = {RecomputeModule::moe};
  };
  Strategy other = plan.strategy;
  lay(plan.strategy, 2);
  lay(other, 4);
  other.micro_batch = 2;
  plan.strategy.ep = other.ep = 4;
  EXPECT_THAT(of(plan, other).players, ElementsAre("pp 2 -> 4, stages 2x4 -> 4x2", "micro_batch 1 -> 2"));
}

/// The dimension of a key of strategy/1. The layout of stages and what they recompute are one each.
std::string dimension_of(const std::string& key) {
  if (key == "stages/first_layer") return "stages";
  return key.starts_with("stages/") ? "recompute" : key;
}

TEST(StrategyMix, HasADimensionForEveryKeyOfAStrategy) {
  for (const auto& [key, change] : testing::strategy_changes()) {
    Strategy first = testing::plan_to_export().strategy;
    change.from(first);
    Strategy second = first;
    change.to(second);
    const StrategyMix mix(first, second);
    const auto has = [&](const std::string& name) {
      return std::ranges::any_of(mix.dimensions(), [&](const auto* dimension) { return dimension->name == name; });
    };
    EXPECT_TRUE(has(dimension_of(key))) << key;
    const std::uint64_t all = (std::uint64_t{1} << mix.dimensions().size()) - 1;
    EXPECT_EQ(mix.strategy(0), first) << key;
    EXPECT_EQ(mix.strategy(all), second) << key;
  }
}

TEST(StrategyMix, TakesLayoutAndRecomputationApart) {
  Strategy first, second;
  first.stages = even_stages(8, 2);
  second.stages = {{.num_layers = 3, .embedding = true}, {.first_layer = 3, .num_layers = 5, .head = true}};
  second.stages[1].recompute = {RecomputeModule::moe};
  const StrategyMix mix(first, second);
  ASSERT_THAT(mix.dimensions(), SizeIs(2));
  EXPECT_EQ(mix.change_of(0), "stages 2x4 -> 3+5");
  EXPECT_EQ(mix.change_of(1), "recompute none -> moe in some layers");
  EXPECT_EQ(mix.strategy(1)->stages[0].num_layers, 3);
  EXPECT_THAT(mix.strategy(1)->stages[1].recompute, IsEmpty());
  EXPECT_EQ(mix.strategy(2)->stages[0].num_layers, 4);
  EXPECT_THAT(mix.strategy(2)->stages[1].recompute, ElementsAre(RecomputeModule::moe));
}

TEST(StrategyMix, TakesStagesWithWhatTheyRecomputeWhereThatIsNoDimension) {
  Strategy first, second;
  first.stages = even_stages(8, 2);
  first.stages[0].recompute = {RecomputeModule::full};
  second.stages = even_stages(8, 4);
  second.stages[0].recompute = second.stages[1].recompute = {RecomputeModule::full};
  second.micro_batch = 2;
  const StrategyMix mix(first, second);
  ASSERT_THAT(mix.dimensions(), SizeIs(2));
  EXPECT_EQ(mix.strategy(0b01)->stages, first.stages);
  EXPECT_EQ(mix.strategy(0b10)->stages, second.stages);
}

TEST(StrategyMix, CannotRecomputeStagesThatTheOtherLayoutDoesNotHave) {
  Strategy first, second;
  first.stages = even_stages(8, 2);
  first.stages[0].recompute = {RecomputeModule::moe};
  second.pp = 4;
  second.stages = even_stages(8, 4);
  const StrategyMix mix(first, second);
  ASSERT_THAT(mix.dimensions(), SizeIs(3));
  EXPECT_FALSE(mix.strategy(0b011));
  EXPECT_TRUE(mix.strategy(0b111));
}

}  // namespace
}  // namespace orrery::planner
