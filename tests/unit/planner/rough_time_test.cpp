// SPDX-License-Identifier: Apache-2.0
#include "planner/rough_time.h"

#include "tests/unit/planner/fit_plan.h"

#include <functional>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

/// A model whose arithmetic outweighs the overhead of its kernels, on four nodes.
Plan wide_plan() {
  Plan plan = testing::plan_that_needs(1.0, 4);
  plan.model = testing::small_mla();
  plan.model.hidden = 4096;
  plan.model.dense_width = 8192;
  plan.model.moe->expert_width = 4096;
  plan.model.moe->shared_width = 4096;
  plan.strategy = testing::small_strategy(plan.model, 2, 2);
  plan.cluster.groups[0].device.peak[DType::bf16] = flops_per_second(1e14);
  plan.batch = {.seq = 4096, .global_batch = 64};
  return plan;
}

double ratio(const Plan& plan, const std::function<void(Strategy&)>& change) {
  const RoughTime time(plan);
  Strategy changed = plan.strategy;
  change(changed);
  return time.step(changed) / time.step(plan.strategy);
}

std::function<void(Strategy&)> recompute(const std::set<RecomputeModule>& modules) {
  return [modules](Strategy& s) {
    for (StageLayout& stage : s.stages) stage.recompute = modules;
  };
}

TEST(RoughTime, RecomputingALayerCostsAtMostAForward) {
  const Plan plan = wide_plan();
  const double full = ratio(plan, recompute({RecomputeModule::full}));
  EXPECT_GT(full, 1.05);
  EXPECT_LT(full, 1.5);
  for (const RecomputeModule module :
       {RecomputeModule::layernorm, RecomputeModule::core_attn, RecomputeModule::mla_up_proj, RecomputeModule::moe,
        RecomputeModule::moe_act, RecomputeModule::shared_experts}) {
    const double part = ratio(plan, recompute({module}));
    EXPECT_GT(part, 1.0) << name_of(module);
    EXPECT_LT(part, full) << name_of(module);
  }
  EXPECT_EQ(ratio(plan, recompute({RecomputeModule::mlp})), 1.0) << "the busiest rank has no dense layer";
  EXPECT_LT(ratio(plan, recompute({RecomputeModule::layernorm})), ratio(plan, recompute({RecomputeModule::moe})));
}

TEST(RoughTime, ChargesMessages) {
  Plan plan = wide_plan();
  plan.batch.global_batch = 4096;  // bubbles and the exchange at the end are small beside so many micro-batches
  EXPECT_GT(ratio(plan, [](Strategy& s) { s.ep = 4; }), 1.0);
  EXPECT_GT(ratio(plan, [](Strategy& s) { s.tp = 2, s.sp = true; }), 1.0);
  EXPECT_GT(ratio(plan, [](Strategy& s) { s.cp = 2; }), 1.0);
  EXPECT_GT(ratio(plan, [](Strategy& s) { s.offload_activations = true; }), 1.0);
}

TEST(RoughTime, ChargesBubblesAndTheEndOfAStep) {
  const Plan plan = wide_plan();
  EXPECT_LT(ratio(plan, [](Strategy& s) { s.zero_dense = s.zero_expert = 1; }), 1.0) << "bf16 weights go back";
  EXPECT_GT(ratio(plan, [](Strategy& s) { s.zero_dense = s.zero_expert = 2; }), 1.0);
  EXPECT_GT(ratio(plan, [](Strategy& s) { s.zero_dense = s.zero_expert = 3; }), 1.0);
  EXPECT_GT(ratio(plan, [](Strategy& s) { s.offload_optimizer = true; }), 1.0);
  EXPECT_EQ(ratio(plan, [](Strategy& s) { s.schedule = Schedule::gpipe; }), 1.0);
  EXPECT_LT(ratio(plan, [](Strategy& s) { s.schedule = Schedule::zb_h1; }), 1.0);
}

TEST(RoughTime, TheBusiestRankSetsThePace) {
  const Plan plan = wide_plan();
  EXPECT_GT(ratio(plan,
                  [](Strategy& s) {
                    s.stages[0].num_layers = 3;
                    s.stages[1] = {.first_layer = 3, .num_layers = 1, .head = true};
                  }),
            1.2);
}

TEST(RoughTime, KnowsEverySchedule) {
  Plan plan = wide_plan();
  const RoughTime time(plan);
  for (const Schedule schedule : {Schedule::gpipe, Schedule::one_f_one_b, Schedule::interleaved, Schedule::zb_h1,
                                  Schedule::zb_h2, Schedule::zbv, Schedule::dualpipe, Schedule::dualpipev}) {
    const std::int64_t vpp = testing::least_vpp(schedule);
    const Strategy strategy = testing::staged_strategy(plan.model, schedule, 2, vpp, 2);
    EXPECT_GT(time.step(strategy), Seconds::zero()) << name_of(schedule);
    EXPECT_LT(time.step(strategy) / time.step(plan.strategy), 1.3) << name_of(schedule);
  }
}

TEST(RoughTime, NeedsNothingThatAClusterMayNotState) {
  Plan plan = wide_plan();
  NodeGroup& group = plan.cluster.groups[0];
  group.device.peak.clear();
  group.device.memory_bandwidth.reset();
  group.scale_up.per_device.reset();
  group.nics->each.reset();
  group.host.pcie.reset();
  EXPECT_GT(RoughTime(plan).step(plan.strategy), Seconds::zero());
  group.nics.reset();
  EXPECT_GT(RoughTime(plan).step(plan.strategy), Seconds::zero());
}

}  // namespace
}  // namespace orrery::planner
