// SPDX-License-Identifier: Apache-2.0
#include "planner/replan/replan.h"

#include "base/errors.h"
#include "costmodel/analytic_interpreter.h"
#include "planner/replan/neighbourhood.h"
#include "program/legality.h"
#include "program/lower.h"
#include "tests/unit/planner/message_of.h"
#include "tests/unit/planner/problem.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using testing::message_of;
using testing::OneGigaflop;
using testing::SmallSearch;

std::vector<RankId> ranks(std::initializer_list<int> numbers) {
  std::vector<RankId> out;
  for (const int number : numbers) out.emplace_back(number);
  return out;
}

/// A plan for two nodes of four: two stages, experts over four ranks.
Plan old_plan(std::int64_t global_batch = 16) {
  const SmallSearch small(4, gib(16), {64, global_batch});
  Plan plan;
  plan.model = small.model;
  plan.cluster = testing::small_cluster(2, 4);
  plan.batch = small.batch;
  plan.strategy = testing::small_strategy(plan.model, 2, 4);
  plan.strategy.zero_dense = plan.strategy.zero_expert = 1;
  return plan;
}

std::variant<Replanned, Infeasible> outcome_of(const Plan& from, const std::vector<RankId>& lost,
                                               const ReplanWishes& wishes = {}) {
  return replan(from, lost, from.batch, std::make_shared<OneGigaflop>(from.cluster), wishes);
}

Replanned plans_of(const Plan& from, const std::vector<RankId>& lost, const ReplanWishes& wishes = {}) {
  return std::get<Replanned>(outcome_of(from, lost, wishes));
}

TEST(Replan, PlansForDevicesThatAreLeftAndNoOthers) {
  const Plan from = old_plan();
  const Replanned result = plans_of(from, ranks({1}));
  ASSERT_FALSE(result.options.empty());
  EXPECT_EQ(result.num_left, 7);
  const auto cost = std::make_shared<OneGigaflop>(from.cluster);
  for (const ReplanOption& option : result.options) {
    const auto world = static_cast<std::int64_t>(option.device_of_rank.size());
    EXPECT_TRUE(violations(from.model, option.plan.strategy, from.batch, world).empty());
    const std::set<DeviceIndex> devices(option.device_of_rank.begin(), option.device_of_rank.end());
    EXPECT_EQ(devices.size(), option.device_of_rank.size());
    EXPECT_FALSE(devices.contains(DeviceIndex(1)));
    const costmodel::AnalyticInterpreter analytic(cost, from.cluster, option.device_of_rank);
    const Trace trace = analytic.run(lower(from.model, option.plan.strategy, from.batch, world), {});
    EXPECT_EQ(trace.steps.front().time, option.plan.predictions.back().step_time);
  }
}

TEST(Replan, LeavesExpertsAtTheirPositions) {
  Plan from = old_plan();
  PopularityLoad load;
  for (const std::int64_t layer : {1, 2, 3}) load.layers[layer] = {9, 7, 1, 2, 2, 1, 1, 1};
  from.load = std::make_shared<const PopularityLoad>(load);
  from.experts = {.layers = {{1, {0, 2, 1, 3, 4, 5, 6, 7}}}};
  const Replanned result = plans_of(from, ranks({1}));
  const ReplanOption& option = result.options.front();
  const auto world = static_cast<std::int64_t>(option.device_of_rank.size());
  const costmodel::AnalyticInterpreter analytic(std::make_shared<OneGigaflop>(from.cluster), from.cluster,
                                                option.device_of_rank);
  StepProgram program = lower(from.model, option.plan.strategy, from.batch, world);
  program.experts = from.experts;
  EXPECT_EQ(analytic.run(program, {.load = from.load}).steps.front().time, option.plan.predictions.back().step_time);
}

// The gap is about step times: no plan near the old one, on any of the worlds, is faster by more.
TEST(Replan, CertifiesAgainstEveryPlanOfTheSpaceThatItNames) {
  const Plan from = old_plan();
  const Replanned result = plans_of(from, ranks({1}));
  ASSERT_TRUE(result.certificate.gap);
  const auto cost = std::make_shared<OneGigaflop>(from.cluster);
  Seconds best = result.options.front().plan.predictions.back().step_time, least = best;
  for (const ReplanOption& option : result.options) {
    best = std::min(best, option.plan.predictions.back().step_time);
  }
  const std::vector<DeviceIndex> left = {DeviceIndex(0), DeviceIndex(2), DeviceIndex(3), DeviceIndex(4),
                                         DeviceIndex(5), DeviceIndex(6), DeviceIndex(7)};
  ASSERT_EQ(result.worlds, (std::vector<std::int64_t>{6, 4, 3}));
  for (const std::vector<DeviceIndex>& devices :
       {std::vector{left[0], left[1], left[2], left[3], left[4], left[5]}, std::vector(left.begin() + 3, left.end())}) {
    Domains d = near(domains_of_any_world(from.model, from.cluster, from.batch, from.strategy), from.strategy);
    keep_what_divides(d, std::vector{static_cast<std::int64_t>(devices.size())});
    const costmodel::AnalyticInterpreter analytic(cost, from.cluster, devices);
    const SearchProblem problem{
        .model = from.model, .cluster = from.cluster, .batch = from.batch, .device_of_rank = devices};
    const auto all = search(d, problem, *cost, analytic, nullptr,
                            {.num_families = 1'000'000, .num_refined = 1'000'000, .num_analytic = 1'000'000});
    least = std::min(least, std::get<SearchResult>(all).ranked.front().predictions.back().step_time);
  }
  EXPECT_LE((best - least) / best, *result.certificate.gap + 1e-12);
  // The manifest is about all worlds: three pipeline ranks split the first one, four the second.
  EXPECT_EQ(std::ranges::find(result.certificate.domain, "pp", &Certificate::Dimension::name)->domain, "1 2 3 4");
}

