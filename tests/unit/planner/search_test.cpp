// SPDX-License-Identifier: Apache-2.0
#include "planner/search.h"

#include "costmodel/analytic_interpreter.h"
#include "costmodel/memory.h"
#include "planner/strategy_text.h"
#include "program/arrivals.h"
#include "program/legality.h"
#include "program/lower.h"
#include "tests/unit/planner/problem.h"

#include <algorithm>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using testing::OneGigaflop;
using testing::SmallSearch;

/// Another interpreter for the last tier, which likes long pipelines: the step takes 1 second over pp.
class LikesPipelines : public Interpreter {
 public:
  std::string_view name() const override { return "simgrid"; }
  bool available() const override { return true; }
  bool enabled() const override { return true; }
  std::vector<Unsupported> unsupported(const StepProgram&) const override { return {}; }
  Trace run(const StepProgram& program, const RunInput&) const override {
    Trace trace;
    trace.steps.push_back({.time = seconds(1.0 / static_cast<double>(program.strategy.pp))});
    return trace;
  }
};

/// No tier cuts anything off.
constexpr SearchLimits kSeeAll{.num_analytic = 1'000'000, .num_simulated = 1'000'000};

using Outcome = std::variant<SearchResult, Infeasible>;

Outcome run(const SmallSearch& small, const Interpreter* simulator = nullptr, const SearchLimits& limits = {},
            const std::function<void(const Progress&)>& on_progress = {}) {
  const auto cost_model = std::make_shared<OneGigaflop>(small.cluster);
  const costmodel::AnalyticInterpreter analytic(cost_model, small.cluster);
  return search(small.space(), small.problem(), *cost_model, analytic, simulator, limits, on_progress);
}

SearchResult plans_of(const SmallSearch& small, const Interpreter* simulator = nullptr,
                      const SearchLimits& limits = {}) {
  return std::get<SearchResult>(run(small, simulator, limits));
}

TEST(Search, RanksLegalPlansByAnalyticTime) {
  const SmallSearch small;
  const SearchResult result = plans_of(small);
  ASSERT_EQ(result.ranked.size(), 32);
  for (std::size_t i = 0; i < result.ranked.size(); ++i) {
    const RankedPlan& plan = result.ranked[i];
    EXPECT_TRUE(violations(small.model, plan.strategy, small.batch, 4).empty());
    ASSERT_EQ(plan.predictions.size(), 2);
    EXPECT_EQ(plan.predictions[0].tier, "closed");
    EXPECT_EQ(plan.predictions[1].tier, "analytic");
    EXPECT_LE(result.ranked[i == 0 ? 0 : i - 1].predictions[1].step_time, plan.predictions[1].step_time);
  }
}

TEST(Search, PredictsWhatTheInterpreterSaysOfTheLoweredPlan) {
  const SmallSearch small;
  const SearchResult result = plans_of(small);
  const costmodel::AnalyticInterpreter analytic(std::make_shared<OneGigaflop>(small.cluster), small.cluster);
  const RankedPlan& best = result.ranked.front();
  const Trace trace = analytic.run(lower(small.model, best.strategy, small.batch, 4), {});
  EXPECT_EQ(trace.steps.front().time, best.predictions.back().step_time);
}

TEST(Search, FindsTheBestOfTheWholeSpaceWhenTheLastTierSeesAllOfIt) {
  const SmallSearch small(2);
  const SearchResult result = plans_of(small, nullptr, kSeeAll);
  const costmodel::AnalyticInterpreter analytic(std::make_shared<OneGigaflop>(small.cluster), small.cluster);
  Seconds best = seconds(1e9);
  const SearchSpace space = small.space();
  for (std::int64_t i = 0; i < space.size(); ++i) {
    const std::optional<Strategy> strategy = space.at(i);
    if (!strategy || !violations(small.model, *strategy, small.batch, 2).empty()) continue;
    const StepProgram program = lower(small.model, *strategy, small.batch, 2);
    best = std::min(best, analytic.run(program, {.steps_only = true}).steps.front().time);
  }
  EXPECT_EQ(result.ranked.front().predictions.back().step_time, best);
}

TEST(Search, LetsTheSimulatorChooseAmongThoseItSees) {
  const LikesPipelines simulator;
  const SearchResult result = plans_of(SmallSearch(), &simulator, kSeeAll);
  EXPECT_EQ(result.ranked.front().strategy.pp, 4);
  EXPECT_EQ(result.ranked.back().strategy.pp, 1);
  EXPECT_EQ(result.ranked.front().predictions.back().step_time, seconds(0.25));
}

TEST(Search, RanksSimulatedPlansBeforeAllOthers) {
  const LikesPipelines simulator;
  const SearchResult result = plans_of(SmallSearch(), &simulator);
  for (std::size_t i = 0; i < result.ranked.size(); ++i) {
    EXPECT_EQ(result.ranked[i].predictions.back().tier, i < 4 ? "simgrid" : "analytic") << i;
  }
}

