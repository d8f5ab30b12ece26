// SPDX-License-Identifier: Apache-2.0
#include "planner/search.h"

#include "costmodel/analytic_interpreter.h"
#include "costmodel/lower_bound.h"
#include "costmodel/memory.h"
#include "planner/conditions.h"
#include "planner/family.h"
#include "planner/strategy_text.h"
#include "program/arrivals.h"
#include "program/legality.h"
#include "program/lower.h"
#include "tests/unit/base/threads.h"
#include "tests/unit/planner/problem.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::HasSubstr;
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
constexpr SearchLimits kSeeAll{.num_families = 1'000'000,
                               .num_refined = 1'000'000,
                               .num_analytic = 1'000'000,
                               .num_closing = 1'000'000,
                               .num_simulated = 1'000'000};

using Outcome = std::variant<SearchResult, Infeasible>;

Outcome run_in(const Domains& domains, const SmallSearch& small, const StepWeights& weights = {},
               const Interpreter* simulator = nullptr, const SearchLimits& limits = {},
               const std::function<void(const Progress&)>& on_progress = {}) {
  const auto cost_model = std::make_shared<OneGigaflop>(small.cluster);
  const costmodel::AnalyticInterpreter analytic(cost_model, small.cluster);
  SearchProblem problem = small.problem();
  problem.weights = weights;
  return search(domains, problem, *cost_model, analytic, simulator, limits, on_progress);
}

Outcome run(const SmallSearch& small, const Interpreter* simulator = nullptr, const SearchLimits& limits = {},
            const std::function<void(const Progress&)>& on_progress = {}) {
  return run_in(small.domains(), small, {}, simulator, limits, on_progress);
}

SearchResult plans_of(const SmallSearch& small, const Interpreter* simulator = nullptr,
                      const SearchLimits& limits = {}) {
  return std::get<SearchResult>(run(small, simulator, limits));
}

