// SPDX-License-Identifier: Apache-2.0
// What each family reads from a published file. Exact counts of the same files are in counts_test.cpp.
#include "program/hf/family.h"
#include "program/hf_config.h"
#include "tests/unit/program/reading.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::edited;
using testing::problems_of;
using testing::repository_path;
using testing::repository_text;

Model catalog_model(const std::string& name) { return read_model(repository_path("catalog/models/" + name + ".json")); }

const GroupedQueryAttention& gqa(const Model& model) { return std::get<GroupedQueryAttention>(model.attention); }

std::int64_t num_moe_layers(const Model& model) {
  return std::count(model.layers.begin(), model.layers.end(), LayerKind::moe);
}

std::string problems_of_edit(const std::string& name, const std::string& from, const std::string& to) {
  return problems_of([&] {
    return read_model_text(edited(repository_text("catalog/models/" + name + ".json"), from, to), "config.json");
  });
}

constexpr const char* kDense = R"({"model_type": "MODEL", "hidden_size": 64, "vocab_size": 128,
  "num_hidden_layers": 2, "intermediate_size": 96, "rms_norm_eps": 1e-6, "max_position_embeddings": 512,
  "num_attention_heads": 4, "num_key_value_heads": 2 MORE})";

Model dense_model(const std::string& model_type, const std::string& more) {
  return read_model_text(edited(edited(kDense, "MODEL", model_type), " MORE", more), "config.json");
}

TEST(HfFamilies, KimiK2IsDeepSeekV3UnderItsOwnName) {
  const Model model = catalog_model("kimi-k2");
  EXPECT_EQ(model.family, "kimi_k2");
  EXPECT_EQ(std::get<MultiHeadLatentAttention>(model.attention).num_heads, 64);
  EXPECT_EQ(num_moe_layers(model), 60);
  EXPECT_EQ(model.moe->num_experts, 384);
  EXPECT_EQ(model.moe->routed_scaling, 2.827);
  EXPECT_EQ(model.moe->score, RouterScore::sigmoid);
  EXPECT_TRUE(model.moe->aux_free_bias);
  EXPECT_EQ(model.num_mtp_modules, 0);
}

TEST(HfFamilies, Glm45HasBiasesOnQueriesKeysAndValuesOnly) {
  const Model model = catalog_model("glm-4.5");
  EXPECT_TRUE(gqa(model).qkv_bias);
  EXPECT_FALSE(gqa(model).out_bias);
  EXPECT_TRUE(gqa(model).qk_norm);
  EXPECT_EQ(gqa(model).qk_norm_kind, QkNorm::per_head);
  EXPECT_EQ(num_moe_layers(model), 89);
  EXPECT_EQ(model.moe->shared_width, 1536);
  EXPECT_EQ(model.moe->score, RouterScore::sigmoid);
  EXPECT_TRUE(model.moe->aux_free_bias);
  EXPECT_TRUE(model.moe->normalize_top_k);
  EXPECT_EQ(model.moe->routed_scaling, 2.5);
  EXPECT_EQ(model.num_mtp_modules, 1);
  EXPECT_EQ(model.kind(92), LayerKind::moe);
  EXPECT_TRUE(model.is_mtp(92));
  EXPECT_FALSE(gqa(catalog_model("glm-4.5-air")).qk_norm);
}

TEST(HfFamilies, Glm45TurnsAPartOfEachHead) {
  EXPECT_EQ(gqa(catalog_model("glm-4.5")).rotary_dim, 64);
  const std::string key = R"("partial_rotary_factor": 0.5,)";
  const auto with = [&](const std::string& text) {
    return gqa(read_model_text(edited(repository_text("catalog/models/glm-4.5.json"), key, text), "config.json"));
  };
  EXPECT_EQ(with(R"("partial_rotary_factor": 1.0,)").rotary_dim, 0) << "all of it";
  EXPECT_EQ(with("").rotary_dim, 64) << "as Transformers has it";
  EXPECT_EQ(with(R"("rope_parameters": {"rope_theta": 1e6, "partial_rotary_factor": 0.25},)").rotary_dim, 32);
  EXPECT_EQ(problems_of_edit("glm-4.5", key, R"("partial_rotary_factor": 0.01,)"),
            "config.json:16: /partial_rotary_factor: expected a factor that leaves an even part of a head of 128 "
            "(head_dim), got 1");
}

TEST(HfFamilies, Glm45RefusesAnotherRouting) {
  EXPECT_EQ(problems_of_edit("glm-4.5", R"("n_group": 1)", R"("n_group": 1, "scoring_func": "softmax")"),
            "config.json:24: /scoring_func: expected \"sigmoid\", got \"softmax\"");
}

TEST(HfFamilies, GptOssHasBiasesEverywhereAndSinks) {
  const Model model = catalog_model("gpt-oss-120b");
  EXPECT_EQ(model.moe->swiglu_limit, 7.0);
  EXPECT_EQ(model.moe->swiglu_alpha, 1.702);
  EXPECT_TRUE(gqa(model).qkv_bias);
  EXPECT_TRUE(gqa(model).out_bias);
  EXPECT_TRUE(gqa(model).sinks);
  EXPECT_TRUE(model.moe->router_bias);
  EXPECT_TRUE(model.moe->expert_bias);
  EXPECT_FALSE(model.moe->aux_free_bias);
  EXPECT_TRUE(model.moe->normalize_top_k);
  EXPECT_EQ(model.moe->expert_width, 2880);
  EXPECT_EQ(model.moe->num_experts, 128);
  EXPECT_EQ(num_moe_layers(model), 36);
  EXPECT_EQ(model.dense_width, 0);
}

