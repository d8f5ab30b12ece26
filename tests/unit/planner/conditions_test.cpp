// SPDX-License-Identifier: Apache-2.0
// What conditions leave of a space, and that a search keeps to it.
#include "planner/conditions.h"

#include "base/errors.h"
#include "costmodel/analytic_interpreter.h"
#include "tests/unit/planner/problem.h"

#include <algorithm>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Domains where(const std::string& condition) {
  Domains d = testing::SmallSearch(8).domains();
  keep_where(d, condition);
  return d;
}

std::string refusal(std::vector<std::string> conditions) {
  Domains d = testing::SmallSearch(8).domains();
  try {
    keep_where(d, conditions);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(Conditions, AreWordsToo) {
  EXPECT_THAT(where("TP at most 4").tp, ElementsAre(1, 2, 4));
  EXPECT_THAT(where("tp at least 4").tp, ElementsAre(4, 8));
  EXPECT_THAT(where("tp below 4").tp, ElementsAre(1, 2));
  EXPECT_THAT(where("tp above 4").tp, ElementsAre(8));
  EXPECT_THAT(where("tp is 4").tp, ElementsAre(4));
  EXPECT_THAT(where("tp is not 4").tp, ElementsAre(1, 2, 8));
  EXPECT_THAT(where("tp==4").tp, ElementsAre(4));
}

TEST(Conditions, OnMemoryAreALimit) {
  std::vector<std::string> conditions = {"pp=2", "at most 64 GiB", "Memory <= 70 GiB", "tp<=2"};
  std::vector<std::string> beside_less = conditions;
  EXPECT_EQ(take_memory_limit(conditions, std::nullopt), gib(64));
  EXPECT_THAT(conditions, ElementsAre("pp=2", "tp<=2"));
  EXPECT_EQ(take_memory_limit(beside_less, gib(60)), gib(60));
  EXPECT_EQ(take_memory_limit(conditions, gib(3)), gib(3));
  for (const std::string text : {"memory=70 GiB", "memory<=70", "at most 8", "memory <= 0 GiB"}) {
    std::vector<std::string> wrong = {text};
    try {
      take_memory_limit(wrong, {});
      ADD_FAILURE() << text;
    } catch (const ConfigError& error) {
      EXPECT_EQ(error.what(),
                "condition \"" + text + "\": of memory expected a size with its unit, such as \"memory <= 70 GiB\"");
    }
  }
}

TEST(Conditions, KeepNumbersThatAreSoMuchMoreOrLess) {
  EXPECT_THAT(where("tp=4").tp, ElementsAre(4));
  EXPECT_THAT(where("tp!=4").tp, ElementsAre(1, 2, 8));
  EXPECT_THAT(where("tp<=4").tp, ElementsAre(1, 2, 4));
  EXPECT_THAT(where("tp<4").tp, ElementsAre(1, 2));
  EXPECT_THAT(where("tp>=4").tp, ElementsAre(4, 8));
  EXPECT_THAT(where("tp>4").tp, ElementsAre(8));
  EXPECT_THAT(where("tp=2,8").tp, ElementsAre(2, 8));
  EXPECT_THAT(where("overlap.dp_buckets=1").dp_buckets, ElementsAre(1));
}

TEST(Conditions, KeepNames) {
  EXPECT_THAT(where("schedule=zbv,1f1b").schedule, ElementsAre(Schedule::one_f_one_b, Schedule::zbv));
  EXPECT_THAT(where("dispatcher!=all_gather").dispatcher, ElementsAre(Dispatcher::all_to_all, Dispatcher::two_level));
  EXPECT_THAT(where("recompute=none").recompute, ElementsAre(std::set<RecomputeModule>{}));
  EXPECT_THAT(where("recompute=layernorm+core_attn").recompute,
              ElementsAre(std::set{RecomputeModule::layernorm, RecomputeModule::core_attn}));
}

TEST(Conditions, AreTakenWithSpacesAndCapitals) {
  EXPECT_THAT(where("TP<=4").tp, ElementsAre(1, 2, 4));
  EXPECT_THAT(where(" tp <= 4 ").tp, ElementsAre(1, 2, 4));
  EXPECT_THAT(where("Schedule = ZBV, 1F1B").schedule, ElementsAre(Schedule::one_f_one_b, Schedule::zbv));
  EXPECT_EQ(refusal({"TP = 3"}), "condition \"TP = 3\": nothing is left of its values, which are 1 2 4 8");
}

// A search tries 8 chunks on a rank and powers of two of sequences; who lists others that are legal gets those.
TEST(Conditions, ListWhatASearchCaps) {
  testing::SmallSearch small(4, gib(16), {.seq = 64, .global_batch = 24});
  small.model = testing::small_moe(12);
  const auto of = [&](const std::string& condition) {
    Domains d = small.domains();
    keep_where(d, condition);
    return d;
  };
  EXPECT_THAT(of("vpp=12").vpp, ElementsAre(12));
  EXPECT_THAT(of("vpp=12,2").vpp, ElementsAre(2, 12));
  EXPECT_THAT(of("micro_batch=3").micro_batch, ElementsAre(3));
  EXPECT_THAT(of("micro_batch=6,1").micro_batch, ElementsAre(1, 6));
  EXPECT_THAT(of("micro_batch>=1").micro_batch, ElementsAre(1, 2, 4, 8));
  EXPECT_THROW(of("vpp=15"), ConfigError) << "14 stages at most";
  EXPECT_THROW(of("micro_batch=5"), ConfigError) << "no divisor of 24";
  EXPECT_THROW(of("micro_batch=0"), ConfigError);
}

TEST(Conditions, TouchNothingElse) {
  const Domains all = testing::SmallSearch(8).domains(), some = where("pp<=2");
  EXPECT_EQ(some.tp, all.tp);
  EXPECT_EQ(some.schedule, all.schedule);
  EXPECT_EQ(some.recompute, all.recompute);
}

TEST(Conditions, SayWhatIsWrong) {
  EXPECT_THAT(refusal({"tp"}), HasSubstr("expected a dimension, one of = != <= >= < > and a value"));
  EXPECT_THAT(refusal({"=4"}), HasSubstr("expected a dimension"));
  EXPECT_THAT(refusal({"tp="}), HasSubstr("a value is empty"));
  EXPECT_THAT(refusal({"tp=1,"}), HasSubstr("a value is empty"));
  EXPECT_THAT(refusal({"tp<=1,2"}), HasSubstr("<= takes one value"));
  EXPECT_THAT(refusal({"tp=two"}), HasSubstr("expected a whole number, got \"two\""));
  EXPECT_THAT(refusal({"tp=3"}), HasSubstr("nothing is left of its values, which are 1 2 4 8"));
  EXPECT_THAT(refusal({"schedule=pipedream"}), HasSubstr("\"pipedream\" is none of its values here"));
  EXPECT_THAT(refusal({"schedule<=1f1b"}), HasSubstr("has names: expected = or !="));
  EXPECT_THAT(refusal({"dp=8"}), HasSubstr("dp is what tp, cp and pp leave"));
  EXPECT_THAT(refusal({"sp=1"}), HasSubstr("sp goes with tp"));
  EXPECT_THAT(refusal({"warp=9"}), HasSubstr("expected one of tp, cp,"));
}

TEST(Conditions, ThatContradictEachOtherAreNamedAndNoOthers) {
  EXPECT_EQ(refusal({"tp<=2", "pp=1", "tp>=4"}),
            "conditions \"tp<=2\" and \"tp>=4\" contradict each other: no value of tp meets both, of 1 2 4 8");
  EXPECT_EQ(refusal({"tp<=4", "tp!=1", "tp!=2", "tp!=4"}),
            "conditions \"tp<=4\", \"tp!=1\", \"tp!=2\" and \"tp!=4\" contradict each other: no value of tp meets "
            "all, of 1 2 4 8");
  EXPECT_EQ(refusal({"schedule=1f1b", "schedule!=1f1b,zbv"}).substr(0, 73),
            "conditions \"schedule=1f1b\" and \"schedule!=1f1b,zbv\" contradict each other");
  // One that nothing meets is to blame alone.
  EXPECT_THAT(refusal({"tp<=4", "tp=3"}),
              HasSubstr("condition \"tp=3\": nothing is left of its values, which are 1 2 4 8"));
}

std::vector<Strategy> found(const std::vector<std::string>& conditions) {
  testing::SmallSearch small(8);
  Domains domains = small.domains();
  for (const std::string& condition : conditions) keep_where(domains, condition);
  const auto cost_model = std::make_shared<testing::OneGigaflop>(small.cluster);
  const costmodel::AnalyticInterpreter analytic(cost_model, small.cluster);
  const auto outcome = search(domains, small.problem(), *cost_model, analytic, nullptr);
  std::vector<Strategy> out;
  if (const auto* result = std::get_if<SearchResult>(&outcome)) {
    for (const RankedPlan& plan : result->ranked) out.push_back(plan.strategy);
  }
  return out;
}

TEST(Conditions, AreMetByEveryPlanOfASearch) {
  const std::vector<Strategy> plans = found({"pp=2", "tp<=2", "schedule=zb_h1,interleaved", "recompute=full"});
  ASSERT_FALSE(plans.empty());
  for (const Strategy& s : plans) {
    EXPECT_EQ(s.pp, 2);
    EXPECT_LE(s.tp, 2);
    EXPECT_TRUE(s.schedule == Schedule::zb_h1 || s.schedule == Schedule::interleaved);
    for (const StageLayout& stage : s.stages) EXPECT_EQ(stage.recompute, std::set{RecomputeModule::full});
  }
}

// Over one rank nothing is sharded; a condition on how must not rule such plans out.
TEST(Conditions, OnShardingKeepPlansWithoutAnythingToShard) {
  const std::vector<Strategy> plans =
      found({"zero_dense=1", "zero_expert=1", "overlap.dp_buckets=1", "pp=4", "tp=2", "ep=2", "schedule=1f1b"});
  ASSERT_FALSE(plans.empty());
  for (const Strategy& s : plans) {
    EXPECT_EQ(s.zero_dense, 1);
    EXPECT_EQ(s.zero_expert, 1);
  }
}

TEST(Conditions, BeyondTheCapsAreSearched) {
  testing::SmallSearch small(4, gib(16), {.seq = 64, .global_batch = 24});
  small.model = testing::small_moe(24);
  Domains domains = small.domains();
  for (const char* condition : {"pp=2", "vpp=12", "micro_batch=3"}) keep_where(domains, condition);
  const auto cost_model = std::make_shared<testing::OneGigaflop>(small.cluster);
  const costmodel::AnalyticInterpreter analytic(cost_model, small.cluster);
  const SearchResult result = std::get<SearchResult>(search(domains, small.problem(), *cost_model, analytic, nullptr));
  ASSERT_FALSE(result.ranked.empty());
  for (const RankedPlan& plan : result.ranked) {
    EXPECT_EQ(plan.strategy.vpp, 12);
    EXPECT_EQ(plan.strategy.micro_batch, 3);
  }
}

TEST(Conditions, OnChunksRuleOutSchedulesWithOthers) {
  const std::vector<Strategy> plans = found({"vpp=1", "pp=2"});
  ASSERT_FALSE(plans.empty());
  for (const Strategy& s : plans) EXPECT_EQ(s.vpp, 1);
  EXPECT_TRUE(found({"vpp=1", "pp=2", "schedule=zbv"}).empty());
}

}  // namespace
}  // namespace orrery::planner
