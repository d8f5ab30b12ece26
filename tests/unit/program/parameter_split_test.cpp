// SPDX-License-Identifier: Apache-2.0
// How tensor parallelism divides weights: elements_on_rank of program/parameters.h.
#include "base/errors.h"
#include "program/parameters.h"
#include "tests/unit/program/small_models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::ElementsAre;
using testing::small_mla;
using testing::small_moe;

/// "name elements" of the parameters of a layer, one expert of it, on one rank.
std::vector<std::string> on_rank(const Model& model, std::int64_t layer, std::int64_t tp, std::int64_t etp) {
  std::vector<std::string> out;
  for (const Parameter& p : layer_parameters(model, layer, 0, model.kind(layer) == LayerKind::moe ? 1 : 0)) {
    out.push_back(name_of(p).substr(9) + " " + std::to_string(elements_on_rank(p, model, tp, etp)));
  }
  return out;
}

std::int64_t sum_on_rank(const Model& model, std::int64_t tp, std::int64_t etp) {
  std::int64_t sum = 0;
  for (const Parameter& p : stage_parameters(model, even_stages(model.num_layers(), 1)[0], 1, 0)) {
    sum += elements_on_rank(p, model, tp, etp);
  }
  return sum;
}

TEST(ElementsOnRank, OfADenseLayerHalveEveryMatrixAndKeepTheNorms) {
  EXPECT_THAT(on_rank(small_moe(), 0, 1, 1),
              ElementsAre("attn_norm 64", "qkv 8192", "attn_out 4096", "mlp_norm 64", "mlp_fc1 16384", "mlp_fc2 8192"));
  EXPECT_THAT(on_rank(small_moe(), 0, 2, 1),
              ElementsAre("attn_norm 64", "qkv 4096", "attn_out 2048", "mlp_norm 64", "mlp_fc1 8192", "mlp_fc2 4096"));
}

TEST(ElementsOnRank, CopyKeyValueHeadsWhenThereAreMoreRanks) {
  Model model = small_moe();  // 4 heads, 2 key-value heads of 16
  auto& attention = std::get<GroupedQueryAttention>(model.attention);
  attention.qkv_bias = true;
  attention.qk_norm = true;
  // One query head and one key and value head each: 3 x 16 outputs, where a quarter of all would be 2 x 16.
  EXPECT_THAT(on_rank(model, 0, 4, 1), ElementsAre("attn_norm 64", "qkv 3072", "qkv_bias 48", "q_norm 16", "k_norm 16",
                                                   "attn_out 1024", "mlp_norm 64", "mlp_fc1 4096", "mlp_fc2 2048"));
}

TEST(ElementsOnRank, DivideExpertsOverTheirOwnDegree) {
  Model model = small_moe();
  model.moe->shared_width = 16;
  model.moe->shared_expert_gate = true;
  EXPECT_THAT(on_rank(model, 1, 2, 4), ElementsAre("attn_norm 64", "qkv 4096", "attn_out 2048", "moe_norm 64",
                                                   "router 512", "experts.0.fc1 1024", "experts.0.fc2 512",
                                                   "shared_fc1 1024", "shared_fc2 512", "shared_gate 64"));
}

TEST(ElementsOnRank, DivideLatentAttentionByHeadBehindTheLatents) {
  EXPECT_THAT(
      on_rank(small_mla(), 1, 4, 1),
      ElementsAre("attn_norm 64", "q_down 1536", "q_latent_norm 24", "q_up 288", "kv_down 1280", "kv_latent_norm 16",
                  "kv_up 256", "attn_out 512", "moe_norm 64", "router 512", "router_bias 8", "experts.0.fc1 4096",
                  "experts.0.fc2 2048", "shared_fc1 1024", "shared_fc2 512"));
}

