// SPDX-License-Identifier: Apache-2.0
#include "planner/pareto.h"

#include "costmodel/analytic_interpreter.h"
#include "costmodel/memory.h"
#include "program/arrivals.h"
#include "program/legality.h"
#include "program/lower.h"
#include "program/schedule.h"
#include "tests/unit/planner/problem.h"
#include "traces/activities.h"

#include <algorithm>
#include <memory>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

constexpr SearchLimits kSeeAll{
    .num_families = 1'000'000, .num_refined = 1'000'000, .num_analytic = 1'000'000, .num_closing = 1'000'000};

/// A space that can be listed: four devices, two pipelines, ZeRO, offload and some recomputation.
struct SmallSpace {
  SmallSpace() {
    d = small.domains();
    d.tp = d.cp = d.etp = d.micro_batch = {1};
    d.pp = {1, 2};
    d.ep = {1, 4};
    d.vpp = {1};
    d.schedule = {Schedule::one_f_one_b};
    d.cp_kind = {ContextParallel::ring};
    d.dispatcher = {Dispatcher::all_to_all};
    d.zero_dense = d.zero_expert = {0, 1};
    d.dp_buckets = d.overlap_tp = d.ep_batch_level = d.delayed_wgrad = d.shared_expert = {0};
    d.offload_optimizer = {0, 1};
    d.offload_activations = {0};
    d.recompute = {{}, {RecomputeModule::layernorm}, {RecomputeModule::full}};
    d.layouts = {{Layout::Kind::even}};
    const auto cost = std::make_shared<testing::OneGigaflop>(small.cluster);
    const auto analytic = std::make_shared<costmodel::AnalyticInterpreter>(cost, small.cluster);
    search = [this, cost, analytic](std::optional<Bytes> limit, const StepWeights& weights) {
      SearchProblem problem = small.problem();
      problem.memory_limit = limit;
      problem.weights = weights;
      ++num_searches;
      return planner::search(d, problem, *cost, *analytic, nullptr, kSeeAll);
    };
    list(*analytic);
  }

  struct Point {
    Seconds step;
    Activities active;
    Bytes memory;
  };

  testing::SmallSearch small{4, gib(16), {.seq = 1024, .global_batch = 16}};
  Domains d;
  SearchWith search;
  std::vector<Point> all;
  int num_searches = 0;

 private:
  /// Every strategy, by nested loops.
  void list(const costmodel::AnalyticInterpreter& analytic) {
    Strategy s = d.base;
    for (const auto pp : d.pp)
      for (const auto ep : d.ep)
        for (const auto dense : d.zero_dense)
          for (const auto expert : d.zero_expert)
            for (const auto offload : d.offload_optimizer)
              for (const auto& first : d.recompute)
                for (const auto& last : d.recompute) {
                  s.pp = pp, s.ep = ep, s.zero_dense = dense, s.zero_expert = expert,
                  s.offload_optimizer = offload != 0;
                  s.stages = even_stages(small.model.num_layers(), pp);
                  s.stages.front().recompute = first;
                  s.stages.back().recompute = last;
                  if (!violations(small.model, s, small.batch, 4).empty()) continue;
                  const auto memory =
                      costmodel::memory_per_stage(small.model, s, small.batch, Mesh(s, 4),
                                                  costmodel::MemoryModel::of(small.cluster.groups.front().device));
                  const Trace trace = analytic.run(lower(small.model, s, small.batch, 4), {});
                  const Seconds step = trace.steps.front().time;
                  all.push_back({step, activities(trace), costmodel::fullest(memory)});
                }
  }
};

