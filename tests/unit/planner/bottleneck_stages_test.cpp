// SPDX-License-Identifier: Apache-2.0
// Stages by dynamic programming: against brute force over all compositions of the layers and all choices of
// recomputation, in whole strategies whose memory the formula tells; and that bounds hold for what it lays.
// ORRERY_BRUTE_FORCE_SPACES=200 tries more cases than the suite.
#include "planner/bottleneck_stages.h"

#include "base/parallel.h"
#include "base/rng.h"
#include "costmodel/cached_cost_model.h"
#include "costmodel/lower_bound.h"
#include "costmodel/op_times.h"
#include "planner/laid_members.h"
#include "program/legality.h"
#include "program/lower.h"
#include "program/schedule.h"
#include "tests/unit/costmodel/enlarged_cases.h"
#include "tests/unit/planner/problem.h"
#include "tests/unit/planner/random_family.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using testing::OneGigaflop;

/// Every rank is as full as any, of whatever model.
const FullestShare& balanced() {
  static const Model model = testing::small_moe();
  static const LoadModel load = BalancedLoad{};
  static const FullestShare share(model, load);
  return share;
}

/// A pipeline of one rank for each device, with what a search knows of it.
struct Case {
  Model model = testing::small_moe(8);
  Strategy strategy;
  BatchShape batch{.seq = 512, .global_batch = 8};
  Domains domains;
  Bytes limit = gib(1e9);
  costmodel::MemoryModel memory_model{.reserve = {}};

  std::int64_t num_devices() const { return strategy.pp; }
  FamilyContext context() const {
    return {.model = model,
            .domains = domains,
            .batch = batch,
            .num_devices = num_devices(),
            .memory_model = memory_model,
            .fullest_share = balanced(),
            .limit = limit};
  }
  std::vector<Bytes> memory(const Strategy& s) const {
    std::vector<Bytes> out;
    for (const auto& rank : costmodel::memory_per_stage(model, s, batch, Mesh(s, num_devices()), memory_model)) {
      out.push_back(rank.total());
    }
    return out;
  }
  Bytes fullest(const Strategy& s) const {
    const std::vector<Bytes> ranks = memory(s);
    return *std::max_element(ranks.begin(), ranks.end());
  }
};

/// Few or all choices of recomputation.
Case random_case(std::uint64_t index) {
  const CounterRng rng(23, index);
  Case c;
  const auto num_layers = static_cast<std::int64_t>(2 + rng.below(0, 7));
  c.model = index % 4 == 3 ? testing::small_mla() : testing::small_moe(num_layers);
  c.model.hidden *= 4;
  c.model.vocab <<= rng.below(1, 6);
  const std::int64_t n = c.model.num_layers();
  c.strategy.pp = static_cast<std::int64_t>(2 + rng.below(2, static_cast<std::uint64_t>(std::min<std::int64_t>(n, 3))));
  const std::array schedules = {Schedule::one_f_one_b, Schedule::gpipe, Schedule::zb_h1, Schedule::zb_h2};
  c.strategy.schedule = schedules[rng.below(3, schedules.size())];
  if (index % 3 == 2) {
    c.model.num_mtp_modules = 1;
    c.strategy.mtp = Mtp::on;
  }
  c.strategy.offload_activations = rng.below(4, 8) == 0;
  c.batch.global_batch = static_cast<std::int64_t>(1 + rng.below(5, 8));
  c.domains.recompute = recompute_choices(c.model);
  if (index % 8 != 0) {
    std::vector<std::set<RecomputeModule>> few = {{}};
    for (std::uint64_t i = 0; i < 4; ++i) {
      few.push_back(c.domains.recompute[1 + rng.below(6 + i, c.domains.recompute.size() - 1)]);
    }
    c.domains.recompute = few;
  }
  // Between what the even layout needs as it is, and what little of it would be enough.
  Strategy even = c.strategy;
  even.stages = even_stages(n, even.pp);
  if (even.mtp == Mtp::on) even.stages = with_mtp(std::move(even.stages), 1);
  c.limit = c.fullest(even) * (0.65 + 0.06 * static_cast<double>(rng.below(10, 9)));
  return c;
}