TEST(Search, RanksLegalPlansByAnalyticTime) {
  const SmallSearch small;
  const SearchResult result = plans_of(small);
  ASSERT_GE(result.ranked.size(), 24);
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

TEST(Search, LetsTheSimulatorChooseAmongThoseItSees) {
  const LikesPipelines simulator;
  const SearchResult result = plans_of(SmallSearch(), &simulator, {.num_simulated = 1'000'000});
  std::int64_t longest = 0;
  for (const RankedPlan& plan : result.ranked) longest = std::max(longest, plan.strategy.pp);
  EXPECT_EQ(result.ranked.front().strategy.pp, longest);
  EXPECT_EQ(result.ranked.front().predictions.back().step_time, seconds(1.0 / static_cast<double>(longest)));
}

TEST(Search, RanksSimulatedPlansBeforeAllOthers) {
  const LikesPipelines simulator;
  const SearchResult result = plans_of(SmallSearch(), &simulator);
  for (std::size_t i = 0; i < result.ranked.size(); ++i) {
    EXPECT_EQ(result.ranked[i].predictions.back().tier, i < 4 ? "simgrid" : "analytic") << i;
  }
}

/// Two nodes of two devices, slow links between them, and pipelines of two whose every message is waited for.
struct TwoNodes : SmallSearch {
  TwoNodes() {
    cluster = testing::small_cluster(2, 2);
    NodeGroup& group = cluster.groups.front();
    group.device.memory = gib(16);
    group.scale_up.per_device = bytes_per_second(1e9);
    group.nics->each = bytes_per_second(1e6);
  }

  /// Two stages, each rank with all experts.
  Domains pipelines() const {
    Domains d = domains();
    for (const char* condition : {"pp=2", "tp=1", "cp=1", "ep=1", "etp=1", "schedule=1f1b", "overlap.dp_buckets=0"}) {
      keep_where(d, condition);
    }
    return d;
  }
};

Seconds analytic_time(const SmallSearch& small, const Strategy& strategy) {
  const costmodel::AnalyticInterpreter analytic(std::make_shared<OneGigaflop>(small.cluster), small.cluster);
  return analytic.run(lower(small.model, strategy, small.batch, small.cluster.num_devices()), {}).steps.front().time;
}

// Gradients are more than activations here, so a stage on each node is best; with a batch a hundred times as large a
// pipeline on each node is.
TEST(Search, PutsInsideANodeWhatSendsMost) {
  TwoNodes small;
  EXPECT_EQ(std::get<SearchResult>(run_in(small.pipelines(), small)).ranked.front().strategy.order, "tp-cp-ep-dp-pp");
  small.batch.global_batch *= 100;
  const SearchResult result = std::get<SearchResult>(run_in(small.pipelines(), small));
  const RankedPlan& best = result.ranked.front();
  EXPECT_EQ(best.strategy.order, "tp-cp-ep-pp-dp");
  EXPECT_EQ(best.predictions.back().step_time, analytic_time(small, best.strategy));
  Strategy in_default = best.strategy;
  in_default.order = Strategy().order;
  EXPECT_LT(best.predictions.back().step_time, analytic_time(small, in_default));
}

// One micro-batch sends less to experts than their gradients are, so copies of experts are inside nodes and each EP
// group has a device of either node, on one rail; with a batch a hundred times as large it is inside a node.
TEST(Search, PutsCopiesOfExpertsInsideANodeIfTheirGradientsSendMost) {
  TwoNodes small;
  small.batch.global_batch = 4;
  const auto best_of = [&] {
    Domains domains = small.domains();
    for (const char* condition : {"pp=1", "tp=1", "cp=1", "ep=2", "etp=1", "micro_batch=1", "overlap.dp_buckets=0"}) {
      keep_where(domains, condition);
    }
    return std::get<SearchResult>(run_in(domains, small)).ranked.front();
  };
  const RankedPlan best = best_of();
  EXPECT_EQ(best.strategy.order, "tp-cp-dp-ep-pp");
  EXPECT_EQ(best.predictions.back().step_time, analytic_time(small, best.strategy));
  Strategy in_default = best.strategy;
  in_default.order = Strategy().order;
  EXPECT_LT(best.predictions.back().step_time, analytic_time(small, in_default));
  small.batch.global_batch *= 100;
  EXPECT_EQ(best_of().strategy.order, "tp-cp-ep-dp-pp");
}

TEST(Search, ClaimsNothingOfOtherOrders) {
  TwoNodes small;
  small.batch.global_batch *= 100;
  Domains domains = small.pipelines();
  const SearchResult all = std::get<SearchResult>(run_in(domains, small));
  const auto order = std::ranges::find(all.certificate.domain, "order", &Certificate::Dimension::name);
  EXPECT_THAT(order->claim, HasSubstr("heuristic"));
  const auto tier = std::ranges::find(all.certificate.tiers, "orders", &Certificate::Tier::name);
  EXPECT_GT(tier->evaluated - tier->rejected, 0);
  keep_where(domains, "order=tp-cp-ep-dp-pp");
  const SearchResult one = std::get<SearchResult>(run_in(domains, small));
  EXPECT_EQ(one.certificate.gap, all.certificate.gap);
  EXPECT_EQ(std::ranges::find(one.certificate.tiers, "orders", &Certificate::Tier::name), one.certificate.tiers.end());
  for (const RankedPlan& plan : one.ranked) EXPECT_EQ(plan.strategy.order, "tp-cp-ep-dp-pp");
}

TEST(Search, SearchesInAnotherOrderWithoutACertificateIfTheDefaultIsNotWanted) {
  const TwoNodes small;
  Domains domains = small.pipelines();
  keep_where(domains, "order=pp-tp-cp-ep-dp");
  const SearchResult result = std::get<SearchResult>(run_in(domains, small));
  EXPECT_EQ(result.certificate.gap, std::nullopt);
  for (const RankedPlan& plan : result.ranked) EXPECT_EQ(plan.strategy.order, "pp-tp-cp-ep-dp");
  EXPECT_EQ(result.ranked.front().predictions.back().step_time, analytic_time(small, result.ranked.front().strategy));
}

TEST(Search, SimulatesAPlanInBothOrders) {
  const LikesPipelines simulator;
  TwoNodes small;
  small.batch.global_batch *= 100;
  const SearchResult result = std::get<SearchResult>(run_in(small.pipelines(), small, {}, &simulator));
  std::set<std::string> orders;
  for (const RankedPlan& plan : result.ranked) {
    if (plan.predictions.back().tier == "simgrid") orders.insert(plan.strategy.order);
  }
  EXPECT_EQ(orders, (std::set<std::string>{"tp-cp-ep-dp-pp", "tp-cp-ep-pp-dp"}));
}

/// What plans of one pipeline have in common.
auto pipeline_of(const RankedPlan& plan) {
  const Strategy& s = plan.strategy;
  return std::tuple(s.tp, s.cp, s.cp_kind, s.ep, s.etp, s.micro_batch, s.dispatcher, s.schedule, s.pp, s.vpp,
                    s.overlap.ep_batch_level);
}

TEST(Search, SimulatesPlansOfDifferentPipelines) {
  const LikesPipelines simulator;
  const SearchResult result = plans_of(SmallSearch(), &simulator);
  std::set<decltype(pipeline_of(result.ranked.front()))> pipelines;
  for (const RankedPlan& plan : result.ranked) {
    if (plan.predictions.back().tier == "simgrid") pipelines.insert(pipeline_of(plan));
  }
  EXPECT_EQ(pipelines.size(), 4);
  for (std::size_t i = 5; i < result.ranked.size(); ++i) {  // the others stay in the order of the tier before
    EXPECT_LE(result.ranked[i - 1].predictions.back().step_time, result.ranked[i].predictions.back().step_time) << i;
  }
}

TEST(Search, RunsAtMostTwoPlansOfAPipelineBeforeThoseOfOthers) {
  std::map<decltype(pipeline_of(RankedPlan())), std::int64_t> plans;
  const auto add = [&](std::int64_t num_analytic, std::int64_t sign) {
    const SearchResult result = plans_of(SmallSearch(), nullptr, {.num_analytic = num_analytic, .num_closing = 0});
    for (const RankedPlan& plan : result.ranked) plans[pipeline_of(plan)] += sign;
  };
  add(12, 1);
  add(0, -1);  // what the scan has run anyway
  std::int64_t sum = 0;
  for (const auto& [pipeline, count] : plans) {
    EXPECT_LE(count, 2);
    sum += count;
  }
  EXPECT_EQ(sum, 12);
}

// What the closed form says to be far from the best is not run, if it was right about what was.
TEST(Search, RunsOnlyWhatMayBeTheBest) {
  const SmallSearch small(2);
  SearchLimits limits = kSeeAll;
  const SearchResult all = plans_of(small, nullptr, limits);
  limits.num_closing = 0;
  const SearchResult some = plans_of(small, nullptr, limits);
  EXPECT_LT(some.ranked.size(), all.ranked.size());
  EXPECT_EQ(some.ranked.front().strategy, all.ranked.front().strategy);
}

// Where what was not reached has a smaller bound, the gap stays whatever is run.
TEST(Search, ClosesTheGapOnlyAsFarAsItIsOpenForWhatWasRefined) {
  const SmallSearch small;
  const OneGigaflop cost(small.cluster);
  SearchLimits limits{.num_refined = 64, .num_analytic = 0, .num_closing = 0, .num_seeds = 1};
  const SearchResult open = plans_of(small, nullptr, limits);
  limits.num_closing = 1'000'000;
  const SearchResult closed = plans_of(small, nullptr, limits);
  ASSERT_TRUE(closed.least_undecided);
  ASSERT_LT(*closed.least_undecided, closed.ranked.front().predictions[1].step_time);
  EXPECT_GT(closed.ranked.size(), open.ranked.size());
  for (const RankedPlan& plan : closed.ranked) {
    if (std::ranges::find(open.ranked, plan.strategy, &RankedPlan::strategy) != open.ranked.end()) continue;
    const Mesh mesh(plan.strategy, 4);
    EXPECT_LT(costmodel::lower_bound(small.model, plan.strategy, small.batch, mesh, cost), *closed.least_undecided);
  }
}

TEST(Search, CountsWhatEachTierDid) {
  const LikesPipelines simulator;
  const SearchResult result = plans_of(SmallSearch(), &simulator);
  const std::vector<Certificate::Tier>& tiers = result.certificate.tiers;
  std::vector<std::string> names;
  for (const Certificate::Tier& tier : tiers) {
    names.push_back(tier.name);
    EXPECT_LE(tier.rejected, tier.evaluated) << tier.name;
  }
  EXPECT_THAT(names,
              ::testing::ElementsAre("operators", "pipelines", "memory", "bound", "closed", "analytic", "simgrid"));
  for (std::size_t i = 3; i < tiers.size(); ++i) {
    EXPECT_EQ(tiers[i].evaluated, tiers[i - 1].evaluated - tiers[i - 1].rejected) << tiers[i].name;
  }
  EXPECT_EQ(tiers[6].evaluated, 4);
  EXPECT_EQ(tiers[6].rejected, 3);
  EXPECT_EQ(claim_of(tiers[2]), "rejects what does not fit, whatever it recomputes");
  EXPECT_EQ(claim_of(tiers[6]), "best of those evaluated");
}

// Pipelines near the best plan are scanned first, and are not scanned again when it is their turn.
TEST(Search, LooksAtEveryPlanOnce) {
  const std::vector<RankedPlan> ranked = plans_of(SmallSearch(2), nullptr, kSeeAll).ranked;
  ASSERT_GT(ranked.size(), 100);
  for (std::size_t i = 0; i < ranked.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) ASSERT_NE(ranked[i].strategy, ranked[j].strategy) << i << " and " << j;
  }
}

