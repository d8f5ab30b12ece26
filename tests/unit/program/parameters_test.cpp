// SPDX-License-Identifier: Apache-2.0
#include "program/parameters.h"

#include "base/errors.h"
#include "program/hf_config.h"
#include "tests/unit/program/reading.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using testing::repository_path;

std::vector<std::string> described(const std::vector<Parameter>& parameters) {
  std::vector<std::string> out;
  for (const Parameter& p : parameters) {
    out.push_back(name_of(p) + " " + std::to_string(p.rows) + "x" + std::to_string(p.cols));
  }
  return out;
}

Model test_model(const std::string& name) { return read_model(repository_path("tests/data/models/" + name)); }
Model catalog_model(const std::string& name) { return read_model(repository_path("catalog/models/" + name)); }

TEST(Parameters, OfGroupedQueryAttentionAndADenseLayer) {
  const Model model = test_model("moe-tiny-dense-first.json");
  EXPECT_THAT(described(layer_parameters(model, 0, 0, 0)),
              ElementsAre("layers.0.attn_norm 1x256", "layers.0.qkv 512x256", "layers.0.q_norm 1x32",
                          "layers.0.k_norm 1x32", "layers.0.attn_out 256x256", "layers.0.mlp_norm 1x256",
                          "layers.0.mlp_fc1 2048x256", "layers.0.mlp_fc2 256x1024"));
}

TEST(Parameters, OfAMoeLayerHoldOnlyTheAskedExperts) {
  const Model model = test_model("qwen1.5-moe-a2.7b.json");
  EXPECT_THAT(
      described(layer_parameters(model, 7, 58, 2)),
      ElementsAre("layers.7.attn_norm 1x2048", "layers.7.qkv 6144x2048", "layers.7.qkv_bias 1x6144",
                  "layers.7.attn_out 2048x2048", "layers.7.moe_norm 1x2048", "layers.7.router 60x2048",
                  "layers.7.experts.58.fc1 2816x2048", "layers.7.experts.59.fc1 2816x2048",
                  "layers.7.experts.58.fc2 2048x1408", "layers.7.experts.59.fc2 2048x1408",
                  "layers.7.shared_fc1 11264x2048", "layers.7.shared_fc2 2048x5632", "layers.7.shared_gate 1x2048"));
}

TEST(Parameters, OfMultiHeadLatentAttention) {
  const Model model = read_model(repository_path("catalog/models/deepseek-v3.json"));
  EXPECT_THAT(described(layer_parameters(model, 3, 0, 0)),
              ElementsAre("layers.3.attn_norm 1x7168", "layers.3.q_down 1536x7168", "layers.3.q_latent_norm 1x1536",
                          "layers.3.q_up 24576x1536", "layers.3.kv_down 576x7168", "layers.3.kv_latent_norm 1x512",
                          "layers.3.kv_up 32768x512", "layers.3.attn_out 7168x16384", "layers.3.moe_norm 1x7168",
                          "layers.3.router 256x7168", "layers.3.router_bias 1x256", "layers.3.shared_fc1 4096x7168",
                          "layers.3.shared_fc2 7168x2048"));
}

TEST(Parameters, OnlyTheSelectionBiasIsABuffer) {
  const Model model = read_model(repository_path("catalog/models/deepseek-v3.json"));
  for (const Parameter& parameter : layer_parameters(model, 60, 0, 2)) {
    EXPECT_EQ(parameter.buffer, parameter.role == WeightRole::router_bias) << name_of(parameter);
  }
}

TEST(Parameters, OfQueriesWithoutALatentProjectTheHiddenState) {
  const Model model = catalog_model("deepseek-v2-lite.json");
  const std::vector<Parameter> parameters = layer_parameters(model, 0, 0, 0);
  EXPECT_EQ(parameters[1],
            (Parameter{.role = WeightRole::q_up, .layer = 0, .rows = 3072, .cols = 2048, .split = Split::rows}));
}

TEST(Parameters, OfGptOssHoldBiasesAndSinks) {
  EXPECT_THAT(described(layer_parameters(catalog_model("gpt-oss-20b.json"), 1, 4, 2)),
              ElementsAre("layers.1.attn_norm 1x2880", "layers.1.qkv 5120x2880", "layers.1.qkv_bias 1x5120",
                          "layers.1.sinks 1x64", "layers.1.attn_out 2880x4096", "layers.1.attn_out_bias 1x2880",
                          "layers.1.moe_norm 1x2880", "layers.1.router 32x2880", "layers.1.router_linear_bias 1x32",
                          "layers.1.experts.4.fc1 5760x2880", "layers.1.experts.5.fc1 5760x2880",
                          "layers.1.experts.4.fc1_bias 1x5760", "layers.1.experts.5.fc1_bias 1x5760",
                          "layers.1.experts.4.fc2 2880x2880", "layers.1.experts.5.fc2 2880x2880",
                          "layers.1.experts.4.fc2_bias 1x2880", "layers.1.experts.5.fc2_bias 1x2880"));
}

TEST(Parameters, OfNormsOverAWholeProjectionHaveItsWidth) {
  const std::vector<std::string> names = described(layer_parameters(catalog_model("olmoe-1b-7b.json"), 0, 0, 0));
  EXPECT_THAT(names, Contains("layers.0.q_norm 1x2048"));
  EXPECT_THAT(names, Contains("layers.0.k_norm 1x2048"));
}