struct Best {
  Seconds longest = testing::kNoCutoff, sum = testing::kNoCutoff;
};

/// All compositions, with modules beside the head or on the stage behind or with the last layer. With one stage on a
/// rank, what one recomputes changes no other's memory, so that each choice is tried on all ranks at once.
class AllStages {
 public:
  AllStages(const Case& c, OperatorTable& table) : c_(c), table_(table) {}

  Best run() {
    stages_.assign(static_cast<std::size_t>(c_.strategy.pp), {});
    lay(0, 0, false);
    return best_;
  }

 private:
  void lay(std::size_t stage, std::int64_t first, bool has_modules) {
    const std::int64_t num_layers = c_.model.num_layers(), modules = c_.strategy.mtp == Mtp::on ? 1 : 0;
    const bool is_last = stage + 1 == stages_.size(), is_end = stage == 0 || is_last;
    for (std::int64_t count = is_last ? num_layers - first : 0; first + count <= num_layers; ++count) {
      for (std::int64_t num_mtp = 0; num_mtp <= modules; ++num_mtp) {
        if (num_mtp > 0 && (has_modules || first + count != num_layers)) continue;
        if (is_last && num_mtp == 0 && modules > 0 && !has_modules) continue;
        if (!is_end && count + num_mtp == 0) continue;
        stages_[stage] = {
            .first_layer = first, .num_layers = count, .embedding = stage == 0, .head = is_last, .num_mtp = num_mtp};
        if (is_last) {
          try_choices();
        } else {
          lay(stage + 1, first + count, has_modules || num_mtp > 0);
        }
      }
    }
  }

  void try_choices() {
    Strategy s = c_.strategy;
    s.stages = stages_;
    if (!violations(c_.model, s, c_.batch, c_.num_devices()).empty()) return;
    std::vector<Seconds> times(stages_.size(), testing::kNoCutoff);
    for (const auto& modules : c_.domains.recompute) {
      for (StageLayout& stage : s.stages) stage.recompute = modules;
      const std::vector<Bytes> memory = c_.memory(s);
      for (std::size_t i = 0; i < times.size(); ++i) {
        if (memory[i] <= c_.limit) times[i] = std::min(times[i], stage_times(table_, {s.stages[i]}).sum);
      }
    }
    Best best{.longest = {}, .sum = {}};
    for (const Seconds time : times) {
      best.longest = std::max(best.longest, time);
      best.sum += time;
    }
    if (std::pair(best.longest, best.sum) < std::pair(best_.longest, best_.sum)) best_ = best;
  }

  const Case& c_;
  OperatorTable& table_;
  std::vector<StageLayout> stages_;
  Best best_;
};

TEST(BottleneckStages, AreTheBestOfAllCompositionsAndAllRecomputation) {
  const char* wanted = std::getenv("ORRERY_BRUTE_FORCE_SPACES");
  const std::uint64_t num_cases = wanted == nullptr ? 60 : std::stoull(wanted);
  std::uint64_t num_laid = 0, num_recompute = 0, num_uneven = 0;
  for (std::uint64_t index = 0; index < num_cases; ++index) {
    const Case c = random_case(index);
    const FamilyContext context = c.context();
    const OneGigaflop cost(testing::small_cluster(1, c.num_devices()));
    OperatorTable table(c.model, c.strategy, c.batch, c.num_devices(), cost);
    const BottleneckStages::Laid laid = BottleneckStages(context, c.strategy.mtp, table).lay(c.strategy);
    OperatorTable other(c.model, c.strategy, c.batch, c.num_devices(), cost);
    const Best best = AllStages(c, other).run();
    ASSERT_EQ(laid.stages.empty(), best.longest == testing::kNoCutoff) << index;
    if (laid.stages.empty()) continue;
    ++num_laid;
    Strategy s = c.strategy;
    s.stages = laid.stages;
    EXPECT_TRUE(violations(c.model, s, c.batch, c.num_devices()).empty()) << index;
    EXPECT_EQ(laid.memory, c.fullest(s)) << index;
    EXPECT_LE(laid.memory, c.limit) << index;
    const StageTimes times = stage_times(other, laid.stages);
    EXPECT_EQ(times.longest, best.longest) << index;
    EXPECT_NEAR(times.sum / best.sum, 1.0, 1e-12) << index;
    num_recompute += std::ranges::any_of(s.stages, [](const auto& stage) { return !stage.recompute.empty(); }) ? 1 : 0;
    std::vector<StageLayout> bare = s.stages, even = even_stages(c.model.num_layers(), s.pp);
    for (StageLayout& stage : bare) stage.recompute.clear();
    if (s.mtp == Mtp::on) even = with_mtp(std::move(even), 1);
    num_uneven += bare != even ? 1 : 0;
  }
  EXPECT_GE(num_laid, num_cases / 2);
  EXPECT_GE(num_recompute, num_cases / 8);
  EXPECT_GE(num_uneven, num_cases / 8);
  RecordProperty("laid", std::to_string(num_laid));
  RecordProperty("recompute", std::to_string(num_recompute));
  RecordProperty("uneven", std::to_string(num_uneven));
}

