// SPDX-License-Identifier: Apache-2.0
#include "costmodel/closed_step_end.h"

#include "tests/unit/costmodel/unit_cost_model.h"
#include "tests/unit/program/small_models.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

const SlotTimes kSlots{.forward = seconds(10),
                       .input_grad = seconds(10),
                       .weight_grad = seconds(10),
                       .forward_exchanges = {},
                       .backward_exchanges = {},
                       .message = {}};

/// The end of a step of a small MoE model on 8 ranks of one stage.
class StepEnd {
 public:
  explicit StepEnd(Strategy strategy) : strategy_(std::move(strategy)) {
    strategy_.stages = even_stages(model_.num_layers(), 1);
  }
  StepEndTimes times() {
    const Mesh mesh(strategy_, 8);
    ClosedTimer timer(model_, strategy_, mesh, cost_, {});
    timer.enter(0);
    return ClosedStepEnd(model_, strategy_, mesh, timer).times(strategy_.stages, kSlots);
  }
  SlotTimes sharded() {
    const Mesh mesh(strategy_, 8);
    ClosedTimer timer(model_, strategy_, mesh, cost_, {});
    timer.enter(0);
    SlotTimes slots = kSlots;
    reductions_ = ClosedStepEnd(model_, strategy_, mesh, timer).shard_slots(strategy_.stages[0], slots);
    return slots;
  }
  const ClosedStepEnd::Reductions& reductions() const { return reductions_; }

 private:
  const Model model_ = orrery::testing::small_moe();
  Strategy strategy_;
  const testing::UnitCostModel cost_;
  ClosedStepEnd::Reductions reductions_;
};

Strategy zero(int stage) {
  Strategy strategy;
  strategy.zero_dense = strategy.zero_expert = stage;
  return strategy;
}

TEST(ClosedStepEnd, ReducesDenseAndExpertGradientsSideBySide) {
  const StepEndTimes end = StepEnd(zero(0)).times();
  EXPECT_EQ(end.gradient_sync, seconds(2 + 1));  // and the squares of the shard
  EXPECT_EQ(end.update, seconds(1 + 1));
  EXPECT_EQ(end.states_load, seconds(0));
}

TEST(ClosedStepEnd, GathersDenseParametersBesideTheUpdateOfExperts) {
  EXPECT_EQ(StepEnd(zero(1)).times().update, seconds(1 + 1 + 2));
}

TEST(ClosedStepEnd, CastsGradientsThatTravelInAnotherType) {
  Strategy strategy = zero(1);
  strategy.grad_wire_dtype = DType::bf16;
  EXPECT_EQ(StepEnd(strategy).times().gradient_sync, seconds(2 + 1 + 1));
}

TEST(ClosedStepEnd, SumsShardsOverInstances) {
  Strategy strategy = zero(1);
  strategy.num_optimizer_instances = 2;
  EXPECT_EQ(StepEnd(strategy).times().gradient_sync, seconds(2 + 2 + 1));
}

TEST(ClosedStepEnd, LoadsAndStoresOffloadedStates) {
  Strategy strategy = zero(0);
  strategy.offload_optimizer = true;
  const StepEndTimes end = StepEnd(strategy).times();
  EXPECT_EQ(end.states_load, seconds(3));
  EXPECT_EQ(end.update, seconds(1 + 1 + 3));
}

TEST(ClosedStepEnd, GathersOverlappedBucketsBeforeTheFirstForward) {
  Strategy strategy = zero(1);
  strategy.overlap.dp_buckets = true;
  const StepEndTimes end = StepEnd(strategy).times();
  EXPECT_EQ(end.weights_gather, seconds(2));  // the model is one bucket
  EXPECT_EQ(end.gradient_sync, seconds(2 + 1));
  EXPECT_EQ(end.update, seconds(1 + 1));
}

// Six units: embedding, four layers, head; weights one unit ahead.
TEST(ClosedStepEnd, ShardedWeightsArriveBesideTheArithmeticButForTheFirst) {
  StepEnd end(zero(3));
  const SlotTimes slots = end.sharded();
  EXPECT_EQ(slots.forward, seconds(2 + 10));
  EXPECT_EQ(slots.backward(), seconds(2 + 20));
  EXPECT_EQ(end.reductions().all, seconds(12));
  EXPECT_EQ(end.reductions().last, seconds(2));
  const StepEndTimes times = end.times();
  EXPECT_EQ(times.gradient_sync, seconds(1));  // the squares
  EXPECT_EQ(times.update, seconds(1 + 1));     // weights stay in shards
}

TEST(ClosedStepEnd, ZeroTwoLeavesTheForwardAlone) {
  StepEnd end(zero(2));
  EXPECT_EQ(end.sharded().forward, kSlots.forward);
  EXPECT_EQ(end.times().update, seconds(1 + 1 + 2));
}

}  // namespace
}  // namespace orrery::costmodel