TEST(Pareto, OfTimeAndMemoryIsWhatListingFinds) {
  SmallSpace space;
  std::vector<SmallSpace::Point> front = space.all;
  std::erase_if(front, [&](const SmallSpace::Point& point) {
    return std::any_of(space.all.begin(), space.all.end(), [&](const SmallSpace::Point& other) {
      return other.step <= point.step && other.memory <= point.memory &&
             (other.step < point.step || other.memory < point.memory);
    });
  });
  std::sort(front.begin(), front.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  front.erase(std::unique(front.begin(), front.end(), [](const auto& a, const auto& b) { return a.step == b.step; }),
              front.end());
  const Front found = std::get<Front>(memory_front(space.search, {}, std::nullopt, 0));
  ASSERT_EQ(found.points.size(), front.size());
  for (std::size_t i = 0; i < front.size(); ++i) {
    EXPECT_EQ(found.points[i].plan.predictions.back().step_time, front[i].step) << i;
    EXPECT_EQ(found.points[i].plan.predictions.back().peak_memory, front[i].memory) << i;
    EXPECT_EQ(found.points[i].certificate.gap, 0.0);
  }
  EXPECT_GE(front.size(), 4);
  // With wide steps, some of these points and no others.
  const Front wide = std::get<Front>(memory_front(space.search, {}, std::nullopt, 4));
  EXPECT_LT(wide.points.size(), front.size());
  for (const FrontPoint& point : wide.points) {
    EXPECT_TRUE(std::any_of(front.begin(), front.end(), [&](const SmallSpace::Point& known) {
      return known.step == point.plan.predictions.back().step_time &&
             known.memory == point.plan.predictions.back().peak_memory;
    }));
  }
  // The last of them needs as little as there is, to a thousandth.
  const Bytes least = front.back().memory;
  EXPECT_LE(wide.points.back().plan.predictions.back().peak_memory, least * 1.001);
}

// Pipelines of which nothing fits take all that a search looks into, before it comes to one that is not slow.
TEST(Pareto, OfWhatNeedsLeastFindsAPlanNoSlowerThanInAPartOfTheSpace) {
  const testing::SmallSearch small(8, gib(16), {.seq = 1024, .global_batch = 16});
  const auto cost = std::make_shared<testing::OneGigaflop>(small.cluster);
  const costmodel::AnalyticInterpreter analytic(cost, small.cluster);
  const auto least_of = [&](const Domains& d) {
    const SearchWith few = [&](std::optional<Bytes> limit, const StepWeights&) {
      SearchProblem problem = small.problem();
      problem.memory_limit = limit;
      return search(d, problem, *cost, analytic, nullptr, {.num_families = 32});
    };
    return std::get<SearchResult>(search_least_memory(few, std::nullopt)).ranked.front().predictions.back();
  };
  Domains d = small.domains();
  d.cp = d.etp = d.micro_batch = {1};
  const Prediction of_all = least_of(d);
  d.offload_activations = {0};
  const Prediction of_a_part = least_of(d);
  EXPECT_LE(of_all.peak_memory, of_a_part.peak_memory);
  EXPECT_LE(of_all.step_time, of_a_part.step_time);
}

TEST(Pareto, LeastMemoryIsThatOfTheSmallestStrategyToAThousandth) {
  SmallSpace space;
  const auto least = std::min_element(space.all.begin(), space.all.end(),
                                      [](const auto& a, const auto& b) { return a.memory < b.memory; });
  const auto outcome = search_least_memory(space.search, std::nullopt);
  const auto& result = std::get<SearchResult>(outcome);
  ASSERT_TRUE(result.certificate.gap);
  EXPECT_LE(*result.certificate.gap, 1e-3);
  const Bytes found = result.ranked.front().predictions.back().peak_memory;
  EXPECT_LE((found - least->memory) / found, *result.certificate.gap);
  EXPECT_LT(space.num_searches, 16);
}

// All points that a weighted sum makes least are found, and no point that another one beats.
TEST(Pareto, OfTimeAndEnergyHasThePointsThatWeightsMakeLeast) {
  SmallSpace space;
  const StepWeights energy{.time = 0.1, .products = 1.2, .streaming = 0.4, .communication = 0.2, .limit = 0.9};
  // Half of the strategies fit: who recomputes less has to wait for copies.
  std::vector<Bytes> needs;
  for (const auto& point : space.all) needs.push_back(point.memory);
  std::sort(needs.begin(), needs.end());
  const Bytes limit = needs[needs.size() / 4];
  std::erase_if(space.all, [&](const auto& point) { return point.memory > limit; });
  const Front found = std::get<Front>(time_front(space.search, energy, limit, 100));
  for (double of_time = 0.0; of_time <= 1.0; of_time += 0.01) {
    const double rest = 1.0 - of_time;
    const StepWeights mixed{.time = of_time + rest * energy.time,
                            .products = rest * energy.products,
                            .streaming = rest * energy.streaming,
                            .communication = rest * energy.communication,
                            .limit = rest * energy.limit};
    Seconds best = seconds(1e9), known = best;
    for (const auto& point : space.all) best = std::min(best, mixed.of(point.step, point.active));
    for (const FrontPoint& point : found.points) {
      known = std::min(known, mixed.of(point.plan.predictions.back().step_time, point.plan.active));
    }
    EXPECT_NEAR(known / best, 1.0, 1e-8) << of_time;
  }
}

}  // namespace
}  // namespace orrery::planner
