// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/parameter_units.h"

#include "tests/unit/program/lowering/lowered.h"

namespace orrery {
namespace {

using testing::Lowered;
using testing::one_dense_layer;
using testing::small_moe;
using testing::small_strategy;
using testing::text_of;
using R = TensorRole;

// A layer: attention 128 x 64 and 64 x 64, FFN 256 x 64 and 64 x 128, two norms.
constexpr std::int64_t kLayer = 128 * 64 + 64 * 64 + 256 * 64 + 64 * 128 + 2 * 64;
constexpr std::int64_t kEmbedding = 256 * 64, kHead = 256 * 64 + 64;

Model two_layers() {
  Model model = one_dense_layer();
  model.layers.resize(2, LayerKind::dense);
  return model;
}

Strategy sharded(int zero, const Model& model = two_layers()) {
  Strategy strategy = small_strategy(model);
  strategy.zero_dense = zero;
  return strategy;
}

/// First and last op of every unit and all gathers of micro-batch 0 in one pass, with their layers.
std::string around_gathers(const Lowered& lowered, Pass pass) {
  std::string out;
  std::int64_t layer = Lowered::kAny;
  for (OpIndex op = 0; op < lowered.ops().ops.size(); ++op) {
    const OpKey& key = lowered.key(op);
    if (key.micro_batch != 0 || key.pass != pass) continue;
    const bool gathers = key.op == OpCode::dp_param_ag;
    if (!gathers && key.layer == layer) continue;
    if (!gathers) layer = key.layer;
    out += (out.empty() ? "" : " ") + lowered.name(op) + "@" + std::to_string(key.layer);
  }
  return out;
}

TEST(ParameterUnits, HaveTheElementsOfTheirWeights) {
  using lowering::unit_elements;
  EXPECT_EQ(unit_elements(two_layers(), sharded(3), 0).dense, kLayer);
  EXPECT_EQ(unit_elements(two_layers(), sharded(3), OpKey::kEmbed).dense, kEmbedding);
  EXPECT_EQ(unit_elements(two_layers(), sharded(3), OpKey::kHead).dense, kHead);
  const Strategy experts = small_strategy(small_moe(), 1, 2);
  EXPECT_EQ(unit_elements(small_moe(), experts, 1).expert, 4 * (64 * 64 + 64 * 32));
  EXPECT_EQ(unit_elements(small_moe(), experts, 1).dense, 128 * 64 + 64 * 64 + 2 * 64 + 8 * 64);
  EXPECT_EQ(unit_elements(small_moe(), experts, 0).expert, 0);
}

TEST(ParameterUnits, WeightsAreGatheredOneUnitAhead) {
  const Lowered lowered(two_layers(), sharded(3), 2);
  // Layer -2 is the embedding, -3 the head: the first is gathered at once, each other one before the unit ahead of it.
  EXPECT_EQ(around_gathers(lowered, Pass::fwd),
            "dp.param_ag@-2 dp.param_ag@0 embed.lookup@-2 dp.param_ag@1 attn.norm@0 dp.param_ag@-3 attn.norm@1 "
            "head.norm@-3");
}

TEST(ParameterUnits, TheBackwardGathersAgainFromTheHeadButNoEmbedding) {
  const Lowered lowered(two_layers(), sharded(3), 2);
  EXPECT_EQ(around_gathers(lowered, Pass::igrad),
            "dp.param_ag@-3 dp.param_ag@1 head.loss@-3 dp.param_ag@0 mlp.fc2@1 mlp.fc2@0");
}

TEST(ParameterUnits, AGatherBringsTheUnitInTheTypeOfTheWeights) {
  const Lowered lowered(two_layers(), sharded(3), 2);
  EXPECT_EQ(text_of(lowered.collective("dp.param_ag", Pass::fwd, 0)), "all_gather " + std::to_string(kLayer * 2));
  EXPECT_EQ(text_of(lowered.collective("dp.param_ag", Pass::igrad, 0)), "all_gather " + std::to_string(kLayer * 2));
  EXPECT_EQ(lowered.collective("dp.param_ag", Pass::fwd, 0).group, Group::dp);
}

TEST(ParameterUnits, WeightsLiveFromTheFirstOpOfTheUnitToItsLast) {
  const Lowered lowered(two_layers(), sharded(3), 2);
  EXPECT_EQ(lowered.uses("attn.norm", Pass::fwd, 0), "layer_weights x +norm1");
  EXPECT_EQ(lowered.uses("mlp.residual", Pass::fwd, 0), "layer_weights! x_mid ffn_out! +x");
  EXPECT_TRUE(lowered.waits_for(lowered.find("attn.norm", Pass::fwd, 0), lowered.find("dp.param_ag", Pass::fwd, 0)));
}

TEST(ParameterUnits, GradientsOfAUnitAreReducedBehindItsBackwardInEveryMicroBatch) {
  for (const int zero : {2, 3}) {
    const Lowered lowered(two_layers(), sharded(zero), 2, {.seq = 32, .global_batch = 4});
    ASSERT_EQ(lowered.program.num_micro_batches, 2);
    for (const std::int64_t micro_batch : {0, 1}) {
      const OpIndex reduced = lowered.find("dp.grad_rs", Pass::sync, 1, micro_batch);
      EXPECT_LT(lowered.find("attn.norm", Pass::igrad, 1, micro_batch), reduced);
      EXPECT_LT(reduced, lowered.find("mlp.fc2", Pass::igrad, 0, micro_batch));
      EXPECT_EQ(text_of(lowered.shape<CollectiveShape>(reduced)), "reduce_scatter " + std::to_string(kLayer * 4));
      EXPECT_EQ(lowered.uses(reduced), "grad_bucket!");
    }
    EXPECT_EQ(lowered.uses("mlp.fc2", Pass::wgrad, 1), "act! d_x +grad_bucket");
  }
}

TEST(ParameterUnits, UnitGradientsTravelInTheWireType) {
  Strategy strategy = sharded(2);
  strategy.grad_wire_dtype = DType::bf16;
  const Lowered lowered(two_layers(), strategy, 2);
  EXPECT_EQ(text_of(lowered.collective("dp.grad_rs", Pass::sync, 1)), "reduce_scatter " + std::to_string(kLayer * 2));
  EXPECT_EQ(lowered.tensor(R::grad_bucket).dtype, DType::bf16);
}

TEST(ParameterUnits, StageTwoGathersItsWeightsOnceAtTheEndAndStageThreeNever) {
  EXPECT_EQ(Lowered(two_layers(), sharded(2), 2).of_step(), "norm.local norm.reduce adamw.dense dp.param_ag");
  EXPECT_EQ(Lowered(two_layers(), sharded(3), 2).of_step(), "norm.local norm.reduce adamw.dense");
}

TEST(ParameterUnits, AGroupOfOneRankShardsNothing) {
  const Lowered lowered(two_layers(), sharded(3), 1);
  EXPECT_FALSE(lowered.has("dp.param_ag"));
  EXPECT_FALSE(lowered.has("dp.grad_rs"));
}

TEST(ParameterUnits, WithHybridShardingShardsAreSummedOverInstancesBehindEachReduction) {
  Strategy strategy = sharded(3);
  strategy.num_optimizer_instances = 2;
  const Lowered lowered(two_layers(), strategy, 4);
  EXPECT_EQ(lowered.collective("dp.param_ag", Pass::fwd, 0).group, Group::dp_shard);
  const OpIndex reduced = lowered.find("dp.grad_rs", Pass::sync, 1, 0);
  EXPECT_EQ(lowered.name(reduced + 1), "dp.replica_ar");
  EXPECT_EQ(lowered.shape<CollectiveShape>(reduced + 1).group, Group::dp_replica);
  EXPECT_EQ(text_of(lowered.shape<CollectiveShape>(reduced + 1)), "all_reduce " + std::to_string(kLayer / 2 * 4));
}

TEST(ParameterUnits, ExpertsAreShardedOverTheirOwnGroupAndByTheirOwnStage) {
  Strategy strategy = small_strategy(small_moe(2), 1, 2);
  strategy.zero_dense = 1;
  strategy.zero_expert = 3;
  const Lowered lowered(small_moe(2), strategy, 4);
  const std::int64_t elements = 4 * (64 * 64 + 64 * 32);
  EXPECT_EQ(text_of(lowered.collective("edp.param_ag", Pass::fwd, 1)), "all_gather " + std::to_string(elements * 2));
  EXPECT_EQ(lowered.collective("edp.grad_rs", Pass::sync, 1).group, Group::edp);
  EXPECT_EQ(lowered.names([](const OpKey& key) { return key.op == OpCode::dp_grad_rs; }), "dp.grad_rs");
}

TEST(ParameterUnits, APredictionModuleIsAUnitWithTheEmbeddingThatItUsesAndAHead) {
  Model model = two_layers();
  model.num_mtp_modules = 1;
  Strategy strategy = sharded(3, model);
  strategy.mtp = Mtp::on;
  strategy.stages = with_mtp(strategy.stages, 1);
  const Lowered lowered(model, strategy, 2);
  // Its layer, a projection of 64 x 128 and three norms, beside the embedding; its head is the model's.
  const std::int64_t module = kLayer + 64 * 128 + 3 * 64 + kEmbedding;
  EXPECT_EQ(text_of(lowered.collective("dp.param_ag", Pass::fwd, 2)), "all_gather " + std::to_string(module * 2));
  EXPECT_EQ(text_of(lowered.collective("dp.param_ag.b1", Pass::fwd, 2)), "all_gather " + std::to_string(kHead * 2));
  EXPECT_EQ(text_of(lowered.collective("dp.grad_rs.b1", Pass::sync, 2)), "reduce_scatter " + std::to_string(kHead * 4));
}

}  // namespace
}  // namespace orrery
