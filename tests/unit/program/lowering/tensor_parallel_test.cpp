// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/tensor_parallel.h"

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

// Hidden size 64, 32 tokens in bf16: the residual stream of a micro-batch has 32 x 64 x 2 = 4096 bytes.

Strategy over_two(bool sp, const Model& model = one_dense_layer()) {
  Strategy strategy = small_strategy(model);
  strategy.tp = 2;
  strategy.sp = sp;
  return strategy;
}

TEST(TensorParallel, WithSequenceParallelismTheResidualStreamHasItsShareOfTheTokens) {
  const Lowered with(one_dense_layer(), over_two(true), 2), without(one_dense_layer(), over_two(false), 2);
  for (const R role : {R::x, R::norm1, R::proj, R::x_mid, R::norm2, R::ffn_out, R::d_x, R::d_norm1, R::d_x_mid}) {
    EXPECT_EQ(with.tensor(role).rows.count, 16) << name_of(role);
    EXPECT_EQ(without.tensor(role).rows.count, 32) << name_of(role);
    EXPECT_EQ(with.tensor(role).width, 64) << name_of(role);
  }
  for (const R role : {R::norm1_full, R::qkv, R::attn_out, R::proj_part, R::act, R::d_proj, R::d_norm1_part}) {
    EXPECT_EQ(with.tensor(role).rows.count, 32) << name_of(role);
  }
}

TEST(TensorParallel, EveryRankHasItsShareOfHeadsAndWidths) {
  const Lowered lowered(one_dense_layer(), over_two(true), 2);
  EXPECT_EQ(lowered.tensor(R::qkv).width, (2 + 2 * 1) * 16);
  EXPECT_EQ(lowered.tensor(R::attn_out).width, 2 * 16);
  EXPECT_EQ(lowered.tensor(R::fc1).width, 2 * 64);
  EXPECT_EQ(lowered.tensor(R::act).width, 64);
  EXPECT_EQ(lowered.tensor(R::logits).width, 128);
}

TEST(TensorParallel, MoreRanksThanKeyValueHeadsStillHaveOneEach) {
  Strategy strategy = over_two(true);
  strategy.tp = 4;
  const Lowered lowered(one_dense_layer(), strategy, 4);
  EXPECT_EQ(lowered.tensor(R::qkv).width, (1 + 2 * 1) * 16);
}

TEST(TensorParallel, TheForwardGathersBeforeColumnsAndScattersBehindRows) {
  const Lowered lowered(one_dense_layer(), over_two(true), 2);
  EXPECT_EQ(lowered.of_layer(0, Pass::fwd),
            "attn.norm tp.attn_in attn.qkv attn.rope attn.core attn.out tp.attn_out attn.residual "
            "mlp.norm tp.mlp_in mlp.fc1 mlp.act mlp.fc2 tp.mlp_out mlp.residual");
  EXPECT_EQ(text_of(lowered.collective("tp.attn_in", Pass::fwd)), "all_gather 4096");
  EXPECT_EQ(text_of(lowered.collective("tp.attn_out", Pass::fwd)), "reduce_scatter 4096");
  EXPECT_EQ(lowered.uses("tp.attn_in", Pass::fwd), "norm1 +norm1_full");
  EXPECT_EQ(lowered.uses("tp.attn_out", Pass::fwd), "proj_part! +proj");
}

TEST(TensorParallel, AColumnParallelProductGathersItsInputAndScattersItsInputGradient) {
  const Lowered lowered(one_dense_layer(), over_two(true), 2);
  EXPECT_EQ(text_of(lowered.collective("tp.mlp_in", Pass::fwd)), "all_gather 4096");
  EXPECT_EQ(text_of(lowered.collective("tp.mlp_in", Pass::igrad)), "reduce_scatter 4096");
  EXPECT_EQ(text_of(lowered.collective("tp.mlp_in", Pass::wgrad)), "all_gather 4096");
  EXPECT_EQ(lowered.uses("tp.mlp_in", Pass::igrad), "d_norm2_part! +d_norm2");
  EXPECT_EQ(lowered.collective("tp.mlp_in", Pass::fwd).group, Group::tp);
  EXPECT_EQ(lowered.ops().ops[lowered.find("tp.mlp_in", Pass::fwd)].queue, Queue::tp);
}

