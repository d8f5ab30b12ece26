// SPDX-License-Identifier: Apache-2.0
#include "program/parameters.h"

#include "program/hf_config.h"
#include "tests/unit/program/reading.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

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
  const Model model = test_model("deepseek-v2-lite.json");
  const std::vector<Parameter> parameters = layer_parameters(model, 0, 0, 0);
  EXPECT_EQ(parameters[1],
            (Parameter{.role = WeightRole::q_up, .layer = 0, .rows = 3072, .cols = 2048, .split = Split::rows}));
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
