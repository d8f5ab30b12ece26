// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/program/lowering/lowered.h"

namespace orrery {
namespace {

using testing::Lowered;
using testing::one_dense_layer;
using testing::small_strategy;
using testing::text_of;
using R = TensorRole;

Model with_module() {
  Model model = one_dense_layer();
  model.num_mtp_modules = 1;
  return model;
}

Strategy trained(const Model& model, std::int64_t pp = 1) {
  Strategy strategy = small_strategy(model, pp);
  strategy.mtp = Mtp::on;
  strategy.stages = with_mtp(strategy.stages, 1);
  return strategy;
}

TEST(Mtp, APredictionModuleHasItsOwnKeysBehindTheLastLayer) {
  const Lowered lowered(with_module(), trained(with_module()));
  EXPECT_EQ(lowered.of_layer(1, Pass::fwd),
            "mtp.embed mtp.norm mtp.proj attn.norm attn.qkv attn.rope attn.core attn.out attn.residual "
            "mlp.norm mlp.fc1 mlp.act mlp.fc2 mlp.residual head.norm head.logits head.loss");
  EXPECT_EQ(lowered.of_layer(OpKey::kHead, Pass::fwd), "head.norm head.logits head.loss");
}

TEST(Mtp, AModuleJoinsHiddenStatesWithTheEmbeddingOfTheNextTokens) {
  const Lowered lowered(with_module(), trained(with_module()));
  EXPECT_EQ(lowered.uses("mtp.embed", Pass::fwd), "+mtp_tokens +mtp_embed");
  EXPECT_EQ(lowered.uses("mtp.norm", Pass::fwd), "x mtp_embed +mtp_pair");
  EXPECT_EQ(lowered.tensor(R::mtp_pair).width, 2 * 64);
  const auto projection = lowered.shape<GemmShape>("mtp.proj", Pass::fwd);
  EXPECT_EQ(projection.m, 32);
  EXPECT_EQ(projection.n, 64);
  EXPECT_EQ(projection.k, 128);
}

TEST(Mtp, TheModuleGoesBackFirstAndTheHeadAddsToItsGradient) {
  const Lowered lowered(with_module(), trained(with_module()));
  EXPECT_EQ(lowered.uses("mtp.norm", Pass::igrad), "x mtp_embed! d_mtp_pair! +d_x +d_mtp_embed");
  EXPECT_EQ(lowered.uses("head.norm", Pass::igrad, OpKey::kHead), "x! d_head_norm! ~d_x");
  EXPECT_EQ(lowered.uses("head.norm", Pass::igrad, 1), "x! d_head_norm! +d_x");
  EXPECT_LT(lowered.find("mtp.norm", Pass::igrad), lowered.find("head.norm", Pass::igrad, OpKey::kHead));
}

TEST(Mtp, WithoutAModuleTheHeadMakesTheGradient) {
  const Lowered lowered(with_module(), small_strategy(with_module()));
  EXPECT_FALSE(lowered.has("mtp.embed"));
  EXPECT_EQ(lowered.uses("head.norm", Pass::igrad), "x! d_head_norm! +d_x");
}

TEST(Mtp, TheEmbeddingOfAModuleHasAWeightGradient) {
  const Lowered lowered(with_module(), trained(with_module()));
  EXPECT_EQ(lowered.uses("mtp.embed", Pass::wgrad), "mtp_tokens! d_mtp_embed!");
}

TEST(Mtp, WithSequenceParallelismTheProjectionIsRepeatedOnTheTokensOfARank) {
  Strategy strategy = trained(with_module());
  strategy.tp = 2;
  strategy.sp = true;
  const Lowered lowered(with_module(), strategy, 2);
  EXPECT_EQ(lowered.shape<GemmShape>("mtp.proj", Pass::fwd).m, 16);
  EXPECT_EQ(lowered.shape<GemmShape>("mtp.proj", Pass::fwd).n, 64);
  EXPECT_EQ(lowered.uses("tp.embed", Pass::fwd, 1), "mtp_part! +mtp_embed");
  EXPECT_EQ(text_of(lowered.collective("tp.embed", Pass::fwd, 1)), "reduce_scatter 4096");
  EXPECT_EQ(text_of(lowered.collective("tp.embed", Pass::wgrad, 1)), "all_gather 4096");
}

TEST(Mtp, AModuleRunsOnTheStageOfTheHead) {
  Model model = with_module();
  model.layers.resize(2, LayerKind::dense);
  Lowered lowered(model, trained(model, 2), 2);
  EXPECT_FALSE(lowered.has("mtp.proj"));
  EXPECT_FALSE(lowered.has("head.loss"));
  lowered.rank = 1;
  EXPECT_TRUE(lowered.has("mtp.proj"));
  EXPECT_TRUE(lowered.has("head.loss"));
}

TEST(Mtp, AModuleBeforeTheStageOfTheHeadAddsToTheGradientThatArrives) {
  Strategy strategy = trained(with_module(), 1);
  strategy.pp = 2;
  strategy.stages = {{.first_layer = 0, .num_layers = 1, .embedding = true, .num_mtp = 1},
                     {.first_layer = 1, .num_layers = 0, .head = true}};
  Lowered lowered(with_module(), strategy, 2);
  EXPECT_EQ(lowered.uses("mtp.norm", Pass::igrad), "x! mtp_embed! d_mtp_pair! ~d_x +d_mtp_embed");
  lowered.rank = 1;
  EXPECT_FALSE(lowered.has("mtp.norm"));
  EXPECT_EQ(lowered.of_layer(1, Pass::fwd), "head.norm head.logits head.loss");
}

}  // namespace
}  // namespace orrery
