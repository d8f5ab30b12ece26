// SPDX-License-Identifier: Apache-2.0
#include "program/hf_config.h"

#include "tests/unit/program/reading.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::edited;
using ::testing::ElementsAre;
using testing::problems_of;
using testing::repository_path;
using testing::repository_text;

Model catalog_model(const std::string& name) { return read_model(repository_path("catalog/models/" + name)); }
Model test_model(const std::string& name) { return read_model(repository_path("tests/data/models/" + name)); }

std::int64_t num_moe_layers(const Model& model) {
  return std::count(model.layers.begin(), model.layers.end(), LayerKind::moe);
}

std::string problems_of_text(const std::string& text, const std::set<std::string>& ignored_keys = {}) {
  return problems_of([&] { return read_model_text(text, "config.json", ignored_keys); });
}

/// The problems of a catalog model in which `from` was replaced by `to`.
std::string problems_of_edit(const std::string& name, const std::string& from, const std::string& to) {
  return problems_of_text(edited(repository_text(name), from, to));
}

constexpr const char* kMixtral = "catalog/models/mixtral-8x7b.json";
constexpr const char* kQwen3 = "catalog/models/qwen3-30b-a3b.json";
constexpr const char* kDeepSeek = "catalog/models/deepseek-v3.json";

TEST(HfConfig, ReadsDeepSeekV3) {
  const Model model = catalog_model("deepseek-v3.json");
  EXPECT_EQ(model.name, "deepseek-v3");
  EXPECT_EQ(model.family, "deepseek_v3");
  EXPECT_EQ(model.hidden, 7168);
  EXPECT_EQ(model.vocab, 129280);
  EXPECT_EQ(model.dense_width, 18432);
  EXPECT_EQ(model.num_layers(), 61);
  EXPECT_EQ(model.kind(2), LayerKind::dense);
  EXPECT_EQ(model.kind(3), LayerKind::moe);
  EXPECT_EQ(model.num_mtp_modules, 1);
  EXPECT_EQ(model.norm_eps, 1e-6);
  const auto& attention = std::get<MultiHeadLatentAttention>(model.attention);
  EXPECT_EQ(attention.num_heads, 128);
  EXPECT_EQ(attention.q_lora_rank, 1536);
  EXPECT_EQ(attention.kv_lora_rank, 512);
  EXPECT_EQ(attention.qk_nope_dim, 128);
  EXPECT_EQ(attention.qk_rope_dim, 64);
  EXPECT_EQ(attention.v_head_dim, 128);
  EXPECT_EQ(model.moe->num_experts, 256);
  EXPECT_EQ(model.moe->top_k, 8);
  EXPECT_EQ(model.moe->shared_width, 2048);
  EXPECT_EQ(model.moe->score, RouterScore::sigmoid);
  EXPECT_TRUE(model.moe->normalize_top_k);
  EXPECT_EQ(model.moe->routed_scaling, 2.5);
  EXPECT_EQ(model.moe->num_groups, 8);
  EXPECT_EQ(model.moe->top_k_groups, 4);
  EXPECT_TRUE(model.moe->aux_free_bias);
}

TEST(HfConfig, ReadsDeepSeekV2WithAndWithoutQueryLatent) {
  const Model lite = catalog_model("deepseek-v2-lite.json");
  EXPECT_EQ(std::get<MultiHeadLatentAttention>(lite.attention).q_lora_rank, 0);
  EXPECT_EQ(lite.moe->shared_width, 2 * 1408);
  EXPECT_EQ(lite.moe->num_groups, 1);
  EXPECT_EQ(lite.moe->aux_loss_coefficient, 0.001);
  EXPECT_FALSE(lite.moe->aux_free_bias);
  EXPECT_EQ(num_moe_layers(lite), 26);
  const Model full = catalog_model("deepseek-v2.json");
  EXPECT_EQ(std::get<MultiHeadLatentAttention>(full.attention).q_lora_rank, 1536);
  EXPECT_EQ(full.moe->top_k_groups, 3);
  EXPECT_EQ(full.moe->score, RouterScore::softmax);
}

