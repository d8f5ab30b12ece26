// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/activation_offload.h"

#include "program/memory_replay.h"
#include "tests/unit/program/lowering/lowered.h"

namespace orrery {
namespace {

using testing::Lowered;
using testing::one_dense_layer;
using testing::small_moe;
using testing::small_strategy;
using R = TensorRole;

Model dense_layers(std::int64_t count) {
  Model model = one_dense_layer();
  model.layers.assign(static_cast<std::size_t>(count), LayerKind::dense);
  return model;
}

Lowered offloaded(const Model& model, bool offload = true) {
  Strategy strategy = small_strategy(model);
  strategy.offload_activations = offload;
  return {model, strategy};
}

TEST(ActivationOffload, SavedTensorsGoToTheHostBehindTheForwardOfTheirLayer) {
  const Lowered lowered = offloaded(dense_layers(2));
  const OpIndex stored = lowered.find("act.store.b0", Pass::fwd, 0);
  EXPECT_EQ(lowered.name(stored - 1), "mlp.residual");
  // In the order in which the backward asks for them.
  EXPECT_EQ(lowered.uses(stored), "act! fc1! norm2! x_mid! attn_out! qkv! lse! norm1! x!");
}

TEST(ActivationOffload, ACopyHasTheBytesOfWhatTheBackwardNeeds) {
  const Lowered lowered = offloaded(dense_layers(2));
  // 32 tokens: x, norm1, x_mid and norm2 of 64, qkv of 128, attn_out of 64, fc1 of 256 and act of 128 elements of bf16;
  // lse of 4 heads in f32.
  const std::int64_t expected = std::int64_t{32} * (2 * (4 * 64 + 128 + 64 + 256 + 128) + 4 * 4);
  const auto store = lowered.shape<CopyShape>("act.store.b0", Pass::fwd, 0);
  EXPECT_EQ(store.bytes, expected);
  EXPECT_TRUE(store.to_host);
  const auto load = lowered.shape<CopyShape>("act.load.b0", Pass::igrad, 0);
  EXPECT_EQ(load.bytes, expected);
  EXPECT_FALSE(load.to_host);
}

TEST(ActivationOffload, ALayerComesBackOneLayerAhead) {
  const Lowered lowered = offloaded(dense_layers(3));
  const OpIndex load = lowered.find("act.load.b0", Pass::igrad, 0, 0);
  EXPECT_LT(lowered.find("head.loss", Pass::igrad, Lowered::kAny, 0), load);
  EXPECT_LT(load, lowered.find("mlp.fc2", Pass::igrad, 1, 0));
  EXPECT_GT(load, lowered.find("attn.norm", Pass::igrad, 2, 0));
  EXPECT_TRUE(lowered.waits_for(lowered.find("mlp.fc2", Pass::wgrad, 0, 0), load) ||
              lowered.waits_for(lowered.find("mlp.act", Pass::igrad, 0, 0), load));
}

TEST(ActivationOffload, RowsThatTheRouterDecidesHaveACopyOfTheirOwn) {
  Strategy strategy = small_strategy(small_moe(2), 1, 2);
  strategy.offload_activations = true;
  const Lowered lowered(small_moe(2), strategy, 2);
  // Rows::Kind::received is 2: rows of experts. expert_in 64, expert_fc1 64 and expert_act 32 elements of bf16, and the
  // probability in f32.
  const auto copy = lowered.shape<CopyShape>("act.store.b2", Pass::fwd, 1);
  EXPECT_EQ(copy.bytes, 0);
  EXPECT_EQ(copy.rows, (Rows{Rows::Kind::received, 64}));
  EXPECT_EQ(copy.row_bytes, 2 * (64 + 64 + 32) + 4);
}

TEST(ActivationOffload, OffloadedActivationsLeaveTheDeviceUntilTheirBackward) {
  const Model model = dense_layers(8);
  const double kept = replay_memory(offloaded(model, false).ops(), 0.0).bytes.in(unit::byte);
  const double left = replay_memory(offloaded(model).ops(), 0.0).bytes.in(unit::byte);
  const double of_layer = 32 * (2 * (4 * 64 + 128 + 64 + 256 + 128) + 4 * 4);
  // Of eight layers at most two are there: one that goes back, and the one that comes ahead of its own.
  EXPECT_GE(kept - left, 5.0 * of_layer);
  EXPECT_GT(kept, 8.0 * of_layer);
}

TEST(ActivationOffload, WithoutItNothingIsCopied) {
  const Lowered lowered = offloaded(dense_layers(2), false);
  for (const Op& op : lowered.ops().ops) EXPECT_NE(op.queue, Queue::copy);
}

TEST(ActivationOffload, WhatIsRecomputedIsNotCopied) {
  Strategy strategy = small_strategy(dense_layers(2));
  strategy.offload_activations = true;
  for (StageLayout& stage : strategy.stages) stage.recompute = {RecomputeModule::full};
  const Lowered lowered(dense_layers(2), strategy);
  EXPECT_EQ(lowered.uses("act.store.b0", Pass::fwd, 0), "x!");
  EXPECT_EQ(lowered.shape<CopyShape>("act.store.b0", Pass::fwd, 0).bytes, 32 * 64 * 2);
}

}  // namespace
}  // namespace orrery