TEST(ElementsOnRank, DivideEmbeddingAndHeadByVocabulary) {
  const Model model = small_moe();
  for (const Parameter& p : stage_parameters(model, even_stages(4, 1)[0], 1, 0)) {
    if (p.role == WeightRole::embedding || p.role == WeightRole::head) {
      EXPECT_EQ(p.split, Split::rows);
      EXPECT_EQ(elements_on_rank(p, model, 4, 1), 256 / 4 * 64);
    }
    if (p.role == WeightRole::final_norm) {
      EXPECT_EQ(elements_on_rank(p, model, 4, 1), 64);
    }
  }
}

TEST(ElementsOnRank, OfAllRanksAddUpToTheWeightsAndTheCopies) {
  for (const Model& model : {small_moe(), small_mla()}) {
    const std::int64_t whole = sum_on_rank(model, 1, 1);
    std::int64_t copied = 0;
    for (const Parameter& p : stage_parameters(model, even_stages(4, 1)[0], 1, 0)) {
      if (p.split == Split::none) copied += p.size();
    }
    EXPECT_EQ(2 * sum_on_rank(model, 2, 2), whole + copied);
  }
}

TEST(ElementsOnRank, DivideBiasesOfOutputsAndCopyBiasesOfSums) {
  Model model = small_moe();
  auto& attention = std::get<GroupedQueryAttention>(model.attention);
  attention.qkv_bias = attention.out_bias = attention.sinks = true;
  model.moe->router_bias = model.moe->expert_bias = true;
  model.mlp_bias = true;
  model.norm_bias = true;
  model.gated = false;
  EXPECT_THAT(on_rank(model, 0, 2, 1),
              ElementsAre("attn_norm 128", "qkv 4096", "qkv_bias 64", "sinks 2", "attn_out 2048", "attn_out_bias 64",
                          "mlp_norm 128", "mlp_fc1 4096", "mlp_fc1_bias 64", "mlp_fc2 4096", "mlp_fc2_bias 64"));
  EXPECT_THAT(on_rank(model, 1, 1, 2),
              ElementsAre("attn_norm 128", "qkv 8192", "qkv_bias 128", "sinks 4", "attn_out 4096", "attn_out_bias 64",
                          "moe_norm 128", "router 512", "router_linear_bias 8", "experts.0.fc1 1024",
                          "experts.0.fc1_bias 16", "experts.0.fc2 1024", "experts.0.fc2_bias 64"));
}

TEST(ElementsOnRank, DivideNormsOverAWholeProjectionByHead) {
  Model model = small_moe();
  auto& attention = std::get<GroupedQueryAttention>(model.attention);
  attention.qk_norm = true;
  attention.qk_norm_kind = QkNorm::whole;
  EXPECT_THAT(on_rank(model, 0, 4, 1), ElementsAre("attn_norm 64", "qkv 3072", "q_norm 16", "k_norm 16",
                                                   "attn_out 1024", "mlp_norm 64", "mlp_fc1 4096", "mlp_fc2 2048"));
}

TEST(ElementsOnRank, CopyThePredictionProjectionAndPositions) {
  Model model = small_moe();
  model.num_mtp_modules = 1;
  model.learned_positions = true;
  model.max_positions = 32;
  const std::vector<Parameter> parameters = stage_parameters(model, with_mtp(even_stages(4, 1), 1)[0], 8, 0);
  EXPECT_EQ(elements_on_rank(parameters[1], model, 2, 1), 32 * 64);
  for (const Parameter& p : parameters) {
    if (p.role == WeightRole::mtp_projection) {
      EXPECT_EQ(elements_on_rank(p, model, 2, 1), 64 * 128);  // every rank multiplies its own tokens by all of it
    }
  }
}

TEST(ElementsOnRank, NeedADegreeThatDividesTheHeads) {
  const Model model = small_moe();
  const Parameter qkv = layer_parameters(model, 0, 0, 0)[1];
  EXPECT_THROW(elements_on_rank(qkv, model, 3, 1), InternalError);
  EXPECT_THROW(elements_on_rank(qkv, model, 8, 1), InternalError);
  EXPECT_EQ(elements_on_rank(qkv, model, 1, 3), qkv.size());
}

}  // namespace
}  // namespace orrery