TEST(HfConfig, ReadsMixtral) {
  const Model model = catalog_model("mixtral-8x7b.json");
  const auto& attention = std::get<GroupedQueryAttention>(model.attention);
  EXPECT_EQ(attention.num_kv_heads, 8);
  EXPECT_EQ(attention.head_dim, 128);
  EXPECT_FALSE(attention.qkv_bias);
  EXPECT_EQ(model.moe->expert_width, 14336);
  EXPECT_EQ(model.moe->aux_loss_coefficient, 0.02);
  EXPECT_TRUE(model.moe->normalize_top_k);
  EXPECT_EQ(model.dense_width, 0);
  EXPECT_EQ(num_moe_layers(model), 32);
}

TEST(HfConfig, ReadsQwen3WithItsDenseLayers) {
  const Model model = catalog_model("qwen3-30b-a3b.json");
  EXPECT_TRUE(std::get<GroupedQueryAttention>(model.attention).qk_norm);
  EXPECT_EQ(std::get<GroupedQueryAttention>(model.attention).head_dim, 128);
  EXPECT_EQ(num_moe_layers(model), 48);
  const Model dense_first = test_model("moe-tiny-dense-first.json");
  EXPECT_THAT(dense_first.layers, ElementsAre(LayerKind::dense, LayerKind::moe, LayerKind::moe, LayerKind::moe));
  EXPECT_EQ(dense_first.dense_width, 1024);
}

TEST(HfConfig, ReadsQwen2WithItsBiasAndGatedSharedExpert) {
  const Model model = test_model("qwen1.5-moe-a2.7b.json");
  EXPECT_TRUE(std::get<GroupedQueryAttention>(model.attention).qkv_bias);
  EXPECT_FALSE(std::get<GroupedQueryAttention>(model.attention).qk_norm);
  EXPECT_EQ(model.moe->shared_width, 5632);
  EXPECT_TRUE(model.moe->shared_expert_gate);
  EXPECT_FALSE(model.moe->normalize_top_k);
}

TEST(HfConfig, ReadsLlamaAsDense) {
  const Model model = catalog_model("llama3-8b.json");
  EXPECT_FALSE(model.moe.has_value());
  EXPECT_EQ(num_moe_layers(model), 0);
  EXPECT_EQ(model.dense_width, 14336);
  EXPECT_EQ(model.rope_theta, 500000.0);
}

TEST(HfConfig, ReadsSparseStepsOfQwenAndDeepSeek) {
  const Model qwen = read_model_text(
      edited(repository_text(kQwen3), R"("decoder_sparse_step": 1)", R"("decoder_sparse_step": 2)"), "q.json");
  EXPECT_EQ(qwen.kind(0), LayerKind::dense);
  EXPECT_EQ(qwen.kind(1), LayerKind::moe);
  const Model deepseek =
      read_model_text(edited(repository_text(kDeepSeek), R"("moe_layer_freq": 1)", R"("moe_layer_freq": 2)"), "d.json");
  EXPECT_EQ(deepseek.kind(3), LayerKind::dense);
  EXPECT_EQ(deepseek.kind(4), LayerKind::moe);
}

TEST(HfConfig, NamesTheSupportedFamilies) {
  EXPECT_THAT(supported_families(),
              ElementsAre("deepseek_v2", "deepseek_v3", "glm4_moe", "gpt_oss", "kimi_k2", "llama", "llama4",
                          "llama4_text", "mistral", "mixtral", "olmoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe"));
  EXPECT_EQ(problems_of_edit(kMixtral, R"("model_type": "mixtral")", R"("model_type": "gpt2")"),
            "config.json:13: /model_type: expected a supported model type: \"deepseek_v2\", \"deepseek_v3\", "
            "\"glm4_moe\", \"gpt_oss\", \"kimi_k2\", \"llama\", \"llama4\", \"llama4_text\", \"mistral\", \"mixtral\", "
            "\"olmoe\", \"qwen2\", \"qwen2_moe\", \"qwen3\" or \"qwen3_moe\", got \"gpt2\"");
  EXPECT_EQ(problems_of_text("{}"), "config.json:1: expected the key \"model_type\", which is missing");
}

