// SPDX-License-Identifier: Apache-2.0
// Bounds of whole pipelines against members of random families, each on a device that it just fits; and by hand.
#include "planner/pipeline_bound.h"

#include "costmodel/cached_cost_model.h"
#include "costmodel/forwarding_cost_model.h"
#include "costmodel/op_times.h"
#include "planner/domains.h"
#include "planner/pipeline_scan.h"
#include "program/legality.h"
#include "program/lower.h"
#include "program/schedule.h"
#include "tests/unit/costmodel/enlarged_cases.h"
#include "tests/unit/planner/random_family.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using testing::bare;
using testing::kNoCutoff;

/// The space around one strategy: whatever its slots hide, its sharding, offload and recomputation.
Domains around(const Model& model, const Strategy& s) {
  Domains d = testing::shardings_around(model, s);
  d.overlap_tp = d.delayed_wgrad = d.shared_expert = d.ep_batch_level = {0, 1};
  d.recompute = recompute_choices(model);
  d.schedule = {s.schedule};
  d.pp = {s.pp};
  d.vpp = {s.vpp};
  d.base = s;
  return d;
}

Strategy without_pipeline(const Strategy& strategy) {
  Strategy s = strategy;
  s.overlap = {};
  s.stages.clear();
  s.pp = s.vpp = 1;
  s.schedule = Schedule::one_f_one_b;
  return s;
}

PipelineChoice pipeline_of(const Strategy& s, const BatchShape& batch, std::int64_t num_devices) {
  return {.schedule = s.schedule,
          .pairs = s.overlap.ep_batch_level,
          .pp = s.pp,
          .vpp = s.vpp,
          .num_micro_batches = batch.global_batch / (Mesh(s, num_devices).dp() * s.micro_batch)};
}

TEST(PipelineBound, IsAtMostTheTimeOfWhateverFits) {
  const costmodel::CachedCostModel cached(testing::h800().cost);
  std::int64_t num_members = 0, num_near = 0, num_more_than_operators = 0, num_for_memory = 0;
  testing::for_varied_cases(700, [&](const testing::RandomCase& drawn, std::uint64_t index) {
    testing::RandomCase c = testing::enlarged(drawn);
    c.strategy = bare(c.strategy);
    if (!testing::is_legal(c)) return;
    Domains d = around(c.model, c.strategy);
    // Where states are many and nothing goes to the host, memory binds.
    if (index % 2 == 0) d.zero_dense = d.zero_expert = d.offload_optimizer = {0};
    if (index % 3 != 0) d.offload_activations = {0};
    const LoadModel load = BalancedLoad{};
    const FullestShare share(c.model, load);
    FamilyContext context{.model = c.model,
                          .domains = d,
                          .batch = c.batch,
                          .num_devices = c.num_devices,
                          .memory_model = {.reserve = {}},
                          .fullest_share = share,
                          .limit = gib(1e9)};
    const Strategy operators = without_pipeline(c.strategy);
    const PipelineChoice choice = pipeline_of(c.strategy, c.batch, c.num_devices);
    const Seconds roomy = PipelineBound(context, operators, cached).of(choice);
    const auto check = [&](const Member& member) {
      ++num_members;
      FamilyContext tight = context;
      tight.limit = member.memory;
      const Seconds bound = PipelineBound(tight, operators, cached).of(choice);
      const StepProgram program = lower(c.model, member.strategy, c.batch, c.num_devices);
      const Seconds time =
          costmodel::run_events(costmodel::time_program(program, cached, testing::h800().cluster, {}, {}), false)
              .makespan;
      EXPECT_LE(bound, time * (1.0 + 1e-12)) << index;
      EXPECT_LE(roomy, bound) << index;
      num_near += bound > 0.8 * time ? 1 : 0;
      num_for_memory += bound > roomy ? 1 : 0;
      const Seconds of_operators = operator_bound(tight, operators, cached);
      EXPECT_LE(of_operators, time * (1.0 + 1e-12)) << index;
      num_more_than_operators += bound > of_operators ? 1 : 0;
    };
    // Without recomputation, and what the smallest device takes on which something fits.
    std::uint64_t nth = 0;
    OperatorTable table(c.model, c.strategy, c.batch, c.num_devices, cached);
    Bytes least = gib(1e9);
    const auto keep = [&](const Member& member) {
      least = std::min(least, member.memory);
      if (nth++ % 23 == 0) check(member);
    };
    scan_family(context, c.strategy, table, cached, kNoCutoff, keep);
    for (const double part : {0.5, 0.7, 0.9}) {
      FamilyContext smaller = context;
      smaller.limit = part * least;
      std::int64_t num_checked = 0;
      scan_family(smaller, c.strategy, table, cached, kNoCutoff, [&](const Member& member) {
        if (num_checked++ % 5 == 0) check(member);
      });
    }
  });
  EXPECT_GT(num_members, 1000);
  EXPECT_GT(num_for_memory, 10);
  EXPECT_GT(num_more_than_operators, 100);
  RecordProperty("members", std::to_string(num_members));
  RecordProperty("within_a_fifth", std::to_string(num_near));
  RecordProperty("longer_for_memory", std::to_string(num_for_memory));
}