// The part of the space that is looked at first shards everything once, over one rank too.
TEST(Search, WritesWhatHasNothingToShardInOneWay) {
  std::int64_t num_idle = 0;
  for (const RankedPlan& plan : plans_of(SmallSearch(2), nullptr, kSeeAll).ranked) {
    const IdleSharding idle = idle_sharding(Mesh(plan.strategy, 2));
    EXPECT_TRUE(!idle.dense || plan.strategy.zero_dense == 0);
    EXPECT_TRUE(!idle.expert || plan.strategy.zero_expert == 0);
    EXPECT_TRUE(!idle.buckets || !plan.strategy.overlap.dp_buckets);
    num_idle += idle.dense || idle.expert ? 1 : 0;
  }
  EXPECT_GT(num_idle, 20);
}

TEST(Search, OrdersOneMicroBatchInOneWay) {
  SmallSearch small(2);
  small.batch.global_batch = 2;
  const auto num_gpipe = [](const Outcome& outcome) {
    return std::ranges::count_if(std::get<SearchResult>(outcome).ranked, [](const RankedPlan& plan) {
      return plan.strategy.schedule == Schedule::gpipe && plan.strategy.micro_batch == 2;
    });
  };
  EXPECT_EQ(num_gpipe(run(small, nullptr, kSeeAll)), 0);
  Domains d = small.domains();
  keep_where(d, "schedule=gpipe");
  EXPECT_GT(num_gpipe(run_in(d, small, {}, nullptr, kSeeAll)), 0);
}

