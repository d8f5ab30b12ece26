// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/gradient_buckets.h"

#include "program/flat_buffer.h"
#include "program/hf_config.h"
#include "tests/unit/program/lowering/lowered.h"
#include "tests/unit/program/reading.h"

namespace orrery {
namespace {

using testing::Lowered;
using testing::one_dense_layer;
using testing::small_strategy;

// Every unit is larger than 40e6 elements: attention 128 x 2048 and 2048 x 64, FFN 16384 x 2048 and 2048 x 8192 and two
// norms; the embedding 32768 x 2048; the head the same and a norm.
constexpr std::int64_t kLayer = 3 * 64 * 2048 + 3 * 8192 * 2048 + 2 * 2048;
constexpr std::int64_t kEmbedding = 32768 * 2048, kHead = kEmbedding + 2048;

Model large_dense() {
  Model model = one_dense_layer();
  model.hidden = 2048;
  model.vocab = 32768;
  model.dense_width = 8192;
  model.layers.assign(3, LayerKind::dense);
  return model;
}

Lowered bucketed(int zero, std::int64_t ranks = 2, std::int64_t instances = 1) {
  Strategy strategy = small_strategy(large_dense());
  strategy.zero_dense = zero;
  strategy.overlap.dp_buckets = true;
  strategy.num_optimizer_instances = instances;
  return {large_dense(), strategy, ranks, {.seq = 32, .global_batch = 2 * ranks}};
}

std::int64_t bytes(const Lowered& lowered, const std::string& op, Pass pass) {
  return lowered.collective(op, pass).bytes;
}

TEST(GradientBuckets, AreCutInTheOrderInWhichGradientsAreComplete) {
  const Lowered lowered = bucketed(1);
  EXPECT_EQ(lowered.names([](const OpKey& key) { return key.op == OpCode::dp_grad_rs; }),
            "dp.grad_rs.b0 dp.grad_rs.b1 dp.grad_rs.b2 dp.grad_rs.b3 dp.grad_rs.b4");
  EXPECT_EQ(bytes(lowered, "dp.grad_rs.b0", Pass::sync), kHead * 4);
  for (const std::string layer : {"dp.grad_rs.b1", "dp.grad_rs.b2", "dp.grad_rs.b3"}) {
    EXPECT_EQ(bytes(lowered, layer, Pass::sync), kLayer * 4) << layer;
  }
  EXPECT_EQ(bytes(lowered, "dp.grad_rs.b4", Pass::sync), kEmbedding * 4);
}

TEST(GradientBuckets, TogetherAreThePaddedFlatBuffer) {
  for (const std::int64_t ranks : {2, 3, 64}) {
    const Lowered lowered = bucketed(1, ranks);
    const FlatBuffer flat = flat_buffer(large_dense(), lowered.program.strategy.stages, lowered.program.strategy,
                                        lowered.program.mesh, FlatBufferKind::dense);
    std::int64_t sum = 0;
    for (OpIndex op = 0; op < lowered.ops().ops.size(); ++op) {
      if (lowered.key(op).op != OpCode::dp_grad_rs) continue;
      const std::int64_t of_bucket = lowered.shape<CollectiveShape>(op).bytes;
      EXPECT_EQ(of_bucket % (4 * ranks), 0) << lowered.name(op);  // every rank's shard of it is whole
      sum += of_bucket;
    }
    EXPECT_EQ(sum, flat.padded * 4) << ranks;
  }
}

TEST(GradientBuckets, OfALargeGroupAreLarger) {
  // 64 ranks: at least 64e6 elements, which a layer alone (51 million) is not.
  const Lowered lowered = bucketed(1, 64);
  EXPECT_EQ(lowered.names([](const OpKey& key) { return key.op == OpCode::dp_grad_rs; }),
            "dp.grad_rs.b0 dp.grad_rs.b1 dp.grad_rs.b2");
  EXPECT_EQ(bytes(lowered, "dp.grad_rs.b1", Pass::sync), 2 * kLayer * 4);
  EXPECT_EQ(bytes(lowered, "dp.grad_rs.b2", Pass::sync), (kLayer + kEmbedding) * 4);
}

TEST(GradientBuckets, ABucketIsReducedBehindTheLastBackwardOfItsUnit) {
  const Lowered lowered = bucketed(1);
  ASSERT_EQ(lowered.program.num_micro_batches, 2);
  const OpIndex last_of_layer = lowered.find("attn.norm", Pass::igrad, 2, 1);
  const OpIndex reduced = lowered.find("dp.grad_rs.b1", Pass::sync);
  EXPECT_TRUE(lowered.waits_for(reduced, last_of_layer));
  EXPECT_LT(reduced, lowered.find("mlp.fc2", Pass::igrad, 1, 1));
}

TEST(GradientBuckets, AtTheEndOfTheStepNothingIsLeftToExchange) {
  const Lowered lowered = bucketed(1);
  EXPECT_FALSE(lowered.has("dp.grad_rs"));
  EXPECT_FALSE(lowered.has("dp.param_ag"));
  const OpIndex norm = lowered.find("norm.local", Pass::sync);
  EXPECT_TRUE(lowered.waits_for(norm, lowered.find("dp.grad_rs.b4", Pass::sync)));
}

TEST(GradientBuckets, WeightsAreGatheredAtTheStartOfTheStepLastBucketFirst) {
  const Lowered lowered = bucketed(1);
  for (OpIndex op = 0; op < 5; ++op) EXPECT_EQ(lowered.name(op), "dp.param_ag.b" + std::to_string(4 - op));
  EXPECT_EQ(bytes(lowered, "dp.param_ag.b0", Pass::update), kHead * 2);
}

TEST(GradientBuckets, TheFirstForwardOfAUnitWaitsForItsWeightsAndNoLaterOneDoes) {
  const Lowered lowered = bucketed(1);
  const OpIndex gathered = lowered.find("dp.param_ag.b1", Pass::update);
  EXPECT_TRUE(lowered.waits_for(lowered.find("attn.norm", Pass::fwd, 2, 0), gathered));
  EXPECT_FALSE(lowered.waits_for(lowered.find("attn.norm", Pass::fwd, 1, 0), gathered));
  EXPECT_FALSE(lowered.waits_for(lowered.find("attn.norm", Pass::fwd, 2, 1), gathered));
}

TEST(GradientBuckets, OfStatesThatAreNotShardedAreSummedEverywhereAndNothingIsGathered) {
  const Lowered lowered = bucketed(0);
  EXPECT_EQ(lowered.collective("dp.grad_ar.b0", Pass::sync).kind, CollectiveKind::all_reduce);
  EXPECT_FALSE(lowered.has("dp.param_ag.b0"));
}

TEST(GradientBuckets, WithHybridShardingShardsOfABucketAreSummedOverInstances) {
  const Lowered lowered = bucketed(1, 4, 2);
  EXPECT_EQ(lowered.collective("dp.grad_rs.b0", Pass::sync).group, Group::dp_shard);
  EXPECT_EQ(lowered.collective("dp.replica_ar.b0", Pass::sync).group, Group::dp_replica);
  EXPECT_EQ(bytes(lowered, "dp.replica_ar.b0", Pass::sync), kHead / 2 * 4);
}

TEST(GradientBuckets, ExpertsHaveBucketsOfTheirOwn) {
  const Model model = read_model(testing::repository_path("catalog/models/deepseek-v3.json"));
  Strategy strategy = small_strategy(model, 1, 64);
  strategy.zero_dense = strategy.zero_expert = 1;
  strategy.overlap.dp_buckets = true;
  const Lowered lowered(model, strategy, 128, {.seq = 4096, .global_batch = 128});
  // Four experts of 3 x 2048 x 7168 elements in each of 58 layers: one layer is enough for a bucket over two ranks.
  constexpr std::int64_t kExperts = 4 * 3 * 2048 * 7168;
  for (std::int64_t bucket = 0; bucket < 58; ++bucket) {
    EXPECT_EQ(bytes(lowered, "edp.grad_rs.b" + std::to_string(bucket), Pass::sync), kExperts * 4) << bucket;
  }
  EXPECT_FALSE(lowered.has("edp.grad_rs.b58"));
}

}  // namespace
}  // namespace orrery