TEST(Parameters, OfNormsWithoutAWeightAreNone) {
  EXPECT_THAT(described(layer_parameters(catalog_model("llama4-scout.json"), 0, 0, 0)),
              ElementsAre("layers.0.attn_norm 1x5120", "layers.0.qkv 7168x5120", "layers.0.attn_out 5120x5120",
                          "layers.0.moe_norm 1x5120", "layers.0.router 16x5120", "layers.0.shared_fc1 16384x5120",
                          "layers.0.shared_fc2 5120x8192"));
}

TEST(Parameters, OfGpt3HaveTwoMatricesBiasesAndNormsWithTwoRows) {
  const Model model = catalog_model("gpt3-175b.json");
  EXPECT_THAT(
      described(layer_parameters(model, 95, 0, 0)),
      ElementsAre("layers.95.attn_norm 2x12288", "layers.95.qkv 36864x12288", "layers.95.qkv_bias 1x36864",
                  "layers.95.attn_out 12288x12288", "layers.95.attn_out_bias 1x12288", "layers.95.mlp_norm 2x12288",
                  "layers.95.mlp_fc1 49152x12288", "layers.95.mlp_fc1_bias 1x49152", "layers.95.mlp_fc2 12288x49152",
                  "layers.95.mlp_fc2_bias 1x12288"));
  const std::vector<std::string> all = described(stage_parameters(model, even_stages(96, 1)[0], 1, 0));
  EXPECT_EQ(all[0], "embedding 50257x12288");
  EXPECT_EQ(all[1], "positions 2048x12288");
  EXPECT_EQ(all.back(), "final_norm 2x12288");
}

TEST(Parameters, OfAPredictionModuleAreALayerBetweenNormsAndAProjection) {
  const Model model = catalog_model("deepseek-v3.json");
  const std::vector<std::string> names = described(layer_parameters(model, 61, 0, 1));
  EXPECT_EQ(names.size(), 19);
  EXPECT_EQ(names[0], "layers.61.mtp_embedding_norm 1x7168");
  EXPECT_EQ(names[1], "layers.61.mtp_hidden_norm 1x7168");
  EXPECT_EQ(names[2], "layers.61.mtp_projection 7168x14336");
  EXPECT_EQ(names[3], "layers.61.attn_norm 1x7168");
  EXPECT_EQ(names.back(), "layers.61.mtp_final_norm 1x7168");
  EXPECT_THROW(layer_parameters(model, 62, 0, 1), InternalError);
}

TEST(StageParameters, PutPredictionModulesAndACopyOfTheEmbeddingWithTheHead) {
  const Model model = catalog_model("deepseek-v3.json");
  const std::vector<StageLayout> stages = even_stages(61, 2);
  const std::vector<StageLayout> predicting = with_mtp(stages, 1);
  EXPECT_EQ(stage_parameters(model, predicting[0], 64, 0), stage_parameters(model, stages[0], 64, 0));
  const std::vector<Parameter> with = stage_parameters(model, predicting[1], 64, 3);
  const std::vector<Parameter> without = stage_parameters(model, stages[1], 64, 3);
  EXPECT_EQ(name_of(with.front()), "embedding");
  EXPECT_EQ(name_of(with[with.size() - 3]), "layers.61.mtp_final_norm");
  EXPECT_EQ(name_of(with.back()), "head");
  std::int64_t more = 0;
  for (const Parameter& p : with) more += p.buffer ? 0 : p.size();
  for (const Parameter& p : without) more -= p.buffer ? 0 : p.size();
  // 4 of the 256 experts, of 3 x 7168 x 2048 each.
  EXPECT_EQ(more, 129280 * 7168 + 11'610'067'968 - 252 * 3 * 7168 * 2048LL);
}

TEST(StageParameters, OfOneStageHoldTheEmbeddingOnceBesidePredictionModules) {
  const Model model = catalog_model("glm-4.5-air.json");
  std::int64_t sum = 0;
  for (const Parameter& p : stage_parameters(model, with_mtp(even_stages(46, 1), 1)[0], 1, 0)) {
    sum += p.buffer ? 0 : p.size();
  }
  EXPECT_EQ(sum, 106'852'245'504 + 2'375'059'456);
}

TEST(StageParameters, StartWithTheEmbeddingAndEndWithTheHead) {
  const Model model = test_model("moe-tiny-dense-first.json");
  const std::vector<StageLayout> stages = even_stages(4, 2);
  const std::vector<Parameter> first = stage_parameters(model, stages[0], 4, 3);
  EXPECT_EQ(name_of(first.front()), "embedding");
  EXPECT_EQ(name_of(first.back()), "layers.1.experts.7.fc2");
  const std::vector<Parameter> last = stage_parameters(model, stages[1], 4, 0);
  EXPECT_EQ(name_of(last.front()), "layers.2.attn_norm");
  EXPECT_EQ(name_of(last[last.size() - 2]), "final_norm");
  EXPECT_EQ(last.back(), (Parameter{.role = WeightRole::head, .rows = 256, .cols = 256, .split = Split::rows}));
}

TEST(StageParameters, HoldATiedMatrixOncePerStage) {
  Model model = test_model("moe-tiny-dense-first.json");
  model.tied_embeddings = true;
  EXPECT_EQ(name_of(stage_parameters(model, even_stages(4, 1)[0], 1, 0).back()), "final_norm");
  EXPECT_EQ(name_of(stage_parameters(model, even_stages(4, 2)[1], 1, 0).back()), "head");
}

}  // namespace
}  // namespace orrery