TEST(HfFamilies, OlmoeNormsTheWholeProjection) {
  const Model model = catalog_model("olmoe-1b-7b");
  EXPECT_TRUE(gqa(model).qk_norm);
  EXPECT_EQ(gqa(model).qk_norm_kind, QkNorm::whole);
  EXPECT_EQ(model.norm_eps, 1e-5);  // its file leaves it out
  EXPECT_FALSE(model.moe->normalize_top_k);
  EXPECT_EQ(model.moe->aux_loss_coefficient, 0.01);
}

TEST(HfFamilies, Llama4ReadsTheLanguageModelInside) {
  const Model model = catalog_model("llama4-maverick");
  EXPECT_EQ(model.family, "llama4");
  EXPECT_EQ(model.dense_width, 16384);
  EXPECT_EQ(model.kind(0), LayerKind::dense);
  EXPECT_EQ(model.kind(1), LayerKind::moe);
  EXPECT_EQ(num_moe_layers(model), 24);
  EXPECT_EQ(model.moe->num_experts, 128);
  EXPECT_EQ(model.moe->top_k, 1);
  EXPECT_EQ(model.moe->shared_width, 8192);
  EXPECT_EQ(model.moe->score, RouterScore::sigmoid);
  EXPECT_TRUE(model.moe->scale_input);
  EXPECT_FALSE(gqa(model).qk_norm);
  const Model scout = catalog_model("llama4-scout");
  EXPECT_EQ(num_moe_layers(scout), 48);
  EXPECT_EQ(scout.dense_width, 0);
  EXPECT_TRUE(gqa(scout).qk_norm);
  EXPECT_EQ(gqa(scout).qk_norm_kind, QkNorm::unweighted);
}

TEST(HfFamilies, Llama4TextIsReadOnItsOwn) {
  const Model model = dense_model("llama4_text", R"(, "intermediate_size_mlp": 128, "num_local_experts": 4,
    "num_experts_per_tok": 1, "interleave_moe_layer_step": 2, "attention_chunk_size": 32)");
  EXPECT_EQ(model.family, "llama4_text");
  EXPECT_EQ(model.kind(0), LayerKind::dense);
  EXPECT_EQ(model.moe->expert_width, 96);
  EXPECT_EQ(model.dense_width, 128);
}

TEST(HfFamilies, Llama4ReportsKeysInsideAndOutside) {
  EXPECT_EQ(problems_of_edit("llama4-scout", R"("boi_token_index": 200080,)", R"("audio_config": {},)"),
            "config.json:5: /audio_config: unknown key of model type llama4\n"
            "  hint: if it changes no shape of a weight or activation: --ignore-key audio_config");
  EXPECT_EQ(problems_of_edit("llama4-scout", R"("use_qk_norm": true,)", R"("mtp_layers": 1,)"),
            "config.json:50: /text_config/mtp_layers: unknown key; did you mean \"moe_layers\"?\n"
            "  hint: if it changes no shape of a weight or activation: --ignore-key mtp_layers");
  EXPECT_EQ(problems_of_edit("llama4-scout", R"("tie_word_embeddings": false)", R"("tie_word_embeddings": true)"),
            "config.json:53: /tie_word_embeddings: expected null or false, got true: a tied head outside of "
            "text_config is not supported");
}

TEST(HfFamilies, Llama4NeedsItsLanguageModel) {
  EXPECT_EQ(problems_of([] { return read_model_text(R"({"model_type": "llama4"})", "config.json"); }),
            "config.json:1: expected the key \"text_config\", which is missing");
}

TEST(HfFamilies, DenseModelsDifferInBiasesNormsAndWindows) {
  const Model qwen2 = dense_model("qwen2", "");
  EXPECT_TRUE(gqa(qwen2).qkv_bias);
  EXPECT_FALSE(gqa(qwen2).out_bias);
  EXPECT_FALSE(gqa(qwen2).qk_norm);
  const Model qwen3 = dense_model("qwen3", R"(, "head_dim": 32, "attention_bias": false)");
  EXPECT_FALSE(gqa(qwen3).qkv_bias);
  EXPECT_TRUE(gqa(qwen3).qk_norm);
  EXPECT_EQ(gqa(qwen3).head_dim, 32);
  const Model mistral = dense_model("mistral", R"(, "sliding_window": 256)");
  EXPECT_EQ(mistral.span(1).window, 256);
  EXPECT_EQ(mistral.dense_width, 96);
}

TEST(HfFamilies, LlamaReadsItsBiases) {
  const Model with = dense_model("llama", R"(, "attention_bias": true, "mlp_bias": true)");
  EXPECT_TRUE(gqa(with).qkv_bias);
  EXPECT_TRUE(gqa(with).out_bias);
  EXPECT_TRUE(with.mlp_bias);
  const Model without = dense_model("llama", "");
  EXPECT_FALSE(gqa(without).qkv_bias);
  EXPECT_FALSE(without.mlp_bias);
}

TEST(HfFamilies, EveryFileOfTheCatalogIsReadAndHasASource) {
  int num_models = 0;
  for (const auto& entry : std::filesystem::directory_iterator(repository_path("catalog/models"))) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".source.json")) continue;
    SCOPED_TRACE(name);
    ++num_models;
    EXPECT_GT(read_model(entry.path()).num_layers(), 0);
    EXPECT_TRUE(std::filesystem::exists(std::filesystem::path(entry.path()).replace_extension(".source.json")));
  }
  EXPECT_EQ(num_models, 20);
}

}  // namespace
}  // namespace orrery
