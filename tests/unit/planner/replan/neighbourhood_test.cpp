// SPDX-License-Identifier: Apache-2.0
#include "planner/replan/neighbourhood.h"

#include "tests/unit/planner/problem.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using testing::SmallSearch;

Strategy old_plan() {
  Strategy s = testing::small_strategy(testing::small_moe(), 2, 4);
  s.tp = 2;
  s.stages[1].recompute = {RecomputeModule::layernorm};
  return s;
}

TEST(Neighbourhood, KeepsWhatMovesShardsAndFreesWhatTheSizeOfTheMachineForces) {
  const SmallSearch small(8, gib(16), {64, 16});
  const Domains all = domains_of_any_world(small.model, small.cluster, small.batch, {});
  const Domains d = near(all, old_plan());
  EXPECT_THAT(all.tp, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_THAT(d.tp, ElementsAre(2));
  EXPECT_THAT(d.micro_batch, ElementsAre(1));
  EXPECT_THAT(d.pp, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(d.ep, ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(d.vpp, ElementsAre(1, 2));
  EXPECT_THAT(d.schedule, ElementsAre(Schedule::one_f_one_b, Schedule::interleaved));
  for (const auto& modules : d.recompute) {
    EXPECT_TRUE(modules.size() <= 1 || modules.contains(RecomputeModule::layernorm));
    EXPECT_LE(modules.size(), 2);
  }
}

TEST(Neighbourhood, LeavesADimensionWithoutTheOldValueAsItIs) {
  const SmallSearch small(8, gib(16), {64, 16});
  Domains all = domains_of_any_world(small.model, small.cluster, small.batch, {});
  all.tp = {1, 4};  // as a condition leaves it
  EXPECT_THAT(near(all, old_plan()).tp, ElementsAre(1, 4));
}

TEST(Neighbourhood, KnowsWhichWorldsCanBeSplit) {
  const SmallSearch small(8, gib(16), {64, 16});
  Domains d = near(domains_of_any_world(small.model, small.cluster, small.batch, {}), old_plan());
  // 6 devices: tp 2 and pp 3 leave dp 1. 7 are no multiple of tp, and 5 dp ranks do not divide 16 sequences.
  EXPECT_TRUE(can_split(d, small.batch, 6));
  EXPECT_FALSE(can_split(d, small.batch, 7));
  EXPECT_FALSE(can_split(d, small.batch, 10));
  keep_what_divides(d, std::vector<std::int64_t>{6, 4});
  EXPECT_THAT(d.pp, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(d.ep, ElementsAre(1, 2, 4));
  keep_what_divides(d, std::vector<std::int64_t>{6});
  EXPECT_THAT(d.pp, ElementsAre(1, 2, 3));
  EXPECT_THAT(d.ep, ElementsAre(1, 2));
}

TEST(Neighbourhood, SaysOfEachDimensionWhatWasKept) {
  const SmallSearch small(8, gib(16), {64, 16});
  const Domains all = small.domains();
  const auto manifest = manifest_near(near(all, old_plan()), all, "exhaustive");
  const auto claim = [&](std::string_view name) {
    return std::find_if(manifest.begin(), manifest.end(), [&](const auto& d) { return d.name == name; })->claim;
  };
  EXPECT_EQ(claim("tp"), "kept from the old plan");
  EXPECT_EQ(claim("vpp"), "exhaustive, near the old plan");
  EXPECT_EQ(claim("ep"), "exhaustive");  // all that there are
}

}  // namespace
}  // namespace orrery::planner