// The closed form says which world is promising; what cannot be faster there is not run.
TEST(Replan, RunsNothingOnWorldsThatAreSlower) {
  Plan from = old_plan(8);
  from.strategy = testing::small_strategy(from.model, 1, 2);
  const Replanned all = plans_of(from, ranks({1}), {.num_options = 100});
  const auto best = std::ranges::min_element(
      all.options, {}, [](const ReplanOption& option) { return option.plan.predictions.back().step_time; });
  ASSERT_GT(all.worlds.size(), 1);
  for (const ReplanOption& option : all.options) {
    EXPECT_EQ(option.device_of_rank, best->device_of_rank);
  }
}

/// Nobody may run it.
class NeverRun : public costmodel::AnalyticInterpreter {
 public:
  using costmodel::AnalyticInterpreter::AnalyticInterpreter;
  Trace run(const StepProgram&, const RunInput&) const override { throw ConfigError("was run"); }
};

TEST(Replan, KnowsAboutWhatASearchComesToWithoutARun) {
  const SmallSearch small;
  const auto cost = std::make_shared<OneGigaflop>(small.cluster);
  const NeverRun never(cost, small.cluster);
  const costmodel::AnalyticInterpreter analytic(cost, small.cluster);
  const auto result = std::get<SearchResult>(search(small.domains(), small.problem(), *cost, analytic, nullptr));
  const Seconds best = result.ranked.front().predictions.back().step_time;
  const auto about = least_closed_form(small.domains(), small.problem(), *cost, never);
  ASSERT_TRUE(about);
  EXPECT_NEAR(*about / best, 1.0, 0.05);
  EXPECT_FALSE(least_closed_form(small.domains(), small.problem(), *cost, never, {.to_beat = best * 0.5}));
}

// A stage was on the second node, of which one device is left; whoever takes it gets it over the network.
TEST(Replan, TakesTheMoveToLastAsLongAsTheBusiestPortNeeds) {
  const Plan from = old_plan();
  const Replanned result = plans_of(from, ranks({5, 6, 7}));
  const OneGigaflop cost(from.cluster);
  const auto message = [&](Bytes size, int sender) {
    const PeerShape shape{.bytes = static_cast<std::int64_t>(size.in(unit::byte)), .peer = Group::pp_next};
    return size == Bytes() ? Seconds() : cost.peer(shape, DeviceIndex(sender), DeviceIndex(0)).alone();
  };
  const ReplanOption& best = result.options.front();
  Bytes inside, outside;
  for (const RankMove& move : best.move->of_rank) {
    inside = std::max(inside, move.inside.total());
    outside = std::max(outside, move.outside.total());
  }
  for (const DeviceIndex device : best.device_of_rank) EXPECT_LT(device, DeviceIndex(4));
  EXPECT_GT(outside, Bytes());
  EXPECT_EQ(best.move_time, std::max(message(inside, 1), message(outside, 4)));
}

TEST(Replan, WeighsTheMoveAgainstFasterSteps) {
  const Plan from = old_plan();
  const Replanned few = plans_of(from, ranks({1}), {.horizon = std::int64_t{1}});
  const Replanned many = plans_of(from, ranks({1}), {.horizon = std::int64_t{1'000'000}});
  EXPECT_EQ(few.num_steps, 1.0);
  EXPECT_EQ(many.num_steps, 1'000'000.0);
  for (const Replanned* result : {&few, &many}) {
    for (const ReplanOption& option : result->options) {
      EXPECT_LE(result->options.front().total, option.total);
      const Seconds steps = option.plan.predictions.back().step_time * result->num_steps;
      EXPECT_EQ(option.total, steps + option.move_time);
    }
  }
  const auto step = [](const ReplanOption& option) { return option.plan.predictions.back().step_time; };
  for (const ReplanOption& option : many.options) EXPECT_LE(step(many.options.front()), step(option));
}