TEST(TensorParallel, ARowParallelProductGathersTheGradientOfItsOutputForBothGradients) {
  const Lowered lowered(one_dense_layer(), over_two(true), 2);
  EXPECT_EQ(text_of(lowered.collective("tp.attn_out", Pass::igrad)), "all_gather 4096");
  EXPECT_EQ(lowered.uses("attn.out", Pass::igrad), "d_proj +d_attn_out");
  EXPECT_EQ(lowered.uses("attn.out", Pass::wgrad), "attn_out d_proj!");
}

TEST(TensorParallel, TheGatherForTheWeightGradientIsEnqueuedBeforeTheInputGradient) {
  const Lowered lowered(one_dense_layer(), over_two(true), 2);
  EXPECT_EQ(lowered.backward(0),
            "tp.mlp_out mlp.fc2 dw:mlp.fc2 mlp.act dw:tp.mlp_in mlp.fc1 tp.mlp_in dw:mlp.fc1 mlp.norm "
            "tp.attn_out attn.out dw:attn.out attn.core attn.rope dw:tp.attn_in attn.qkv tp.attn_in dw:attn.qkv "
            "attn.norm");
}

TEST(TensorParallel, TheGatheredInputIsNotKeptForTheBackward) {
  const Lowered lowered(one_dense_layer(), over_two(true), 2);
  EXPECT_EQ(lowered.uses("attn.qkv", Pass::fwd), "norm1_full! +qkv");
  EXPECT_EQ(lowered.uses("attn.qkv", Pass::wgrad), "norm1_full! d_qkv!");
}

TEST(TensorParallel, WithoutSequenceParallelismPartialSumsAreReducedInPlace) {
  const Lowered lowered(one_dense_layer(), over_two(false), 2);
  EXPECT_EQ(lowered.of_layer(0, Pass::fwd),
            "attn.norm attn.qkv attn.rope attn.core attn.out tp.attn_out attn.residual "
            "mlp.norm mlp.fc1 mlp.act mlp.fc2 tp.mlp_out mlp.residual");
  EXPECT_EQ(text_of(lowered.collective("tp.attn_out", Pass::fwd)), "all_reduce 4096");
  EXPECT_EQ(lowered.uses("tp.attn_out", Pass::fwd), "~proj");
  EXPECT_EQ(lowered.backward(0),
            "mlp.fc2 dw:mlp.fc2 mlp.act mlp.fc1 tp.mlp_in dw:mlp.fc1 mlp.norm "
            "attn.out dw:attn.out attn.core attn.rope attn.qkv tp.attn_in dw:attn.qkv attn.norm");
  EXPECT_EQ(lowered.uses("tp.attn_in", Pass::igrad), "~d_norm1");
}

TEST(TensorParallel, WithoutSequenceParallelismASumIsAddedToAGradientThatIsThere) {
  Model model = one_dense_layer();
  model.attention = small_mla().attention;
  std::get<MultiHeadLatentAttention>(model.attention).q_lora_rank = 0;
  const Lowered lowered(model, over_two(false, model), 2);
  // The way down of keys and values, repeated on every rank, has made the gradient already.
  EXPECT_EQ(lowered.uses("attn.q_up", Pass::igrad), "d_q +d_norm1_part");
  EXPECT_EQ(lowered.uses("tp.attn_in", Pass::igrad), "d_norm1_part! ~d_norm1");
}

TEST(TensorParallel, OneRankExchangesNothing) {
  const Lowered lowered(one_dense_layer(), small_strategy(one_dense_layer()));
  for (const Op& op : lowered.ops().ops) EXPECT_NE(op.queue, Queue::tp) << to_string(op.key);
}

TEST(TensorParallel, SlicesOfOverlapAlternateWithTheirCollectives) {
  Strategy strategy = over_two(true);
  strategy.overlap.tp = true;
  const Lowered lowered(one_dense_layer(), strategy, 2);
  EXPECT_EQ(lowered.of_layer(0, Pass::fwd),
            "attn.norm tp.attn_in.b0 attn.qkv.b0 tp.attn_in.b1 attn.qkv.b1 attn.rope attn.core "
            "attn.out.b0 tp.attn_out.b0 attn.out.b1 tp.attn_out.b1 attn.residual "
            "mlp.norm tp.mlp_in.b0 mlp.fc1.b0 tp.mlp_in.b1 mlp.fc1.b1 mlp.act "
            "mlp.fc2.b0 tp.mlp_out.b0 mlp.fc2.b1 tp.mlp_out.b1 mlp.residual");
  EXPECT_EQ(text_of(lowered.collective("tp.attn_in.b1", Pass::fwd)), "all_gather 2048");
  EXPECT_EQ(text_of(lowered.collective("tp.attn_in.b1", Pass::igrad)), "reduce_scatter 2048");
  EXPECT_EQ(text_of(lowered.collective("tp.attn_in", Pass::wgrad)), "all_gather 4096");
  EXPECT_EQ(lowered.shape<GemmShape>("attn.qkv.b0", Pass::fwd).m, 16);
}