Case pipeline_of_four() {
  Case c;
  c.model.layers.assign(8, LayerKind::moe);
  c.strategy.pp = 4;
  c.domains.recompute = recompute_choices(c.model);
  return c;
}

std::vector<StageLayout> lay(const Case& c) {
  const FamilyContext context = c.context();
  const OneGigaflop cost(testing::small_cluster(1, c.num_devices()));
  OperatorTable table(c.model, c.strategy, c.batch, c.num_devices(), cost);
  return BottleneckStages(context, c.strategy.mtp, table).lay(c.strategy).stages;
}

std::vector<std::int64_t> counts_of(const std::vector<StageLayout>& stages) {
  std::vector<std::int64_t> counts;
  for (const StageLayout& stage : stages) counts.push_back(stage.num_layers);
  return counts;
}

TEST(BottleneckStages, TakeLayersOffAHeavyHead) {
  Case c = pipeline_of_four();
  EXPECT_THAT(counts_of(lay(c)), ::testing::Each(::testing::Ge(1)));
  c.model.vocab *= 512;
  const std::vector<StageLayout> stages = lay(c);
  EXPECT_EQ(stages.back().num_layers, 0);
  const OneGigaflop cost(testing::small_cluster(1, 4));
  OperatorTable table(c.model, c.strategy, c.batch, 4, cost);
  EXPECT_LT(stage_times(table, stages).longest, stage_times(table, even_stages(8, 4)).longest);
}

// In 1F1B the first ranks hold most micro-batches. All fit without recomputation but the first two.
TEST(BottleneckStages, RecomputeOnEarlyStagesWhereOnlyTheyNeedTo) {
  Case c = pipeline_of_four();
  c.model.vocab = 16;
  c.batch.seq = 4096;
  Strategy even = c.strategy;
  even.stages = even_stages(8, 4);
  const std::vector<Bytes> memory = c.memory(even);
  ASSERT_GT(memory[1], memory[2]);
  c.limit = 0.5 * (memory[1] + memory[2]);
  // Layers of an early stage would be dearer anywhere else.
  const std::vector<StageLayout> stages = lay(c);
  ASSERT_EQ(stages.size(), 4);
  EXPECT_THAT(counts_of(stages), ::testing::ElementsAre(2, 2, 2, 2));
  EXPECT_FALSE(stages[0].recompute.empty());
  EXPECT_FALSE(stages[1].recompute.empty());
  EXPECT_TRUE(stages[2].recompute.empty());
  EXPECT_TRUE(stages[3].recompute.empty());
  EXPECT_EQ(lay(c), stages);
  c.limit = bytes(1e3);
  EXPECT_TRUE(lay(c).empty());
}