TEST(Replan, CountsAHorizonInStepsOfTheFastestPlan) {
  const Replanned result = plans_of(old_plan(), ranks({1}), {.horizon = seconds(100.0)});
  Seconds fastest = seconds(1e9);
  for (const ReplanOption& option : result.options) {
    fastest = std::min(fastest, option.plan.predictions.back().step_time);
  }
  EXPECT_DOUBLE_EQ(result.num_steps, seconds(100.0) / fastest);
}

TEST(Replan, WeighsTheOldSplitWhateverIsSearched) {
  for (const bool whole_space : {false, true}) {
    Plan from = old_plan();
    from.strategy.ep = 2;  // so that four devices can have it
    const Replanned result = plans_of(from, ranks({1}), {.whole_space = whole_space, .num_options = 2});
    EXPECT_EQ(result.options.size(), 2);
    ASSERT_EQ(std::ranges::count(result.options, true, &ReplanOption::keeps_split), 1);
    const auto kept = std::ranges::find(result.options, true, &ReplanOption::keeps_split);
    EXPECT_EQ(kept->plan.strategy, from.strategy);
  }
}

TEST(Replan, SaysAfterHowManyStepsAFasterPlanIsAhead) {
  const auto option = [](double step, double move) {
    ReplanOption out;
    out.plan.predictions.push_back({.tier = "analytic", .step_time = seconds(step)});
    out.move_time = seconds(move);
    return out;
  };
  EXPECT_EQ(break_even(option(2.0, 9.0), option(3.0, 4.0)), 5.0);
  EXPECT_EQ(break_even(option(2.0, 1.0), option(3.0, 4.0)), 0.0);
  EXPECT_EQ(break_even(option(3.0, 1.0), option(3.0, 4.0)), std::nullopt);
}

// Both nodes hold a stage each; without states that are cut, the other data-parallel ranks have all of it.
TEST(Replan, NeedsNoCheckpointWhereEverythingIsHeldTwice) {
  Plan from = old_plan();
  from.strategy.zero_dense = from.strategy.zero_expert = 0;
  from.strategy.ep = 2;
  EXPECT_EQ(plans_of(from, ranks({1})).lost_alone, StateBytes());
  EXPECT_GT(plans_of(from, ranks({0, 1, 2, 3})).lost_alone.total(), Bytes());
}

TEST(Replan, GoesOnFromAPlanThatWasReplannedBefore) {
  Plan from = old_plan();
  const Replanned first = plans_of(from, ranks({1}));
  from.strategy = first.options.front().plan.strategy;
  from.device_of_rank = first.options.front().device_of_rank;
  const Replanned second = plans_of(from, ranks({0}));
  EXPECT_EQ(second.num_left, from.num_ranks() - 1);
  for (const DeviceIndex device : second.options.front().device_of_rank) {
    EXPECT_NE(device, from.device_of_rank.front());
    EXPECT_NE(device, DeviceIndex(1));
  }
}

TEST(Replan, RefusesRanksThatThePlanDoesNotHave) {
  EXPECT_EQ(message_of([] { plans_of(old_plan(), ranks({8})); }), "--lost: expected ranks of the plan, 0 to 7, got 8");
  Plan mixed = old_plan();
  mixed.cluster.groups.push_back(mixed.cluster.groups.front());
  EXPECT_EQ(message_of([&] { plans_of(mixed, ranks({0})); }),
            "--from: expected a cluster whose nodes are all alike, got 2 groups of nodes");
  EXPECT_EQ(message_of([] { plans_of(old_plan(), ranks({0, 1, 2, 3, 4, 5, 6, 7})); }),
            "--lost: expected a rank that is left, got all 8");
}

TEST(Replan, SaysWhyNothingIsLeftToDo) {
  // Tensor parallelism over four ranks, which a condition wants, has no world of two devices.
  const auto none = outcome_of(old_plan(), ranks({0, 1, 2, 3, 4, 5}), {.conditions = {"tp=4"}});
  EXPECT_EQ(std::get<Infeasible>(none).reason,
            "no world of the 2 devices that are left splits 16 sequences by the rules");
  // Of what does not fit, the smallest of the whole space is named, not that of the old split.
  const Plan from = old_plan();
  const auto small = outcome_of(from, ranks({1}), {.memory_limit = kib(1)});
  const std::vector<DeviceIndex> devices = {DeviceIndex(0), DeviceIndex(2), DeviceIndex(3),
                                            DeviceIndex(4), DeviceIndex(5), DeviceIndex(6)};
  Domains all = domains_of_any_world(from.model, from.cluster, from.batch, from.strategy);
  keep_what_divides(all, std::vector<std::int64_t>{6});
  const auto cost = std::make_shared<OneGigaflop>(from.cluster);
  const auto direct = search(all,
                             {.model = from.model,
                              .cluster = from.cluster,
                              .batch = from.batch,
                              .memory_limit = kib(1),
                              .device_of_rank = devices},
                             *cost, costmodel::AnalyticInterpreter(cost, from.cluster, devices), nullptr);
  EXPECT_EQ(std::get<Infeasible>(small).reason, std::get<Infeasible>(direct).reason);
}

}  // namespace
}  // namespace orrery::planner