TEST(TensorParallel, ALaterSliceTravelsWithoutWaitingForTheProductBeforeIt) {
  Strategy strategy = over_two(true);
  strategy.overlap.tp = true;
  const Lowered lowered(one_dense_layer(), strategy, 2);
  const OpIndex product = lowered.find("attn.qkv.b0", Pass::fwd), travels = lowered.find("tp.attn_in.b1", Pass::fwd);
  ASSERT_LT(product, travels);
  for (const OpIndex dep : lowered.ops().deps_of(travels)) EXPECT_NE(dep, product);
  EXPECT_TRUE(lowered.waits_for(lowered.find("attn.qkv.b1", Pass::fwd), travels));
}

TEST(TensorParallel, SlicesDoNotChangeTheWorkOfAProduct) {
  Strategy sliced = over_two(true);
  sliced.overlap.tp = true;
  const Lowered whole(one_dense_layer(), over_two(true), 2), slices(one_dense_layer(), sliced, 2);
  for (const std::string product : {"attn.qkv", "attn.out", "mlp.fc1", "mlp.fc2"}) {
    const auto one = whole.shape<GemmShape>(product, Pass::fwd);
    const auto half = slices.shape<GemmShape>(product + ".b0", Pass::fwd);
    EXPECT_EQ(half, slices.shape<GemmShape>(product + ".b1", Pass::fwd)) << product;
    EXPECT_EQ(one.m, 2 * half.m) << product;
    EXPECT_EQ(one.n * one.k, half.n * half.k) << product;
  }
}

TEST(TensorParallel, LatentAttentionGathersItsLatentsAndTheSharedRotatedKey) {
  const Model model = small_mla();
  const Lowered lowered(model, over_two(true, model), 2);
  EXPECT_EQ(text_of(lowered.collective("tp.q_latent", Pass::fwd)), "all_gather " + std::to_string(32 * 24 * 2));
  EXPECT_EQ(text_of(lowered.collective("tp.kv_latent", Pass::fwd)), "all_gather " + std::to_string(32 * 16 * 2));
  EXPECT_EQ(text_of(lowered.collective("tp.k_rope", Pass::fwd)), "all_gather " + std::to_string(32 * 4 * 2));
  EXPECT_EQ(text_of(lowered.collective("tp.k_rope", Pass::igrad)), "reduce_scatter " + std::to_string(32 * 4 * 2));
  EXPECT_EQ(lowered.uses("tp.k_rope", Pass::igrad), "d_k_rope_part! +d_kv_latent");
  // The down-projections are repeated on every rank, on its own tokens.
  EXPECT_EQ(lowered.shape<GemmShape>("attn.q_down", Pass::fwd).m, 16);
  EXPECT_EQ(lowered.shape<GemmShape>("attn.q_down", Pass::fwd).n, 24);
}

TEST(TensorParallel, TheLossExchangesAMaximumAndEightBytesForEachToken) {
  const Lowered lowered(one_dense_layer(), over_two(true), 2);
  EXPECT_EQ(text_of(lowered.collective("tp.loss_max", Pass::fwd)), "all_reduce " + std::to_string(32 * 4));
  EXPECT_EQ(text_of(lowered.collective("tp.loss_sum", Pass::fwd)), "all_reduce " + std::to_string(32 * 8));
  EXPECT_EQ(lowered.tensor(R::logits_max).rows.count, 32);
}

TEST(TensorParallel, RowsOfOperandsAreGatheredInFp8WithTheirScales) {
  Strategy strategy = over_two(true);
  strategy.precision = DType::fp8;
  strategy.fp8_recipe = Fp8Recipe::mxfp8;
  const Lowered lowered(one_dense_layer(), strategy, 2);
  // A row of 64 bytes has a scale of one byte for 32 elements. The gradient comes back in bf16.
  EXPECT_EQ(text_of(lowered.collective("tp.attn_in", Pass::fwd)), "all_gather " + std::to_string(32 * (64 + 2)));
  EXPECT_EQ(text_of(lowered.collective("tp.attn_in", Pass::igrad)), "reduce_scatter 4096");
}

}  // namespace
}  // namespace orrery