TEST(HfConfig, RefusesUnknownKeysUnlessToldToIgnoreThem) {
  const std::string text =
      edited(repository_text(kMixtral), R"("use_cache": true,)", "\"use_cache\": true,\n  \"attention_sinks\": 4,");
  EXPECT_EQ(problems_of_text(text),
            "config.json:28: /attention_sinks: unknown key of model type mixtral\n"
            "  hint: if it changes no shape of a weight or activation: --ignore-key attention_sinks");
  EXPECT_EQ(problems_of_text(text, {"attention_sinks"}), "");
}

TEST(HfConfig, SuggestsTheKeyThatWasMeant) {
  EXPECT_EQ(problems_of_edit(kMixtral, R"("rope_theta")", R"("rope_teta")"),
            "config.json:21: /rope_teta: unknown key; did you mean \"rope_theta\"?\n"
            "  hint: if it changes no shape of a weight or activation: --ignore-key rope_teta");
}

TEST(HfConfig, RefusesWhatChangesShapesUnsupported) {
  EXPECT_EQ(problems_of_edit(kDeepSeek, R"("attention_bias": false)", R"("attention_bias": true)"),
            "config.json:5: /attention_bias: expected null or false, got true: a bias of the attention projections is "
            "not supported");
}

TEST(HfConfig, IgnoringARefusedKeyDoesNotAcceptIt) {
  const std::string text =
      edited(repository_text(kDeepSeek), R"("attention_bias": false)", R"("attention_bias": true)");
  EXPECT_NE(problems_of_text(text, {"attention_bias"}), "");
}

TEST(HfConfig, ReportsEveryProblemAtOnce) {
  std::string text = edited(repository_text(kMixtral), R"("hidden_size": 4096)", R"("hidden_size": "4096")");
  text = edited(text, R"("num_experts_per_tok": 2)", R"("num_experts_per_tok": 9)");
  text = edited(text, R"("num_key_value_heads": 8)", R"("num_key_value_heads": 5)");
  text = edited(text, "  \"vocab_size\": 32000\n", "  \"use_bias\": 1\n");
  EXPECT_EQ(problems_of_text(text),
            "config.json:1: expected the key \"vocab_size\", which is missing\n"
            "config.json:9: /hidden_size: expected an integer from 1 to 131072, got \"4096\"\n"
            "config.json:15: /num_experts_per_tok: expected at most 8 (num_local_experts), got 9\n"
            "config.json:17: /num_key_value_heads: expected a divisor of 32 (num_attention_heads), got 5\n"
            "config.json:28: /use_bias: unknown key of model type mixtral\n"
            "  hint: if it changes no shape of a weight or activation: --ignore-key use_bias");
}

TEST(HfConfig, AsksForAHeadDimensionThatDoesNotFollow) {
  EXPECT_EQ(problems_of_edit(kMixtral, R"("num_attention_heads": 32)", R"("num_attention_heads": 48)"),
            "config.json:14: /num_attention_heads: expected a divisor of 4096 (hidden_size), since head_dim is not "
            "given, got 48");
}

TEST(HfConfig, ChecksTheGroupsOfDeepSeek) {
  std::string text = edited(repository_text(kDeepSeek), R"("n_group": 8)", R"("n_group": 7)");
  text = edited(text, R"("topk_group": 4)", R"("topk_group": 9)");
  text = edited(text, R"("num_key_value_heads": 128)", R"("num_key_value_heads": 64)");
  EXPECT_EQ(problems_of_text(text),
            "config.json:25: /n_group: expected a divisor of 256 (n_routed_experts), got 7\n"
            "config.json:32: /num_key_value_heads: expected 128 (num_attention_heads), got 64\n"
            "config.json:60: /topk_group: expected at most 7 (n_group), got 9");
}

TEST(HfConfig, RefusesOtherActivations) {
  EXPECT_EQ(problems_of_edit(kMixtral, R"("hidden_act": "silu")", R"("hidden_act": "gelu")"),
            "config.json:8: /hidden_act: expected \"silu\" or \"swish\", got \"gelu\"");
}

TEST(HfConfig, NamesAFileThatIsNotThere) {
  EXPECT_EQ(problems_of([] { return read_model("no/such/config.json"); }),
            "no/such/config.json: expected a readable file, got: No such file or directory");
}

}  // namespace
}  // namespace orrery