TEST(Search, CountsWhatEachTierDid) {
  const LikesPipelines simulator;
  const SearchResult result = plans_of(SmallSearch(), &simulator);
  const std::vector<Certificate::Tier>& tiers = result.certificate.tiers;
  ASSERT_EQ(tiers.size(), 5);
  for (std::size_t i = 1; i < tiers.size(); ++i) {
    EXPECT_EQ(tiers[i].evaluated, tiers[i - 1].evaluated - tiers[i - 1].rejected) << tiers[i].name;
  }
  EXPECT_EQ(tiers[3].evaluated, 32);
  EXPECT_EQ(tiers[4].evaluated, 4);
  EXPECT_EQ(tiers[4].rejected, 3);
  EXPECT_EQ(claim_of(tiers[0]), "exhaustive");
  EXPECT_EQ(claim_of(tiers[1]), "exhaustive");
  EXPECT_EQ(claim_of(tiers[2]), "heuristic: keeps those that the closed form finds fastest");
  EXPECT_EQ(claim_of(tiers[4]), "best of those evaluated, which is not proved for the domain");
}

TEST(Search, KeepsOnlyWhatFits) {
  const SearchResult everything = plans_of(SmallSearch(), nullptr, kSeeAll);
  std::vector<Bytes> needs;
  for (const RankedPlan& plan : everything.ranked) needs.push_back(plan.predictions.front().peak_memory);
  std::sort(needs.begin(), needs.end(), [](Bytes a, Bytes b) { return a < b; });
  const Bytes middle = needs[needs.size() / 2];
  const auto num_fitting = std::count_if(needs.begin(), needs.end(), [&](Bytes need) { return need <= middle; });

  const SearchResult result = plans_of(SmallSearch(4, middle), nullptr, kSeeAll);
  EXPECT_EQ(static_cast<std::ptrdiff_t>(result.ranked.size()), num_fitting);
  EXPECT_EQ(result.certificate.tiers[1].rejected, static_cast<std::ptrdiff_t>(needs.size()) - num_fitting);
  for (const RankedPlan& plan : result.ranked) EXPECT_LE(plan.predictions.front().peak_memory, middle);
}

TEST(Search, GivesMemoryToTheFullestRankOfTheLoad) {
  SmallSearch small;
  const SearchResult balanced = plans_of(small, nullptr, kSeeAll);
  small.load = ZipfLoad{.exponent = 2.0};
  const FullestShare share(small.model, small.load);
  int num_fuller = 0;
  for (const RankedPlan& plan : plans_of(small, nullptr, kSeeAll).ranked) {
    const auto same = std::find_if(balanced.ranked.begin(), balanced.ranked.end(),
                                   [&](const RankedPlan& other) { return other.strategy == plan.strategy; });
    ASSERT_NE(same, balanced.ranked.end());
    const Bytes memory = plan.predictions.front().peak_memory, before = same->predictions.front().peak_memory;
    if (share.of(plan.strategy) > 1.0) {
      // Where a stage without experts is the fullest, it stays so.
      EXPECT_GE(memory, before);
      num_fuller += memory > before ? 1 : 0;
    } else {
      EXPECT_EQ(memory, before);
    }
  }
  EXPECT_GT(num_fuller, 0);
}

TEST(Search, TellsTheInterpreterOfTheDocuments) {
  SmallSearch small;
  const Seconds fixed = plans_of(small).ranked.front().predictions.back().step_time;
  small.sequences = std::make_shared<const PackedLengths>(PackedLengths{.documents = {8}});
  EXPECT_LT(plans_of(small).ranked.front().predictions.back().step_time, fixed);
}

TEST(Search, IsDeterministic) {
  const SmallSearch small;
  const SearchResult first = plans_of(small), second = plans_of(small);
  ASSERT_EQ(first.ranked.size(), second.ranked.size());
  for (std::size_t i = 0; i < first.ranked.size(); ++i) {
    EXPECT_EQ(first.ranked[i].strategy, second.ranked[i].strategy) << i;
  }
}

TEST(Search, SaysHowMuchMemoryWouldBeEnough) {
  const auto outcome = run(SmallSearch(4, gib(1)));
  const Infeasible& infeasible = std::get<Infeasible>(outcome);
  EXPECT_THAT(
      infeasible.reason,
      ::testing::MatchesRegex("no strategy fits: the smallest \\(pp .* stages .*\\) needs 2.00 GiB on its fullest "
                              "rank, unit has 1.00 GiB"));
  EXPECT_EQ(infeasible.hint, "use more devices, devices with more memory, or a shorter sequence");
}

TEST(Search, NamesTheRuleThatLeavesNothingLegal) {
  const auto outcome = run(SmallSearch(6, gib(16), {.seq = 64, .global_batch = 7}));
  const Infeasible& infeasible = std::get<Infeasible>(outcome);
  EXPECT_THAT(infeasible.reason,
              ::testing::MatchesRegex("none of [0-9]+ strategies is legal; [0-9]+ of them break a rule about "
                                      "global_batch, for example: expected a multiple of 6 \\(data-parallel ranks\\), "
                                      "got 7"));
  EXPECT_EQ(infeasible.hint, "nearest multiples are 6 and 12");
}

TEST(Search, TellsHowFarEachTierIs) {
  std::map<std::string, std::int64_t> done;
  const SmallSearch small(2);
  run(small, nullptr, {}, [&](const Progress& progress) {
    EXPECT_EQ(progress.done, ++done[std::string(progress.tier)]);
    EXPECT_LE(progress.done, progress.total);
  });
  EXPECT_EQ(done["closed"], small.space().size());
  EXPECT_EQ(done["analytic"], 32);
}

}  // namespace
}  // namespace orrery::planner