TEST(Search, CertifiesTheBestOfASpaceThatItSeesWhole) {
  const SmallSearch small(2);
  const SearchResult all = plans_of(small, nullptr, kSeeAll);
  EXPECT_EQ(all.certificate.gap, 0.0);
  const SearchResult few = plans_of(small, nullptr, {.num_refined = 8, .num_analytic = 1, .num_closing = 1});
  ASSERT_TRUE(few.certificate.gap);
  const Seconds best = all.ranked.front().predictions[1].step_time, found = few.ranked.front().predictions[1].step_time;
  EXPECT_GE(*few.certificate.gap, (found - best) / found);
}

TEST(Search, LeavesAGapForWhatItDidNotReach) {
  SearchLimits one = kSeeAll;
  one.num_families = 1;
  EXPECT_GT(plans_of(SmallSearch(4), nullptr, one).certificate.gap, 0.0);
}

TEST(Search, CertifiesNothingWhereNoBoundHolds) {
  SmallSearch small(2);
  small.load = ZipfLoad{.exponent = 1.0};
  EXPECT_FALSE(plans_of(small).certificate.gap);
}

TEST(Search, KeepsOnlyWhatFits) {
  const SmallSearch small(4, gib(2) + bytes(3e6));
  const SearchResult result = plans_of(small);
  EXPECT_GT(result.certificate.tiers[2].rejected, 0);
  for (const RankedPlan& plan : result.ranked) {
    EXPECT_LE(plan.predictions.front().peak_memory, *small.cluster.groups.front().device.memory);
  }
}

