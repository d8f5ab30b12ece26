// SPDX-License-Identifier: Apache-2.0
#include "costmodel/sharded_buffer.h"

#include "tests/unit/program/small_models.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

/// Bytes that each of 8 ranks sends for the dense parameters of a small model in `micro_batches`.
double sent(int zero, std::int64_t instances = 1, double micro_batches = 1.0) {
  const Model model = testing::small_moe();
  Strategy strategy = testing::small_strategy(model);
  strategy.zero_dense = zero;
  strategy.num_optimizer_instances = instances;
  const Mesh mesh(strategy, 8);
  return ShardedBuffer(model, strategy, mesh, strategy.stages, FlatBufferKind::dense).sent(micro_batches);
}

/// Elements: embedding and head, norms, attention of four layers, one dense feed-forward, three routers.
constexpr double kElements = 2.0 * 256 * 64 + 9 * 64 + 4 * (64.0 * 128 + 64 * 64) + 3.0 * 64 * 128 + 3 * 64.0 * 8;

TEST(ShardedBuffer, SendsWhatTheZeroPaperSays) {
  // Gradients in f32, weights in bf16; the elements are a multiple of 8.
  EXPECT_EQ(sent(0), 2.0 * 7.0 / 8.0 * kElements * 4.0);
  EXPECT_EQ(sent(1), 7.0 / 8.0 * kElements * (4.0 + 2.0));
  EXPECT_EQ(sent(2), sent(1));
  EXPECT_EQ(sent(2, 1, 3.0), 7.0 / 8.0 * kElements * (3.0 * 4.0 + 2.0));
  // Weights for the forward and, but for the lookup, for the backward.
  EXPECT_EQ(sent(3, 1, 3.0), 3.0 * 7.0 / 8.0 * (kElements * (4.0 + 2.0 + 2.0) - 256 * 64 * 2.0));
}

TEST(ShardedBuffer, SumsShardsOverTheInstancesOfHybridSharding) {
  EXPECT_EQ(sent(1, 2), 3.0 / 4.0 * kElements * 6.0 + 2.0 * 1.0 / 2.0 * kElements / 4.0 * 4.0);
  // Alone in its instance a rank shards nothing, whatever the stage.
  EXPECT_EQ(sent(1, 8), sent(0));
  EXPECT_EQ(sent(3, 8), sent(0));
}

TEST(ShardedBuffer, CountsFiveIterationsForEachMatrixOfMuon) {
  Model model = testing::small_moe(1);
  model.moe.reset();  // one dense layer: qkv 128 x 64, out 64 x 64, fc1 256 x 64, fc2 64 x 128
  Strategy strategy = testing::small_strategy(model);
  strategy.optimizer = OptimizerKind::muon;
  const Mesh mesh(strategy, 1);
  const auto matrix = [](double m, double n) { return 5.0 * (4.0 * m * m * n + 2.0 * m * m * m); };
  EXPECT_EQ(ShardedBuffer(model, strategy, mesh, strategy.stages, FlatBufferKind::dense).muon_flops(),
            matrix(64, 128) + matrix(64, 64) + matrix(64, 256) + matrix(64, 128));
  strategy.optimizer = OptimizerKind::adamw;
  EXPECT_EQ(ShardedBuffer(model, strategy, mesh, strategy.stages, FlatBufferKind::dense).muon_flops(), 0.0);
}

}  // namespace
}  // namespace orrery::costmodel
