// SPDX-License-Identifier: Apache-2.0
// Members of random families: bounds hold, memory is that of the formula, and what fits is found.
#include "planner/family.h"

#include "costmodel/cached_cost_model.h"
#include "costmodel/op_times.h"
#include "program/legality.h"
#include "program/lower.h"
#include "tests/unit/costmodel/enlarged_cases.h"
#include "tests/unit/planner/random_family.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using testing::bare;
using testing::kNoCutoff;

/// The space around one strategy: its sharding, offload and recomputation.
Domains around(const Model& model, const Strategy& strategy) {
  Domains d = testing::shardings_around(model, strategy);
  d.recompute = {{}, {RecomputeModule::layernorm}, {RecomputeModule::full}};
  return d;
}

TEST(Family, MembersHaveTheMemoryOfTheFormulaAndABoundUnderTheAnalyticTime) {
  const costmodel::CachedCostModel cached(testing::h800().cost);
  std::int64_t num_members = 0, num_tight = 0;
  testing::for_varied_cases(400, [&](const testing::RandomCase& drawn, std::uint64_t index) {
    testing::RandomCase c = testing::enlarged(drawn);
    c.strategy = bare(c.strategy);
    if (!testing::is_legal(c)) return;
    const Domains d = around(c.model, c.strategy);
    const LoadModel load = BalancedLoad{};
    const FullestShare share(c.model, load);
    const FamilyContext context{.model = c.model,
                                .domains = d,
                                .batch = c.batch,
                                .num_devices = c.num_devices,
                                .memory_model = {},
                                .fullest_share = share,
                                .limit = gib(1e9)};
    OperatorTable table(c.model, c.strategy, c.batch, c.num_devices, cached);
    std::uint64_t nth = 0;
    const FamilyCounts counts = scan_family(context, c.strategy, table, cached, kNoCutoff, [&](const Member& member) {
      ++num_members;
      const Strategy& s = member.strategy;
      ASSERT_TRUE(violations(c.model, s, c.batch, c.num_devices).empty()) << index;
      const Mesh mesh(s, c.num_devices);
      EXPECT_EQ(member.memory, costmodel::fullest(costmodel::memory_per_stage(c.model, s, c.batch, mesh, {}))) << index;
      if (nth++ % 7 != 0) return;
      const StepProgram program = lower(c.model, s, c.batch, c.num_devices);
      const Seconds time =
          costmodel::run_events(costmodel::time_program(program, cached, testing::h800().cluster, {}, {}), false)
              .makespan;
      EXPECT_LE(member.bound, time * (1.0 + 1e-12)) << index;
      num_tight += member.bound > 0.9 * time ? 1 : 0;
    });
    EXPECT_EQ(counts.too_large, 0);
    EXPECT_GT(counts.evaluated, 0);
  });
  EXPECT_GT(num_members, 1000);
  RecordProperty("members", std::to_string(num_members));
  RecordProperty("within_a_tenth", std::to_string(num_tight));
}

/// `strategy` with the stage `stage` recomputing `modules`.
Strategy with_recompute(Strategy strategy, std::size_t stage, const std::set<RecomputeModule>& modules) {
  strategy.stages[stage].recompute = modules;
  return strategy;
}

TEST(Family, RecomputesOnRanksThatWouldNotFitAndNowhereElse) {
  const costmodel::CachedCostModel cached(testing::h800().cost);
  Model model = testing::small_moe(4);
  model.hidden *= 64;
  Strategy s = testing::small_strategy(model, 4);
  const BatchShape batch{.seq = 4096, .global_batch = 8};
  Domains d = around(model, s);
  d.zero_dense = d.zero_expert = {0};
  d.offload_optimizer = d.offload_activations = d.dp_buckets = {0};
  const LoadModel load = BalancedLoad{};
  const FullestShare share(model, load);
  const std::vector<costmodel::MemoryByCause> ranks = costmodel::memory_per_stage(model, s, batch, Mesh(s, 4), {});
  // The limit is what the fullest rank needs with its layer norms recomputed: then, and with all, it fits.
  const std::size_t tight = static_cast<std::size_t>(
      std::max_element(ranks.begin(), ranks.end(), [](const auto& a, const auto& b) { return a.total() < b.total(); }) -
      ranks.begin());
  const Strategy norms = with_recompute(s, tight, {RecomputeModule::layernorm});
  const Bytes limit = costmodel::memory_per_stage(model, norms, batch, Mesh(s, 4), {})[tight].total();
  ASSERT_LT(limit, ranks[tight].total());
  const FamilyContext context{.model = model,
                              .domains = d,
                              .batch = batch,
                              .num_devices = 4,
                              .memory_model = {},
                              .fullest_share = share,
                              .limit = limit};
  OperatorTable table(model, s, batch, 4, cached);
  std::vector<Member> members;
  scan_family(context, s, table, cached, kNoCutoff, [&](const Member& member) { members.push_back(member); });
  ASSERT_EQ(members.size(), 1);
  for (std::size_t stage = 0; stage < 4; ++stage) {
    if (stage == tight || ranks[stage].total() > limit) continue;
    EXPECT_TRUE(members[0].strategy.stages[stage].recompute.empty()) << stage;
  }
  EXPECT_EQ(members[0].strategy.stages[tight].recompute, std::set{RecomputeModule::layernorm});
  EXPECT_LE(members[0].memory, limit);
}

}  // namespace
}  // namespace orrery::planner