TEST(Search, GivesMemoryToTheFullestRankOfTheLoad) {
  SmallSearch small;
  small.load = ZipfLoad{.exponent = 2.0};
  const FullestShare share(small.model, small.load);
  int num_fuller = 0;
  for (const RankedPlan& plan : plans_of(small).ranked) {
    auto parameters = costmodel::MemoryModel::of(small.cluster.groups.front().device);
    parameters.rho = share.of(plan.strategy);
    const auto stages =
        costmodel::memory_per_stage(small.model, plan.strategy, small.batch, Mesh(plan.strategy, 4), parameters);
    EXPECT_EQ(plan.predictions.front().peak_memory, costmodel::fullest(stages));
    num_fuller += parameters.rho > 1.0 ? 1 : 0;
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

TEST(Search, IsTheSameWithAnyNumberOfThreads) {
  const SmallSearch small(8);
  const auto with = [&](const char* threads) {
    const testing::Threads wanted(threads);
    return plans_of(small);
  };
  const SearchResult one = with("1");
  for (const char* threads : {"2", "7"}) {
    const SearchResult other = with(threads);
    ASSERT_EQ(one.ranked.size(), other.ranked.size()) << threads;
    for (std::size_t i = 0; i < one.ranked.size(); ++i) {
      EXPECT_EQ(one.ranked[i].strategy, other.ranked[i].strategy) << threads << ", " << i;
      EXPECT_EQ(one.ranked[i].predictions.back().step_time, other.ranked[i].predictions.back().step_time);
    }
    EXPECT_EQ(one.certificate.gap, other.certificate.gap);
    for (std::size_t i = 0; i < one.certificate.tiers.size(); ++i) {
      EXPECT_EQ(one.certificate.tiers[i].evaluated, other.certificate.tiers[i].evaluated) << threads << ", " << i;
      EXPECT_EQ(one.certificate.tiers[i].rejected, other.certificate.tiers[i].rejected) << threads << ", " << i;
    }
  }
}

// A budget that is over before anything was found: one plan is run all the same, and what was not is in the gap.
TEST(Search, HasAnAnswerWhenItsTimeIsOver) {
  const SmallSearch small(8);
  const LikesPipelines simulator;
  const auto of_tier = [](const SearchResult& result, std::string_view name) {
    const auto found = std::ranges::find(result.certificate.tiers, name, &Certificate::Tier::name);
    return found == result.certificate.tiers.end() ? 0 : found->evaluated;
  };
  const SearchResult all = plans_of(small, &simulator);
  const SearchResult late = plans_of(small, &simulator, {.time_budget = seconds(1e-9)});
  ASSERT_EQ(of_tier(late, "analytic"), 1);
  EXPECT_EQ(of_tier(late, "simgrid"), 0);
  EXPECT_GT(of_tier(all, "simgrid"), 0);
  EXPECT_EQ(of_tier(late, "closed"), 1) << "nothing is refined any more";
  ASSERT_TRUE(late.certificate.gap);
  EXPECT_GT(*late.certificate.gap, *all.certificate.gap);
  // The bound holds for all that the whole search knows.
  for (const RankedPlan& plan : all.ranked) EXPECT_LE(*late.least_undecided, plan.predictions[1].step_time);
  EXPECT_EQ(late.certificate.domain.front().claim, kSawAPart);
}

TEST(Search, SaysHowMuchMemoryWouldBeEnough) {
  const auto outcome = run(SmallSearch(4, gib(1)));
  const Infeasible& infeasible = std::get<Infeasible>(outcome);
  EXPECT_THAT(infeasible.reason,
              ::testing::MatchesRegex("nothing fits of what was tried, which is not all: the smallest that was tried "
                                      "\\(pp .* stages .*\\) needs at least 2.00 GiB on its fullest "
                                      "rank, unit has 1.00 GiB"));
  EXPECT_EQ(infeasible.hint, "search on with --time-budget, or use more devices or devices with more memory");
}

TEST(Search, SaysThatNothingFitsOnlyWhenAllWasSeen) {
  const SmallSearch small(4, gib(1));
  Domains domains = small.domains();
  domains.tp = domains.cp = domains.pp = domains.ep = domains.etp = {1};
  const auto outcome = run_in(domains, small);
  const Infeasible& infeasible = std::get<Infeasible>(outcome);
  EXPECT_TRUE(infeasible.saw_everything);
  EXPECT_EQ(infeasible.reason.substr(0, 13), "nothing fits:");
  EXPECT_EQ(infeasible.hint, "use more devices, devices with more memory, or a shorter sequence");
}

TEST(Search, NamesTheRuleThatLeavesNothingLegal) {
  const SmallSearch small(6, gib(16), {.seq = 64, .global_batch = 7});
  Domains domains = small.domains();
  domains.tp = domains.cp = domains.pp = {1};
  const auto outcome = run_in(domains, small);
  const Infeasible& infeasible = std::get<Infeasible>(outcome);
  EXPECT_THAT(
      infeasible.reason,
      ::testing::MatchesRegex(
          "no strategy is legal: of [0-9]+ ways to choose tp, cp, pp, ep, etp and "
          "micro_batch, the nearest to legal are [0-9]+ that break a rule about global_batch, for example: expected a "
          "multiple of 6 \\(data-parallel ranks\\), got 7"));
  EXPECT_EQ(infeasible.hint, "nearest multiples are 6 and 12");
}

std::string reason_in(const SmallSearch& small, std::initializer_list<const char*> conditions) {
  Domains domains = small.domains();
  for (const char* condition : conditions) keep_where(domains, condition);
  const auto outcome = run_in(domains, small);
  const auto* infeasible = std::get_if<Infeasible>(&outcome);
  return infeasible == nullptr ? "" : infeasible->reason;
}

// Degrees may be legal, and what runs them not.
TEST(Search, NamesTheRuleOfThePipelineThatLeavesNothingLegal) {
  const SmallSearch small(8);
  EXPECT_THAT(reason_in(small, {"schedule=zbv", "vpp=1"}),
              HasSubstr("ways to choose schedule, vpp and overlap.ep_batch_level, the nearest to legal are"));
  EXPECT_THAT(reason_in(small, {"schedule=zbv", "vpp=1"}),
              HasSubstr("a rule about schedule, for example: expected 2 chunks per rank, got 1"));
  EXPECT_THAT(reason_in(small, {"schedule=dualpipe", "vpp=2"}), HasSubstr("a rule about schedule, for example:"));
  EXPECT_THAT(reason_in(small, {"schedule=1f1b", "vpp=4"}),
              HasSubstr("a rule about schedule, for example: expected 1 chunk per rank, got 4"));
  EXPECT_THAT(reason_in(small, {"ep=1", "overlap.ep_batch_level=1"}),
              HasSubstr("a rule about overlap/ep_batch_level, for example: expected false, since ep is 1"));
  EXPECT_THAT(reason_in(small, {"overlap.dp_buckets=1", "zero_dense=2"}),
              HasSubstr("a rule about overlap/dp_buckets, for example: expected false, since ZeRO 2 and 3"));
}

// What is legal, and left out since it is as something else that is searched.
TEST(Search, SaysWhatItDoesNotSearchAlthoughNoRuleForbidsIt) {
  const SmallSearch small(8);
  for (const char* schedule : {"schedule=interleaved", "schedule=zb_h1", "schedule=dualpipe", "schedule=dualpipev"}) {
    EXPECT_THAT(reason_in(small, {"pp=1", schedule}), HasSubstr("no strategy is le")) << schedule;
  }
  EXPECT_THAT(reason_in(small, {"pp=1", "schedule=zb_h1"}), HasSubstr("with pp 1 only 1f1b and gpipe are searched"));
  EXPECT_THAT(reason_in(small, {"pp=1", "vpp=2"}),
              ::testing::ContainsRegex("no strategy is left: of [0-9]+ ways .* are legal, and not searched, for "
                                       "example: with pp 1 only 1f1b and gpipe are searched"));
  EXPECT_THAT(reason_in(small, {"tp=1", "ep=1", "overlap.delayed_wgrad=1"}), HasSubstr("weight gradients"));
  EXPECT_THAT(reason_in(small, {"tp=1", "overlap.tp=1"}), HasSubstr("since else nothing is gathered"));
}

// Each rank takes the fastest recomputation that fits; with work to weigh, a slower one may be better.
TEST(Search, CallsRecomputationHeuristicOnlyWhereWorkCounts) {
  const SmallSearch small(2);
  const auto claim = [&](const StepWeights& weights) {
    const SearchResult result = std::get<SearchResult>(run_in(small.domains(), small, weights));
    return std::ranges::find(result.certificate.domain, "recompute", &Certificate::Dimension::name)->claim;
  };
  EXPECT_EQ(claim({}).find("heuristic"), std::string::npos) << claim({});
  EXPECT_THAT(claim({.time = 0.5, .products = 0.5, .streaming = 0.5, .limit = 0.5}),
              ::testing::StartsWith("heuristic: per rank the fastest that fits, though a slower one may work less"));
}

// Of a head that takes as long as several layers, no listed layout leaves room for.
TEST(Search, LaysStagesByDynamicProgrammingAndSaysWhere) {
  SmallSearch small(4);
  small.model = testing::small_moe(12);
  small.model.vocab *= 64;
  Domains domains = small.domains();
  for (const char* condition : {"pp=4", "vpp=1", "schedule=1f1b"}) keep_where(domains, condition);
  std::erase_if(domains.layouts, [](const Layout& layout) { return layout.kind == Layout::Kind::equal_time; });
  Domains listed = domains;
  std::erase_if(listed.layouts, [](const Layout& layout) { return layout.kind == Layout::Kind::least_bottleneck; });
  const SearchResult with = std::get<SearchResult>(run_in(domains, small, {}, nullptr, kSeeAll));
  const SearchResult without = std::get<SearchResult>(run_in(listed, small, {}, nullptr, kSeeAll));
  const auto time = [](const SearchResult& result) { return result.ranked.front().predictions.back().step_time; };
  EXPECT_LT(time(with), time(without));
  EXPECT_EQ(with.certificate.gap, 0.0);
  const auto claim = [](const SearchResult& result, std::string_view name) {
    return std::ranges::find(result.certificate.domain, name, &Certificate::Dimension::name)->claim;
  };
  EXPECT_THAT(claim(with, "stages"), HasSubstr("; DP-optimal for the bottleneck of a stage on the "));
  EXPECT_THAT(claim(with, "recompute"), HasSubstr("per stage"));
  EXPECT_EQ(claim(without, "stages"), "exhaustive");
  // Two stages on a rank share its memory.
  domains = small.domains();
  for (const char* condition : {"pp=2", "vpp=2", "schedule=interleaved"}) keep_where(domains, condition);
  const SearchResult several = std::get<SearchResult>(run_in(domains, small));
  EXPECT_THAT(claim(several, "stages"), HasSubstr("; by dynamic programming, approximate, on the "));
  EXPECT_THAT(claim(several, "stages"), ::testing::Not(HasSubstr("DP-optimal")));
  // Without a pipeline there is nothing to lay.
  domains = small.domains();
  keep_where(domains, "pp=1");
  EXPECT_EQ(claim(std::get<SearchResult>(run_in(domains, small, {}, nullptr, kSeeAll)), "stages"), "exhaustive");
}

TEST(Search, TellsHowFarEachTierIs) {
  std::map<std::string, Progress> last;
  run(SmallSearch(2), nullptr, {}, [&](const Progress& progress) {
    Progress& of_tier = last[std::string(progress.tier)];
    EXPECT_GE(progress.done, of_tier.total == progress.total ? of_tier.done : 0);
    EXPECT_LE(progress.done, progress.total);
    EXPECT_GE(progress.evaluated, of_tier.evaluated);
    if (of_tier.best) {
      EXPECT_LE(*progress.best, *of_tier.best);
    }
    of_tier = progress;
  });
  EXPECT_EQ(last["closed"].done, last["closed"].total);
  EXPECT_EQ(last["analytic"].done, last["analytic"].total);
  const SearchResult result = plans_of(SmallSearch(2));
  EXPECT_EQ(last["analytic"].evaluated, result.certificate.tiers[2].evaluated);
  EXPECT_GT(last["analytic"].pruned, 0);
  EXPECT_GE(*last["analytic"].best, result.ranked.front().predictions[1].step_time);
  EXPECT_GE(*last["analytic"].gap, *result.certificate.gap) << "what comes last is not in it yet";
}

}  // namespace
}  // namespace orrery::planner
