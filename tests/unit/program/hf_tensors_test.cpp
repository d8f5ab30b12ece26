// SPDX-License-Identifier: Apache-2.0
// Names against what Transformers writes are held in executor/checkpoint (the folders of tests/data/hugging_face); here
// is what no such folder has: prediction modules, published models, and that nothing is named twice or forgotten.
#include "program/hf_tensors.h"

#include "program/counts.h"
#include "program/hf_config.h"
#include "program/schedule.h"
#include "program/strategy.h"
#include "tests/unit/program/reading.h"

#include <functional>
#include <numeric>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::problems_of;
using testing::repository_path;
using testing::repository_text;

std::vector<Parameter> weights_of(const Model& model) {
  return rank_parameters(model, with_mtp(even_stages(model.num_layers(), 1), model.num_mtp_modules), 1, 0);
}

std::string config_of(const std::string& name) { return repository_text("catalog/models/" + name + ".json"); }
Model published(const std::string& name) { return read_model(repository_path("catalog/models/" + name + ".json")); }
HfTensors tensors_of(const std::string& name) { return {published(name), config_of(name), name + ".json"}; }

// Source: README_WEIGHTS.md of DeepSeek-V3, "Multi-Token Prediction (MTP) Modules", and the index of its weights.
TEST(HfTensors, APredictionModuleIsTheLayerBehindTheLast) {
  Model model = published("deepseek-v3");
  std::map<std::string, TensorShape> module;
  for (const auto& [name, shape] : tensors_of("deepseek-v3").tensors(weights_of(model))) {
    const bool is_expert = name.find(".experts.") != std::string::npos;
    if (name.starts_with("model.layers.61.") && !is_expert) module[name.substr(16)] = shape;
  }
  const std::map<std::string, TensorShape> expected = {{"enorm.weight", {7168}},
                                                       {"hnorm.weight", {7168}},
                                                       {"eh_proj.weight", {7168, 14336}},
                                                       {"shared_head.norm.weight", {7168}},
                                                       {"input_layernorm.weight", {7168}},
                                                       {"post_attention_layernorm.weight", {7168}},
                                                       {"self_attn.q_a_proj.weight", {1536, 7168}},
                                                       {"self_attn.q_a_layernorm.weight", {1536}},
                                                       {"self_attn.q_b_proj.weight", {24576, 1536}},
                                                       {"self_attn.kv_a_proj_with_mqa.weight", {576, 7168}},
                                                       {"self_attn.kv_a_layernorm.weight", {512}},
                                                       {"self_attn.kv_b_proj.weight", {32768, 512}},
                                                       {"self_attn.o_proj.weight", {7168, 16384}},
                                                       {"mlp.gate.weight", {256, 7168}},
                                                       {"mlp.gate.e_score_correction_bias", {256}},
                                                       {"mlp.shared_experts.gate_proj.weight", {2048, 7168}},
                                                       {"mlp.shared_experts.up_proj.weight", {2048, 7168}},
                                                       {"mlp.shared_experts.down_proj.weight", {7168, 2048}}};
  EXPECT_EQ(module, expected);
  // It repeats the embedding and the head, which are those of the model.
  const HfTensors tensors = tensors_of("deepseek-v3");
  EXPECT_TRUE(tensors.is_redundant("model.layers.61.embed_tokens.weight"));
  EXPECT_TRUE(tensors.is_redundant("model.layers.61.shared_head.head.weight"));
  EXPECT_FALSE(tensors.is_redundant("model.layers.60.embed_tokens.weight"));
  EXPECT_FALSE(tensors.is_redundant("lm_head.weight"));
  EXPECT_TRUE(tensors.is_of_prediction_module("model.layers.61.mlp.gate.weight"));
  EXPECT_FALSE(tensors.is_of_prediction_module("model.layers.6.mlp.gate.weight"));
}