/// One kind of layer, four pipeline ranks, and everything in 1F1B.
struct Small {
  Model model = testing::small_moe(8);
  Strategy strategy;
  BatchShape batch{.seq = 4096, .global_batch = 4};
  Domains domains;
  LoadModel load = BalancedLoad{};
  FullestShare share{model, load};
  costmodel::CachedCostModel cost{testing::h800().cost};

  Small() {
    model.hidden *= 64;
    strategy = bare(testing::small_strategy(model, 4));
    domains = around(model, strategy);
    domains.overlap_tp = domains.delayed_wgrad = domains.shared_expert = domains.ep_batch_level = {0};
    domains.offload_activations = {0};
  }
  FamilyContext context(Bytes limit) const {
    return {.model = model,
            .domains = domains,
            .batch = batch,
            .num_devices = 4,
            .memory_model = {},
            .fullest_share = share,
            .limit = limit};
  }
  Seconds bound(Bytes limit) const {
    const FamilyContext of_limit = context(limit);
    return PipelineBound(of_limit, without_pipeline(strategy), cost).of(pipeline_of(strategy, batch, 4));
  }
};

/// Where nothing is gained by hiding collectives, and nobody waits for the host.
class ArithmeticAlone : public costmodel::ForwardingCostModel {
 public:
  using ForwardingCostModel::ForwardingCostModel;
  costmodel::CommTime collective(const CollectiveShape&, std::span<const DeviceIndex>) const override { return {}; }
  Seconds dispatch(const OpKey&, const OpShape&) const override { return {}; }
};

// Products of the small model take little but their start, so that slices take longer than the whole.
TEST(OperatorBound, AsksForWholeProductsAndForSlices) {
  Small small;
  small.model.hidden /= 64;
  small.strategy = bare(testing::small_strategy(small.model, 1));
  small.strategy.tp = 2;
  small.strategy.sp = true;
  const ArithmeticAlone cost(small.cost);
  const auto bound = [&](std::vector<int> slices) {
    small.domains.overlap_tp = std::move(slices);
    const FamilyContext context = small.context(gib(1e6));
    return operator_bound(context, without_pipeline(small.strategy), cost);
  };
  const Seconds whole = bound({0}), cut = bound({1});
  EXPECT_GT(cut, 1.01 * whole);
  EXPECT_EQ(bound({0, 1}), whole);
  small.strategy.sp = false;  // nothing can be cut then
  EXPECT_EQ(bound({0, 1}), bound({0}));
}

// With as many micro-batches as ranks a step takes 1 / (1 - (1 - 1/4)^4) of the work of one, instead of 4/4.
TEST(PipelineBound, KnowsHowLongAPipelineIs) {
  const Small small;
  const FamilyContext context = small.context(gib(1e6));
  PipelineBound bound(context, without_pipeline(small.strategy), small.cost);
  const Seconds work = bound.of({.pp = 1, .num_micro_batches = 1});
  EXPECT_NEAR(bound.of({.pp = 4, .num_micro_batches = 4}) / work, 1.0 / (1.0 - 0.75 * 0.75 * 0.75 * 0.75), 1e-12);
  EXPECT_NEAR(bound.of({.schedule = Schedule::dualpipe, .pp = 4, .num_micro_batches = 8}) / work, 2.0, 1e-12);
  const double split = bound.of({.schedule = Schedule::zb_h1, .pp = 4, .num_micro_batches = 4}) / work;
  EXPECT_GT(split, 1.0);
  EXPECT_LT(split, 1.3);
}

// Beside nothing, a micro-batch waits for its exchanges; of more, all but the first forward and the last backward hide
// them. In DualPipe the far stage of each rank warms up with as many forwards as there are ranks up to the middle.
TEST(PipelineBound, CountsExchangesOfSlotsThatRunAlone) {
  Small small;
  small.strategy.ep = 2;
  FamilyContext context = small.context(gib(1e6));
  context.num_devices = 8;
  PipelineBound bound(context, without_pipeline(small.strategy), small.cost);
  const auto of = [&](std::int64_t num_micro_batches, bool pairs) {
    return bound.of({.pairs = pairs, .pp = 1, .num_micro_batches = num_micro_batches});
  };
  const Seconds alone = of(1, false), none = of(1000, true) - of(999, true);
  EXPECT_NEAR(of(1, true) / alone, 1.0, 1e-12);
  EXPECT_LT(none, 0.99 * alone);
  EXPECT_NEAR((of(4, true) - of(3, true)) / none, 1.0, 1e-9);
  const Seconds dual = bound.of({.schedule = Schedule::dualpipe, .pp = 4, .num_micro_batches = 8});
  EXPECT_GT(dual, 1.01 * (8.0 / 4.0 * none));
}

TEST(PipelineBound, GrowsWhileMemoryShrinksUntilNothingFits) {
  const Small small;
  Seconds last = small.bound(gib(1e6));
  const Seconds roomy = last;
  double size = 4096.0;
  for (int step = 0; step < 58; ++step, size *= 0.8) {  // down to a hundredth
    const Seconds now = small.bound(gib(2.0) + gib(size));
    EXPECT_GE(now, last) << size;
    last = now;
  }
  EXPECT_GT(last, roomy);
  EXPECT_EQ(small.bound(gib(1.0)), kNoCutoff);
}

}  // namespace
}  // namespace orrery::planner