TEST(LayAnew, AddsOnePlanForThoseThatDifferInStagesUnlessOneIsAsGood) {
  Case c = pipeline_of_four();
  c.model.vocab *= 512;
  const FamilyContext context = c.context();
  const OneGigaflop cost(testing::small_cluster(1, 4));
  std::vector<WorkerCosts> costs(static_cast<std::size_t>(num_workers()),
                                 {costmodel::CachedCostModel(cost), costmodel::PieceTimes(c.model, c.batch)});
  Member even{.strategy = c.strategy, .bound = seconds(1), .memory = {}, .work_bound = seconds(0.5)}, fewer = even;
  even.strategy.stages = even_stages(8, 4);
  fewer.strategy.stages = even_stages(8, 4, false, true);
  const LaidMembers laid = lay_anew(context, std::vector<const Member*>{&even, &fewer}, costs);
  EXPECT_EQ(laid.num_laid, 1);
  EXPECT_EQ(laid.num_approximate, 0);
  ASSERT_EQ(laid.members.size(), 1);
  EXPECT_EQ(laid.members[0].strategy.stages, lay(c));
  EXPECT_EQ(laid.members[0].memory, c.fullest(laid.members[0].strategy));
  EXPECT_EQ(laid.members[0].bound, seconds(0.5));
  const LaidMembers again = lay_anew(context, std::vector<const Member*>{&even, &laid.members[0]}, costs);
  EXPECT_EQ(again.num_laid, 1);
  EXPECT_TRUE(again.members.empty());
}

// Of every schedule, also those with several stages on a rank, on devices that have less than the drawn layout needs.
TEST(BottleneckStages, FitAndTakeAtLeastTheirBound) {
  const costmodel::CachedCostModel cached(testing::h800().cost);
  std::int64_t num_laid = 0, num_several = 0, num_recompute = 0;
  testing::for_varied_cases(700, [&](const testing::RandomCase& drawn, std::uint64_t index) {
    testing::RandomCase c = testing::enlarged(drawn);
    c.strategy = testing::bare(c.strategy);
    c.strategy.zero_dense = c.strategy.zero_expert = static_cast<int>(index % 2);
    if (!testing::is_legal(c) || c.strategy.num_stages() == 1) return;
    Domains d;
    d.recompute = recompute_choices(c.model);
    const LoadModel load = BalancedLoad{};
    const FullestShare share(c.model, load);
    const costmodel::MemoryModel memory_model{.reserve = {}};
    const Mesh mesh(c.strategy, c.num_devices);
    const auto fullest = [&](const Strategy& s) {
      return costmodel::fullest(costmodel::memory_per_stage(c.model, s, c.batch, mesh, memory_model));
    };
    const FamilyContext context{.model = c.model,
                                .domains = d,
                                .batch = c.batch,
                                .num_devices = c.num_devices,
                                .memory_model = memory_model,
                                .fullest_share = share,
                                .limit = (0.75 + 0.1 * static_cast<double>(index % 4)) * fullest(c.strategy)};
    OperatorTable table(c.model, c.strategy, c.batch, c.num_devices, cached);
    const BottleneckStages::Laid laid = BottleneckStages(context, c.strategy.mtp, table).lay(c.strategy);
    if (laid.stages.empty()) return;
    Strategy s = c.strategy;
    s.stages = laid.stages;
    ASSERT_TRUE(violations(c.model, s, c.batch, c.num_devices).empty()) << index;
    EXPECT_EQ(laid.memory, fullest(s)) << index;
    EXPECT_LE(laid.memory, context.limit) << index;
    const Seconds time = costmodel::run_events(costmodel::time_program(lower(c.model, s, c.batch, c.num_devices),
                                                                       cached, testing::h800().cluster, {}, {}),
                                               false)
                             .makespan;
    EXPECT_LE(costmodel::lower_bound(c.model, s, c.batch, mesh, cached), time * (1.0 + 1e-12)) << index;
    ++num_laid;
    num_several += stages_of(s, 0).size() > 1 ? 1 : 0;
    num_recompute +=
        std::ranges::any_of(s.stages, [&](const auto& stage) { return stage.recompute != s.stages.front().recompute; })
            ? 1
            : 0;
  });
  EXPECT_GT(num_laid, 100);
  EXPECT_GT(num_several, 30);
  EXPECT_GT(num_recompute, 20);
  RecordProperty("laid", std::to_string(num_laid));
  RecordProperty("several", std::to_string(num_several));
  RecordProperty("stages_that_differ", std::to_string(num_recompute));
}

}  // namespace
}  // namespace orrery::planner
