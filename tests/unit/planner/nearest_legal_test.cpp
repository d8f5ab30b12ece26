// SPDX-License-Identifier: Apache-2.0
#include "planner/nearest_legal.h"

#include "tests/unit/planner/exporters/export_plan.h"
#include "tests/unit/program/random_strategies.h"

#include <algorithm>
#include <charconv>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::plan_to_export;

/// What is nearest for the rule that blames `key`.
std::vector<std::string> nearest(const Plan& plan, const std::string& key) {
  for (const Violation& violation : violations(plan.model, plan.strategy, plan.batch, plan.num_ranks())) {
    if (violation.key == key) return nearest_legal(plan, violation);
  }
  ADD_FAILURE() << "no rule blames " << key;
  return {};
}

TEST(NearestLegal, NamesADegreeBelowAndAbove) {
  Plan plan = plan_to_export();
  plan.strategy.ep = 3;
  EXPECT_THAT(nearest(plan, "ep"), ElementsAre("ep 2 or 4"));
  plan.strategy = plan_to_export().strategy;
  plan.strategy.micro_batch = 3;
  EXPECT_THAT(nearest(plan, "micro_batch"), ElementsAre("micro_batch 2 or 4", "global_batch 192 or 384"));
}

TEST(NearestLegal, ChangesWhatTheRuleSpeaksOfToo) {
  Plan plan = plan_to_export();
  plan.strategy.pp = 2;
  plan.strategy.schedule = Schedule::interleaved;
  plan.strategy.stages = even_stages(8, 2);
  EXPECT_THAT(nearest(plan, "schedule"),
              ElementsAre("schedule \"gpipe\" or \"1f1b\" or \"zb_h1\" or \"zb_h2\" or \"dualpipe\"", "vpp 2"));
}

TEST(NearestLegal, TurnsASwitch) {
  Plan plan = plan_to_export();
  plan.strategy.tp = 2;
  EXPECT_THAT(nearest(plan, "sp"), ElementsAre("sp true"));
  plan.strategy = plan_to_export().strategy;
  plan.strategy.overlap.ep_batch_level = true;
  EXPECT_THAT(nearest(plan, "overlap/ep_batch_level"), ElementsAre("overlap/ep_batch_level false", "ep 2"));
}

TEST(NearestLegal, ChangesAnotherFactorWhereTheOneThatIsBlamedCannotHelp) {
  Plan plan = plan_to_export();
  plan.strategy.tp = 3;
  plan.strategy.pp = 4;
  plan.strategy.stages = even_stages(8, 4);
  // Of tp * cp * pp = 12 the largest factor is blamed. With two tensor-parallel ranks sp has to be true next.
  EXPECT_THAT(nearest(plan, "pp"), ElementsAre("tp 1"));
  EXPECT_THAT(nearest(plan, "tp"), ElementsAre("tp 1"));
}

TEST(NearestLegal, SaysNothingWhereNoSingleChangeDoes) {
  Plan plan = plan_to_export();
  plan.strategy.tp = plan.strategy.cp = 3;
  EXPECT_THAT(nearest(plan, "tp"), IsEmpty());
}

TEST(NearestLegal, LooksNoFurtherThanTheRanksForADegreeHoweverLargeItIs) {
  constexpr std::int64_t kHuge = kMostDegree;
  Plan plan = plan_to_export();
  plan.strategy.ep = kHuge;
  EXPECT_THAT(nearest(plan, "ep"), ElementsAre("ep 8"));
  plan.strategy = plan_to_export().strategy;
  plan.strategy.num_optimizer_instances = kHuge;
  plan.strategy.zero_dense = plan.strategy.zero_expert = 1;
  EXPECT_THAT(nearest(plan, "num_optimizer_instances"), ElementsAre("num_optimizer_instances 64"));
  plan.strategy = plan_to_export().strategy;
  plan.strategy.micro_batch = kHuge;
  EXPECT_THAT(nearest(plan, "micro_batch"), ElementsAre("micro_batch 4"));
  plan.strategy = plan_to_export().strategy;
  plan.batch.global_batch = (std::int64_t{1} << 30) - 1;
  EXPECT_THAT(nearest(plan, "global_batch"), ElementsAre("global_batch 1073741760 or 1073741824", "cp 64"));
  // Far from what is legal: a batch of which nothing but another rule is left is no cure.
  plan.strategy.micro_batch = kHuge - 1;
  plan.batch.global_batch = std::int64_t{1} << 24;
  EXPECT_THAT(nearest(plan, "micro_batch"), ElementsAre("micro_batch 262144"));
}

TEST(NearestLegal, MakesTheRuleHoldForRandomStrategies) {
  int num_checked = 0;
  testing::for_random_cases(300, [&](const testing::RandomCase& drawn, std::uint64_t index) {
    Plan plan;
    plan.model = drawn.model;
    plan.batch = drawn.batch;
    plan.cluster = testing::small_cluster(1, drawn.num_devices);
    plan.strategy = drawn.strategy;
    plan.strategy.ep = 3 + static_cast<std::int64_t>(index % 5);
    for (const Violation& violation : violations(plan.model, plan.strategy, plan.batch, plan.num_ranks())) {
      if (violation.key != "ep") continue;
      for (const std::string& cure : nearest_legal(plan, violation)) {
        if (!cure.starts_with("ep ")) continue;
        std::int64_t value = 0;
        std::from_chars(cure.data() + 3, cure.data() + cure.size(), value);
        Strategy changed = plan.strategy;
        changed.ep = value;
        const auto left = violations(plan.model, changed, plan.batch, plan.num_ranks());
        EXPECT_TRUE(std::none_of(left.begin(), left.end(), [](const Violation& v) { return v.key == "ep"; })) << index;
        ++num_checked;
      }
    }
  });
  EXPECT_GT(num_checked, 100);
}

}  // namespace
}  // namespace orrery::planner