// Every element of a weight is in one part, and every element of a tensor in one weight.
TEST(HfTensors, NothingIsNamedTwiceOrForgotten) {
  for (const std::string family : {"llama", "mixtral", "qwen2_moe", "deepseek_v2", "deepseek_v3", "gpt_oss"}) {
    SCOPED_TRACE(family);
    const std::string file = "tests/data/hugging_face/" + family + "/config.json";
    const Model model = read_model(repository_path(file));
    const HfTensors tensors(model, repository_text(file), file);
    std::map<std::string, std::vector<int>> named;
    for (const Parameter& weight : weights_of(model)) {
      std::vector<int> covered(static_cast<std::size_t>(weight.size()));
      for (const HfPart& part : tensors.parts(weight)) {
        const std::int64_t size =
            std::accumulate(part.shape.begin(), part.shape.end(), std::int64_t{1}, std::multiplies<>());
        std::vector<int>& tensor = named.try_emplace(part.tensor, static_cast<std::size_t>(size)).first->second;
        for (std::int64_t row = 0; row < part.box.rows; ++row) {
          for (std::int64_t col = 0; col < part.box.cols; ++col) {
            ++covered[static_cast<std::size_t>((part.box.row + row) * weight.cols + part.box.col + col)];
            ++tensor.at(static_cast<std::size_t>(part.first + row * part.row_stride + col * part.col_stride));
          }
        }
      }
      EXPECT_EQ(covered, std::vector<int>(covered.size(), 1)) << name_of(weight);
    }
    for (const auto& [name, counts] : named) EXPECT_EQ(counts, std::vector<int>(counts.size(), 1)) << name;
  }
}

// As the model cards count them.
TEST(HfTensors, PublishedModelsHaveTheElementsOfTheirCards) {
  const auto elements = [](const std::string& name) {
    std::int64_t sum = 0;
    for (const auto& [tensor, shape] : tensors_of(name).tensors(weights_of(published(name)))) {
      sum += std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
    }
    return sum;
  };
  EXPECT_EQ(elements("mixtral-8x7b"), 46'702'792'704);
  EXPECT_EQ(elements("qwen3-30b-a3b"), 30'532'122'624);
  EXPECT_EQ(elements("gpt-oss-20b"), 20'914'757'184);
}

TEST(HfTensors, TheConfigMaySayThatPairsAreApart) {
  const std::string file = "tests/data/hugging_face/deepseek_v3/config.json", config = repository_text(file);
  const Model model = read_model(repository_path(file));
  const auto num_parts = [&](const std::string& text) {
    const HfTensors tensors(model, text, file);
    for (const Parameter& weight : weights_of(model)) {
      if (weight.role == WeightRole::kv_down) return tensors.parts(weight).size();
    }
    return std::size_t{0};
  };
  EXPECT_EQ(num_parts(config), 3U);
  EXPECT_EQ(num_parts(testing::edited(config, "\"rope_interleave\": true", "\"rope_interleave\": false")), 2U);
}

TEST(HfTensors, SaysWhatPublishedModelsComputeAndWeDoNot) {
  using Sentences = std::vector<std::string>;
  EXPECT_EQ(tensors_of("mixtral-8x7b").departures(), Sentences());
  EXPECT_EQ(tensors_of("deepseek-v3").departures(), Sentences{"rope_scaling: positions are not scaled"});
  EXPECT_EQ(tensors_of("glm-4.5").departures(), Sentences());
  EXPECT_EQ(tensors_of("gpt-oss-20b").departures(), Sentences{"rope_scaling: positions are not scaled"});
  const std::string scaled = R"({"rope_parameters": {"rope_type": "yarn", "partial_rotary_factor": 0.5}})";
  EXPECT_EQ(HfTensors(published("glm-4.5"), scaled, "x").departures(),
            Sentences{"rope_type: positions are not scaled"});
}

TEST(HfTensors, RefusesModelsWithoutATable) {
  EXPECT_EQ(problems_of([] { return tensors_of("llama4-scout"); }),
            "llama4-scout.json: expected a model type whose checkpoints can be read and written, got llama4");
  EXPECT_EQ(problems_of([] { return tensors_of("gpt3-175b"); }),
            "gpt3-175b.json: expected a model type whose checkpoints can be read and written, got model/1");
}

}  // namespace
}  // namespace orrery
