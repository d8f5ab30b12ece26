// SPDX-License-Identifier: Apache-2.0
#include "program/model_differences.h"

#include "program/hf_config.h"
#include "tests/unit/program/reading.h"

#include <variant>

#include <gtest/gtest.h>

namespace orrery {
namespace {

Model published(const std::string& name) {
  return read_model(testing::repository_path("catalog/models/" + name + ".json"));
}

TEST(ModelDifferences, NamesAndLossesDoNotCount) {
  Model renamed = published("deepseek-v3");
  renamed.name = "other";
  renamed.num_mtp_modules = 0;
  renamed.moe->aux_loss_coefficient = 0.5;
  EXPECT_EQ(differences(published("deepseek-v3"), renamed), std::vector<std::string>());
}

TEST(ModelDifferences, WhatWeightsMeanCounts) {
  Model changed = published("mixtral-8x7b");
  changed.spans.assign(changed.layers.size(), {.window = 4096});
  changed.layers.resize(2);
  changed.spans.resize(2);
  changed.moe->normalize_top_k = false;
  Model want = published("mixtral-8x7b");
  want.layers.resize(2);
  EXPECT_EQ(differences(want, changed),
            (std::vector<std::string>{"layers: expected moe moe of the plan's model, got moe/window4096 moe/window4096",
                                      "normalize_top_k: expected true of the plan's model, got false"}));
}

/// A change of one member, and what is said of it.
struct Change {
  std::string said;
  void (*change)(Model&);
};

void expect_each_named(const std::string& model, const std::vector<Change>& changes) {
  for (const Change& change : changes) {
    Model changed = published(model);
    change.change(changed);
    const std::vector<std::string> found = differences(published(model), changed);
    ASSERT_EQ(found.size(), 1U) << change.said;
    EXPECT_EQ(found.front().substr(0, found.front().find(" of the plan's model")), change.said);
  }
}

GroupedQueryAttention& grouped(Model& model) { return std::get<GroupedQueryAttention>(model.attention); }
MultiHeadLatentAttention& latent(Model& model) { return std::get<MultiHeadLatentAttention>(model.attention); }

TEST(ModelDifferences, EachMemberOfAModelIsComparedByItself) {
  expect_each_named("mixtral-8x7b", {{"family: expected mixtral", [](Model& m) { m.family = "olmoe"; }},
                                     {"hidden: expected 4096", [](Model& m) { m.hidden = 1; }},
                                     {"vocab: expected 32000", [](Model& m) { m.vocab = 1; }},
                                     {"dense_width: expected 0", [](Model& m) { m.dense_width = 1; }},
                                     {"tied_embeddings: expected false", [](Model& m) { m.tied_embeddings = true; }},
                                     {"norm_eps: expected 1e-05", [](Model& m) { m.norm_eps = 1e-6; }},
                                     {"rope_theta: expected 1000000", [](Model& m) { m.rope_theta = 1.0; }},
                                     {"mlp_bias: expected false", [](Model& m) { m.mlp_bias = true; }}});
  expect_each_named("qwen3-30b-a3b",
                    {{"num_heads: expected 32", [](Model& m) { grouped(m).num_heads = 1; }},
                     {"num_kv_heads: expected 4", [](Model& m) { grouped(m).num_kv_heads = 1; }},
                     {"head_dim: expected 128", [](Model& m) { grouped(m).head_dim = 1; }},
                     {"qkv_bias: expected false", [](Model& m) { grouped(m).qkv_bias = true; }},
                     {"out_bias: expected false", [](Model& m) { grouped(m).out_bias = true; }},
                     {"qk_norm: expected per_head", [](Model& m) { grouped(m).qk_norm = false; }},
                     {"qk_norm: expected per_head", [](Model& m) { grouped(m).qk_norm_kind = QkNorm::whole; }},
                     {"sinks: expected false", [](Model& m) { grouped(m).sinks = true; }},
                     {"rotary_dim: expected 0", [](Model& m) { grouped(m).rotary_dim = 64; }},
                     {"swiglu_limit: expected 0", [](Model& m) { m.moe->swiglu_limit = 7.0; }},
                     {"swiglu_alpha: expected 1.702", [](Model& m) { m.moe->swiglu_alpha = 1.0; }}});
}

TEST(ModelDifferences, EachMemberOfLatentAttentionAndOfExpertsIsComparedByItself) {
  expect_each_named("deepseek-v3", {{"num_heads: expected 128", [](Model& m) { latent(m).num_heads = 1; }},
                                    {"q_lora_rank: expected 1536", [](Model& m) { latent(m).q_lora_rank = 1; }},
                                    {"kv_lora_rank: expected 512", [](Model& m) { latent(m).kv_lora_rank = 1; }},
                                    {"qk_nope_dim: expected 128", [](Model& m) { latent(m).qk_nope_dim = 1; }},
                                    {"qk_rope_dim: expected 64", [](Model& m) { latent(m).qk_rope_dim = 1; }},
                                    {"v_head_dim: expected 128", [](Model& m) { latent(m).v_head_dim = 1; }}});
  expect_each_named("deepseek-v3",
                    {{"num_experts: expected 256", [](Model& m) { m.moe->num_experts = 1; }},
                     {"top_k: expected 8", [](Model& m) { m.moe->top_k = 1; }},
                     {"expert_width: expected 2048", [](Model& m) { m.moe->expert_width = 1; }},
                     {"shared_width: expected 2048", [](Model& m) { m.moe->shared_width = 1; }},
                     {"shared_expert_gate: expected false", [](Model& m) { m.moe->shared_expert_gate = true; }},
                     {"score: expected sigmoid", [](Model& m) { m.moe->score = RouterScore::softmax; }},
                     {"normalize_top_k: expected true", [](Model& m) { m.moe->normalize_top_k = false; }},
                     {"routed_scaling: expected 2.5", [](Model& m) { m.moe->routed_scaling = 1.0; }},
                     {"num_groups: expected 8", [](Model& m) { m.moe->num_groups = 1; }},
                     {"top_k_groups: expected 4", [](Model& m) { m.moe->top_k_groups = 1; }},
                     {"aux_free_bias: expected true", [](Model& m) { m.moe->aux_free_bias = false; }},
                     {"router_bias: expected false", [](Model& m) { m.moe->router_bias = true; }},
                     {"expert_bias: expected false", [](Model& m) { m.moe->expert_bias = true; }},
                     {"scale_input: expected false", [](Model& m) { m.moe->scale_input = true; }}});
}

TEST(ModelDifferences, AnotherKindOfAttentionIsNamedWithItsSizes) {
  Model grouped = published("deepseek-v3");
  grouped.attention = GroupedQueryAttention{.num_heads = 128, .num_kv_heads = 128, .head_dim = 64};
  const std::vector<std::string> found = differences(published("deepseek-v3"), grouped);
  EXPECT_EQ(found.front(), "attention: expected latent of the plan's model, got grouped-query");
  EXPECT_EQ(found.back(), "sinks: expected none of the plan's model, got false");
}

}  // namespace
}  // namespace orrery
