// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/program/lowering/lowered.h"

namespace orrery {
namespace {

using testing::Lowered;
using testing::one_dense_layer;
using testing::small_mla;
using testing::small_moe;
using testing::small_strategy;
using testing::text_of;
using R = TensorRole;

// Attention 128 x 64 and 64 x 64, FFN 256 x 64 and 64 x 128, three norms of 64, embedding and head 256 x 64.
constexpr std::int64_t kElements = 128 * 64 + 64 * 64 + 256 * 64 + 64 * 128 + 3 * 64 + 2 * 256 * 64;

Strategy dense_strategy(int zero) {
  Strategy strategy = small_strategy(one_dense_layer());
  strategy.zero_dense = zero;
  return strategy;
}

TEST(StepEnd, OneDeviceUpdatesItsWeightsAndExchangesOnlyTheNorm) {
  const Lowered lowered(one_dense_layer(), dense_strategy(0));
  EXPECT_EQ(lowered.of_step(), "norm.local norm.reduce adamw.dense");
  EXPECT_EQ(lowered.shape<MemoryShape>("adamw.dense", Pass::update).rows.count, kElements);
  EXPECT_EQ(text_of(lowered.collective("norm.reduce", Pass::sync)), "all_reduce 32");
}

TEST(StepEnd, WithoutShardingGradientsAreSummedEverywhere) {
  const Lowered lowered(one_dense_layer(), dense_strategy(0), 2);
  EXPECT_EQ(lowered.of_step(), "dp.grad_ar norm.local norm.reduce adamw.dense");
  EXPECT_EQ(text_of(lowered.collective("dp.grad_ar", Pass::sync)), "all_reduce " + std::to_string(kElements * 4));
  EXPECT_EQ(lowered.shape<MemoryShape>("norm.local", Pass::sync).rows.count, kElements / 2);
}

TEST(StepEnd, ShardedStatesScatterGradientsAndGatherWeights) {
  const Lowered lowered(one_dense_layer(), dense_strategy(1), 2);
  EXPECT_EQ(lowered.of_step(), "dp.grad_rs norm.local norm.reduce adamw.dense dp.param_ag");
  EXPECT_EQ(text_of(lowered.collective("dp.grad_rs", Pass::sync)), "reduce_scatter " + std::to_string(kElements * 4));
  EXPECT_EQ(text_of(lowered.collective("dp.param_ag", Pass::update)), "all_gather " + std::to_string(kElements * 2));
  EXPECT_EQ(lowered.shape<MemoryShape>("adamw.dense", Pass::update).rows.count, kElements / 2);
}

TEST(StepEnd, HybridShardingShardsInAnInstanceAndSumsShardsOverInstances) {
  Strategy strategy = dense_strategy(1);
  strategy.num_optimizer_instances = 2;
  const Lowered lowered(one_dense_layer(), strategy, 4);
  EXPECT_EQ(lowered.of_step(), "dp.grad_rs dp.replica_ar norm.local norm.reduce adamw.dense dp.param_ag");
  EXPECT_EQ(lowered.collective("dp.grad_rs", Pass::sync).group, Group::dp_shard);
  EXPECT_EQ(lowered.collective("dp.param_ag", Pass::update).group, Group::dp_shard);
  const CollectiveShape over = lowered.collective("dp.replica_ar", Pass::sync);
  EXPECT_EQ(over.group, Group::dp_replica);
  EXPECT_EQ(text_of(over), "all_reduce " + std::to_string(kElements / 2 * 4));
  EXPECT_EQ(lowered.shape<MemoryShape>("adamw.dense", Pass::update).rows.count, kElements / 2);
}

TEST(StepEnd, GradientsAreCastToTheTypeInWhichTheyTravel) {
  Strategy strategy = dense_strategy(1);
  strategy.grad_wire_dtype = DType::bf16;
  const Lowered lowered(one_dense_layer(), strategy, 2);
  EXPECT_EQ(lowered.of_step(), "dp.grad_cast dp.grad_rs norm.local norm.reduce adamw.dense dp.param_ag");
  EXPECT_EQ(lowered.uses("dp.grad_cast", Pass::sync), "+wire_grads");
  EXPECT_EQ(lowered.uses("dp.grad_rs", Pass::sync), "wire_grads!");
  EXPECT_EQ(text_of(lowered.collective("dp.grad_rs", Pass::sync)), "reduce_scatter " + std::to_string(kElements * 2));
  const auto cast = lowered.shape<MemoryShape>("dp.grad_cast", Pass::sync);
  EXPECT_EQ(cast.read_per_row, 4);
  EXPECT_EQ(cast.written_per_row, 2);
}

TEST(StepEnd, GradientsInTheirOwnTypeAreNotCast) {
  Strategy strategy = dense_strategy(1);
  strategy.grad_dtype = strategy.grad_wire_dtype = DType::bf16;
  const Lowered lowered(one_dense_layer(), strategy, 2);
  EXPECT_FALSE(lowered.has("dp.grad_cast"));
  EXPECT_EQ(text_of(lowered.collective("dp.grad_rs", Pass::sync)), "reduce_scatter " + std::to_string(kElements * 2));
}

TEST(StepEnd, ExpertsHaveTheirOwnBufferGroupAndQueue) {
  Strategy strategy = small_strategy(small_moe(2), 1, 2);
  strategy.zero_expert = 1;
  const Lowered lowered(small_moe(2), strategy, 4);
  // Four experts of 64 x 64 and 64 x 32 on each rank, over two ranks; the dense buffer is summed over all four.
  const std::int64_t elements = 4 * (64 * 64 + 64 * 32);
  EXPECT_EQ(text_of(lowered.collective("edp.grad_rs", Pass::sync)), "reduce_scatter " + std::to_string(elements * 4));
  EXPECT_EQ(lowered.collective("edp.grad_rs", Pass::sync).group, Group::edp);
  EXPECT_EQ(lowered.ops().ops[lowered.find("edp.grad_rs", Pass::sync)].queue, Queue::edp);
  EXPECT_EQ(lowered.collective("dp.grad_ar", Pass::sync).group, Group::dp);
  EXPECT_EQ(lowered.shape<MemoryShape>("adamw.expert", Pass::update).rows.count, elements / 2);
}

TEST(StepEnd, GradientsOfRepeatedWeightsAreSummedOverTheRanksThatSplitTheTokens) {
  Strategy strategy = dense_strategy(0);
  strategy.tp = 2;
  EXPECT_FALSE(Lowered(one_dense_layer(), strategy, 2).has("tp.grad_ar"));
  strategy.sp = true;
  const Lowered lowered(one_dense_layer(), strategy, 2);
  EXPECT_EQ(text_of(lowered.collective("tp.grad_ar", Pass::sync)), "all_reduce " + std::to_string(3 * 64 * 4));
}

TEST(StepEnd, TheRouterIsOneOfTheRepeatedWeights) {
  Strategy strategy = small_strategy(small_moe(2));
  strategy.tp = 2;
  strategy.sp = true;
  const Lowered lowered(small_moe(2), strategy, 2);
  EXPECT_EQ(text_of(lowered.collective("tp.grad_ar", Pass::sync)),
            "all_reduce " + std::to_string((5 * 64 + 8 * 64) * 4));
}

TEST(StepEnd, WithoutSequenceParallelismNormsThatHeadsShareAreStillSummed) {
  Model model = one_dense_layer();
  std::get<GroupedQueryAttention>(model.attention).qk_norm = true;
  Strategy strategy = small_strategy(model);
  strategy.tp = 2;
  const Lowered lowered(model, strategy, 2);
  EXPECT_EQ(text_of(lowered.collective("tp.grad_ar", Pass::sync)), "all_reduce " + std::to_string(2 * 16 * 4));
}

TEST(StepEnd, ATiedHeadSumsItsGradientWithTheEmbeddingOfTheFirstStage) {
  Model model = one_dense_layer();
  model.layers.resize(3, LayerKind::dense);
  model.tied_embeddings = true;
  Lowered lowered(model, small_strategy(model, 3), 3);
  const std::string expected = "all_reduce " + std::to_string(256 * 64 * 4);
  EXPECT_EQ(text_of(lowered.collective("embed.grad_ar", Pass::sync)), expected);
  EXPECT_EQ(lowered.ops().ops[lowered.find("embed.grad_ar", Pass::sync)].queue, Queue::embedding);
  lowered.rank = 1;
  EXPECT_FALSE(lowered.has("embed.grad_ar"));
  lowered.rank = 2;
  EXPECT_EQ(text_of(lowered.collective("embed.grad_ar", Pass::sync)), expected);
  EXPECT_FALSE(Lowered(model, small_strategy(model)).has("embed.grad_ar"));
}

TEST(StepEnd, TheEmbeddingOfAPredictionModuleSumsItsGradientLikewise) {
  Model model = one_dense_layer();
  model.layers.resize(2, LayerKind::dense);
  model.num_mtp_modules = 1;
  Strategy strategy = small_strategy(model, 2);
  EXPECT_FALSE(Lowered(model, strategy, 2).has("embed.grad_ar"));
  strategy.mtp = Mtp::on;
  strategy.stages = with_mtp(strategy.stages, 1);
  const Lowered lowered(model, strategy, 2);
  EXPECT_EQ(text_of(lowered.collective("embed.grad_ar", Pass::sync)), "all_reduce " + std::to_string(256 * 64 * 4));
}

TEST(StepEnd, TheNormWaitsForEveryExchangedGradient) {
  Strategy strategy = dense_strategy(1);
  strategy.tp = 2;
  strategy.sp = true;
  const Lowered lowered(one_dense_layer(), strategy, 4);
  const OpIndex norm = lowered.find("norm.local", Pass::sync);
  EXPECT_TRUE(lowered.waits_for(norm, lowered.find("dp.grad_rs", Pass::sync)));
  EXPECT_TRUE(lowered.waits_for(norm, lowered.find("tp.grad_ar", Pass::sync)));
}

TEST(StepEnd, OffloadedStatesComeWhenTheBackwardHasEndedAndGoWhenTheUpdateHas) {
  Strategy strategy = dense_strategy(0);
  strategy.offload_optimizer = true;
  const Lowered lowered(one_dense_layer(), strategy);
  EXPECT_EQ(lowered.of_step(), "norm.local norm.reduce opt.load adamw.dense opt.store");
  const auto load = lowered.shape<CopyShape>("opt.load", Pass::update);
  EXPECT_EQ(load.bytes, kElements * (2 * 4 + 4));  // two moments and the master
  EXPECT_FALSE(load.to_host);
  const auto store = lowered.shape<CopyShape>("opt.store", Pass::update);
  EXPECT_EQ(store.bytes, load.bytes);
  EXPECT_TRUE(store.to_host);
  // It does not wait for the norm.
  const OpIndex loaded = lowered.find("opt.load", Pass::update);
  ASSERT_EQ(lowered.ops().deps_of(loaded).size(), 1u);
  EXPECT_GE(lowered.key(lowered.ops().deps_of(loaded)[0]).micro_batch, 0);
  EXPECT_EQ(lowered.uses("adamw.dense", Pass::update), "optimizer_states");
  EXPECT_EQ(lowered.uses("opt.store", Pass::update), "optimizer_states!");
}

TEST(StepEnd, MastersOfTheWeightsTypeAreNotKeptTwice) {
  Strategy strategy = dense_strategy(0);
  strategy.offload_optimizer = true;
  strategy.master_dtype = DType::bf16;
  const Lowered lowered(one_dense_layer(), strategy);
  EXPECT_EQ(lowered.shape<CopyShape>("opt.load", Pass::update).bytes, kElements * 2 * 4);
}

TEST(StepEnd, TokensOfEachExpertAreCountedOverTheStageForTheBias) {
  Strategy strategy = small_strategy(small_mla(), 1, 2);
  const Lowered lowered(small_mla(), strategy, 2);
  // Three MoE layers of 8 experts, 64-bit counts.
  EXPECT_EQ(text_of(lowered.collective("moe.bias_counts", Pass::sync)), "all_reduce " + std::to_string(3 * 8 * 8));
  EXPECT_TRUE(lowered.waits_for(lowered.find("moe.bias", Pass::update), lowered.find("moe.bias_counts", Pass::sync)));
  strategy.tp = 2;
  strategy.sp = true;
  const Lowered split(small_mla(), strategy, 4);
  EXPECT_EQ(split.collective("moe.bias_counts.b0", Pass::sync).group, Group::tp);
  EXPECT_EQ(split.collective("moe.bias_counts", Pass::sync).group, Group::dp);
}

}  // namespace
}  // namespace orrery
