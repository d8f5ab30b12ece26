// SPDX-License-Identifier: Apache-2.0
#include "planner/nearest_legal.h"

#include "planner/dials.h"
#include "tests/unit/planner/exporters/export_plan.h"
#include "tests/unit/program/random_strategies.h"

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
  // Of tp * cp * pp = 12 the largest factor is blamed. With two tensor-parallel ranks sp has to be true.
  EXPECT_THAT(nearest(plan, "pp"), ElementsAre("tp 2 with sp or 4 with sp"));
  EXPECT_THAT(nearest(plan, "tp"), ElementsAre("tp 2 with sp or 4 with sp"));
}

TEST(NearestLegal, ChangesTwoDegreesWhereNoSingleOneDoes) {
  Plan plan = plan_to_export();
  plan.strategy.tp = plan.strategy.cp = 3;
  // With tp above 1 sp has to be true as well.
  EXPECT_THAT(nearest(plan, "tp"), ElementsAre("tp 4 and cp 4 with sp"));
  plan = plan_to_export();
  plan.strategy.tp = 3;
  plan.strategy.pp = 7;
  plan.strategy.ep = 48;
  const auto legal_in = [&](const std::vector<std::string>& cures) {
    ASSERT_EQ(cures.size(), 1U);
    EXPECT_THAT(cures.front(), ::testing::ContainsRegex("pp 8"));
  };
  legal_in(nearest(plan, "pp"));
}

TEST(NearestLegal, SaysNothingWhereNoPairDoes) {
  Plan plan = plan_to_export();
  plan.strategy.tp = plan.strategy.cp = plan.strategy.pp = 3;
  plan.strategy.stages = even_stages(8, 3);
  EXPECT_THAT(nearest(plan, "tp"), IsEmpty());
}

TEST(NearestLegal, ShowsALegalLayout) {
  Plan plan = plan_to_export();
  plan.strategy.pp = 4;
  plan.strategy.ep = 2;
  plan.strategy.stages = even_stages(8, 4);
  plan.strategy.stages[1].embedding = true;
  EXPECT_THAT(nearest(plan, "stages/1/embedding"), ElementsAre("stages \"Ett|tt|tt|ttL\""));
  plan.strategy.stages = even_stages(8, 4);
  plan.strategy.stages[2].num_layers = 1;
  EXPECT_THAT(nearest(plan, "stages/3/first_layer"), ElementsAre("stages \"Ett|tt|tt|ttL\""));
  plan.strategy.stages = even_stages(8, 4);
  for (StageLayout& stage : plan.strategy.stages) {
    stage.recompute = {RecomputeModule::moe, RecomputeModule::moe_act};
  }
  EXPECT_THAT(nearest(plan, "stages/0/recompute"), ElementsAre("recompute without moe", "recompute without moe_act"));
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

/// Values of an answer: 2 and 4 of "ep 2 or 4".
std::vector<std::int64_t> values_of(const std::string& cure) {
  std::vector<std::int64_t> values;
  for (std::size_t at = cure.find(' '); at != std::string::npos; at = cure.find(' ', at + 1)) {
    std::int64_t value = 0;
    if (std::from_chars(cure.data() + at + 1, cure.data() + cure.size(), value).ec == std::errc()) {
      values.push_back(value);
    }
  }
  return values;
}

/// The nearest values of a key below and above the plan's that break no rule, by trying all up to `most`.
std::vector<std::int64_t> nearest_by_trying(const Plan& plan, const std::string& key, std::int64_t most) {
  const auto is_legal = [&](std::int64_t value) {
    Attempt attempt{plan.strategy, plan.batch};
    integer_dials().at(key)(attempt) = value;
    return violations(plan.model, attempt.strategy, attempt.batch, plan.num_ranks()).empty();
  };
  Attempt attempt{plan.strategy, plan.batch};
  const std::int64_t now = integer_dials().at(key)(attempt);
  std::vector<std::int64_t> found;
  for (std::int64_t value = now - 1; value >= 1 && found.empty(); --value) {
    if (is_legal(value)) found.push_back(value);
  }
  for (std::int64_t value = now + 1; value <= most; ++value) {
    if (!is_legal(value)) continue;
    found.push_back(value);
    break;
  }
  return found;
}

// A key of random strategies is set to what seldom divides anything. Where one rule is broken by it, and one value of
// the key alone would obey all, the answer is found again.
TEST(NearestLegal, NamesTheNearestValuesOfRandomStrategies) {
  int num_below = 0, num_both = 0;
  testing::for_random_cases(600, [&](const testing::RandomCase& drawn, std::uint64_t index) {
    Plan plan;
    plan.model = drawn.model;
    plan.batch = drawn.batch;
    plan.cluster = testing::small_cluster(1, drawn.num_devices);
    for (const std::string key : {"ep", "micro_batch", "global_batch"}) {
      Attempt attempt{drawn.strategy, drawn.batch};
      std::int64_t& value = integer_dials().at(key)(attempt);
      value = key == "global_batch" ? value + 1 : 3 + static_cast<std::int64_t>(index % 5);
      plan.strategy = attempt.strategy;
      plan.batch = attempt.batch;
      const auto rules = violations(plan.model, plan.strategy, plan.batch, plan.num_ranks());
      if (rules.size() != 1 || rules.front().key != key) continue;
      const std::vector<std::int64_t> expected = nearest_by_trying(plan, key, 4 * plan.batch.global_batch);
      if (expected.empty()) continue;
      const std::vector<std::string> cures = nearest_legal(plan, rules.front());
      ASSERT_FALSE(cures.empty()) << index;
      EXPECT_TRUE(cures.front().starts_with(key + " ")) << index;
      EXPECT_EQ(values_of(cures.front()), expected) << index << ": " << cures.front();
      num_both += expected.size() == 2 ? 1 : 0;
      num_below += expected.size() == 1 && expected.front() < value ? 1 : 0;
    }
  });
  EXPECT_GT(num_both, 50);
  EXPECT_GT(num_below, 50);
}

}  // namespace
}  // namespace orrery::planner
