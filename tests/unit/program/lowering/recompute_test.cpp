// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/program/lowering/lowered.h"

namespace orrery {
namespace {

using testing::Lowered;
using testing::one_dense_layer;
using testing::small_moe;
using testing::small_strategy;

Lowered recomputed(const Model& model, const std::set<RecomputeModule>& modules, std::int64_t tp = 1) {
  Strategy strategy = small_strategy(model);
  strategy.tp = tp;
  strategy.sp = tp > 1;
  for (StageLayout& stage : strategy.stages) stage.recompute = modules;
  return {model, strategy, tp};
}

TEST(Recompute, NormsRunAgainRightBeforeTheirHalfOfTheLayer) {
  EXPECT_EQ(recomputed(one_dense_layer(), {RecomputeModule::layernorm}).backward(0),
            "again:mlp.norm mlp.fc2 dw:mlp.fc2 mlp.act mlp.fc1 dw:mlp.fc1 mlp.norm "
            "again:attn.norm attn.out dw:attn.out attn.core attn.rope attn.qkv dw:attn.qkv attn.norm");
}

TEST(Recompute, AttentionRunsAgainWithoutItsProjections) {
  EXPECT_EQ(recomputed(one_dense_layer(), {RecomputeModule::core_attn}).of_layer(0, Pass::rec), "attn.core");
}

TEST(Recompute, AnMoeLayerSendsItsRowsAgain) {
  Strategy strategy = small_strategy(small_moe(2), 1, 2);
  for (StageLayout& stage : strategy.stages) stage.recompute = {RecomputeModule::moe};
  const Lowered lowered(small_moe(2), strategy, 2);
  EXPECT_NE((" " + lowered.of_layer(1, Pass::rec) + " ").find(" moe.permute moe.dispatch moe.fc1 moe.act "),
            std::string::npos)
      << lowered.of_layer(1, Pass::rec);
}

TEST(Recompute, AWholeLayerGathersItsInputsAgain) {
  const Lowered lowered = recomputed(one_dense_layer(), {RecomputeModule::full}, 2);
  const std::string again = lowered.of_layer(0, Pass::rec);
  EXPECT_EQ(again.substr(0, again.find(" attn.rope")), "attn.norm tp.attn_in attn.qkv");
  // Its input is kept, and what its forward has made besides is gone before the next layer.
  EXPECT_EQ(lowered.uses("attn.qkv", Pass::fwd), "norm1_full! +qkv");
  EXPECT_EQ(lowered.uses("mlp.fc2", Pass::fwd), "act! +ffn_part");
}

}  // namespace
}  // namespace orrery
