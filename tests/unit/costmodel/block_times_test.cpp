// SPDX-License-Identifier: Apache-2.0
#include "costmodel/block_times.h"

#include "tests/unit/costmodel/unit_cost_model.h"
#include "tests/unit/program/small_models.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

const BatchShape kBatch{.seq = 64, .global_batch = 8};

/// One dense layer of a small model: four matrix products, the core and six other ops forward.
SlotTimes layer(Strategy strategy, std::int64_t world, const CostModel& cost) {
  const Model model = orrery::testing::small_moe();
  strategy.stages = even_stages(model.num_layers(), strategy.num_stages());
  const Mesh mesh(strategy, world);
  ClosedTimer timer(model, strategy, mesh, cost, {});
  timer.enter(0);
  Slots slots;
  HostWindows windows;
  BlockTimes block = block_times(attention_ops(model, strategy, kBatch, model.span(0)), timer);
  block += block_times(feed_forward_ops(model, strategy, kBatch, model.kind(0)), timer);
  place_communication(block, strategy);
  add_block(block, 1.0, communication_times(block, timer), slots, windows);
  wait_for_host(windows, strategy, slots.times);
  return slots.times;
}

SlotTimes layer(const Strategy& strategy, std::int64_t world, OverlapRule overlap = {}) {
  return layer(strategy, world, testing::UnitCostModel(overlap));
}

/// Every op takes a second of its device, and so long of its host.
class SlowHost : public testing::UnitCostModel {
 public:
  explicit SlowHost(Seconds dispatch) : dispatch_(dispatch) {}
  Seconds dispatch(const OpKey& /*key*/, const OpShape& /*shape*/) const override { return dispatch_; }

 private:
  Seconds dispatch_;
};

SlotTimes layer_of_slow_host(const Strategy& strategy, Seconds dispatch) {
  return layer(strategy, strategy.pp, SlowHost(dispatch));
}

Strategy sequence_parallel() {
  Strategy strategy;
  strategy.tp = 2;
  strategy.sp = true;
  return strategy;
}

TEST(BlockTimes, TakeAsLongAsAHostThatIsLate) {
  const SlotTimes late = layer_of_slow_host({}, seconds(2));
  EXPECT_EQ(late.forward, seconds(22));
  EXPECT_EQ(late.backward(), seconds(26));
  const SlotTimes in_time = layer_of_slow_host({}, seconds(0.9));
  EXPECT_EQ(in_time.forward, seconds(11));
  EXPECT_EQ(in_time.backward(), seconds(13));
}

TEST(BlockTimes, HaveAHostWindowForEachGradientWhereTheyAreApart) {
  Strategy strategy;
  strategy.pp = 2;
  strategy.schedule = Schedule::zb_h1;
  const SlotTimes late = layer_of_slow_host(strategy, seconds(2));
  EXPECT_EQ(late.input_grad, seconds(18));
  EXPECT_EQ(late.weight_grad, seconds(8));
}

TEST(BlockTimes, LeaveSixHundredthsOfTheHostTimeToGraphs) {
  Strategy strategy;
  strategy.cuda_graphs = true;
  EXPECT_EQ(layer_of_slow_host(strategy, seconds(10)).forward, seconds(11));
  EXPECT_DOUBLE_EQ(layer_of_slow_host(strategy, seconds(100)).forward.in(unit::second), 11 * 100 * 0.06);
}

TEST(BlockTimes, AddUpOnOneRank) {
  const SlotTimes slots = layer({}, 1);
  EXPECT_EQ(slots.forward, seconds(11));  // norms, qkv, rope, core, out, fc1, act, fc2, residuals
  EXPECT_EQ(slots.input_grad, seconds(9));
  EXPECT_EQ(slots.weight_grad, seconds(4));
}

TEST(BlockTimes, PutCollectivesOfTheForwardBehindArithmetic) {
  EXPECT_EQ(layer(sequence_parallel(), 2).forward, seconds(11 + 4 * 2));
}

// Eight products; beside them two sums and two gathers. The two gathers of output gradients come before.
TEST(BlockTimes, HideSumsAndSecondGathersBesideTheOtherGradient) {
  EXPECT_EQ(layer(sequence_parallel(), 2).backward(), seconds(13 + 2 * 2));
  const OverlapRule rule{.compute_slowdown = 0.5, .comm_slowdown = 0.0};
  EXPECT_NEAR(layer(sequence_parallel(), 2, rule).backward() / seconds(1), 13 + 2 * 2 + 8 - 8 / 1.5, 1e-12);
}

TEST(BlockTimes, HideNothingWhereWeightGradientsAreApart) {
  Strategy strategy = sequence_parallel();
  strategy.overlap.delayed_wgrad = true;
  EXPECT_EQ(layer(strategy, 2).backward(), seconds(13 + 6 * 2));
  strategy = sequence_parallel();
  strategy.schedule = Schedule::zb_h1;
  EXPECT_EQ(layer(strategy, 2).backward(), seconds(13 + 6 * 2));
}

// Rounds are ops of their own: four of them, and three hops.
TEST(BlockTimes, HideTheHopsOfARingBesideItsRounds) {
  Strategy strategy;
  strategy.cp = 4;
  EXPECT_EQ(layer(strategy, 4).forward, seconds(10 + 3 * 2));  // hops are longer than rounds
  EXPECT_EQ(layer(strategy, 4).input_grad, seconds(8 + 5 * 2 + 2));
  strategy.cp_kind = ContextParallel::all_gather;
  EXPECT_EQ(layer(strategy, 4).forward, seconds(11 + 2));
}

}  // namespace
}  // namespace orrery::costmodel
