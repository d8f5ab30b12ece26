// SPDX-License-Identifier: Apache-2.0
#include "planner/dials.h"

#include "planner/explain/dimensions.h"
#include "tests/unit/planner/strategy_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using testing::plan_to_export;

/// The only dimension in which the two strategies differ.
std::string difference(const Strategy& a, const Strategy& b) {
  const StrategyMix mix(a, b);
  return mix.dimensions().size() == 1 ? mix.dimensions().front()->name : "";
}

// A key that is added to strategy/1 has to be a dial, or to be named here as something that nobody turns.
TEST(Dials, AreAllKeysOfAStrategyButWhatLiesInTheStagesAndDroppedTokens) {
  std::set<std::string> expected = testing::keys_of_strategy();
  for (const char* none : {"stages/first_layer", "stages/recompute", "stages/recompute_layers", "capacity_factor"}) {
    EXPECT_EQ(expected.erase(none), 1U) << none;
  }
  expected.insert("global_batch");
  std::set<std::string> dials;
  for (const auto& [key, dial] : integer_dials()) dials.insert(key);
  for (const auto& [key, choices] : choice_dials()) EXPECT_TRUE(dials.insert(key).second) << key;
  EXPECT_EQ(dials, expected);
}

TEST(Dials, TurnTheirKeyAndNoOther) {
  const Plan plan = plan_to_export();
  for (const auto& [key, dial] : integer_dials()) {
    Attempt attempt{plan.strategy, plan.batch};
    dial(attempt) = 7;
    if (key == "global_batch") {
      EXPECT_EQ(attempt.batch.global_batch, 7);
    } else {
      EXPECT_EQ(difference(plan.strategy, attempt.strategy), key);
    }
  }
  for (const auto& [key, choices] : choice_dials()) {
    std::set<std::string> turned;
    Strategy other = plan.strategy;
    if (key == "order") other.order = "tp-cp-ep-pp-dp";
    for (const Choice& choice : choices) {
      Strategy changed = other;
      choice.choose(changed);
      if (changed != other) turned.insert(difference(other, changed));
    }
    EXPECT_THAT(turned, ElementsAre(key));
  }
}

TEST(Dials, NameTheValueThatTheyChoose) {
  Strategy s = plan_to_export().strategy;
  choice_dials().at("schedule")[4].choose(s);
  EXPECT_EQ(choice_dials().at("schedule")[4].name, "\"zb_h2\"");
  EXPECT_EQ(s.schedule, Schedule::zb_h2);
  choice_dials().at("sp")[1].choose(s);
  EXPECT_EQ(choice_dials().at("sp")[1].name, "true");
  EXPECT_TRUE(s.sp);
}

TEST(Dials, LayTheStagesOfAnotherNumberOfThem) {
  const Plan plan = plan_to_export();
  Strategy s = plan.strategy;
  EXPECT_TRUE(lay_stages(plan, s));
  EXPECT_EQ(s, plan.strategy);
  s.pp = 4;
  EXPECT_TRUE(lay_stages(plan, s));
  EXPECT_EQ(s.stages, even_stages(8, 4));
  s.pp = 10;
  EXPECT_TRUE(lay_stages(plan, s)) << "embedding and head alone";
  s.pp = 11;
  EXPECT_FALSE(lay_stages(plan, s));
}

}  // namespace
}  // namespace orrery::planner
