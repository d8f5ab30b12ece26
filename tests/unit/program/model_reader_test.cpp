// SPDX-License-Identifier: Apache-2.0
// model/1, the format of Orrery's own. Good and bad files are in tests/data/schemas/model as well.
#include "program/counts.h"
#include "program/hf_config.h"
#include "program/parameters.h"
#include "tests/unit/program/reading.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::edited;
using ::testing::ElementsAre;
using testing::problems_of;
using testing::repository_path;
using testing::repository_text;

Model model_of(const std::string& text) { return read_model_text(text, "model.json"); }
std::string problems(const std::string& text) {
  return problems_of([&] { return model_of(text); });
}

Model corpus_model(const std::string& name) {
  return read_model(repository_path("tests/data/schemas/model/" + name + ".json"));
}

/// A dense model with `more` keys.
std::string dense(const std::string& more = "") {
  return R"({"schema": "model/1", "hidden": 64, "vocab": 256, "num_layers": 4,
  "dense_width": 128,
  "attention": {"kind": "grouped_query", "num_heads": 4})" +
         more + "}";
}

/// Attention and feed-forward of a published run that has no config.json, as the table of runs names them.
std::string table_row(const std::string& sizes, const std::string& attention, const std::string& more) {
  return R"({"schema": "model/1", )" + sizes + R"(, "attention": {"kind": "grouped_query", )" + attention + "}" + more +
         "}";
}

TEST(OwnModel, HasPlainDefaults) {
  const Model model = model_of(dense());
  EXPECT_EQ(model.name, "model");
  EXPECT_EQ(model.family, "model/1");
  const auto& attention = std::get<GroupedQueryAttention>(model.attention);
  EXPECT_EQ(attention.num_kv_heads, 4);
  EXPECT_EQ(attention.head_dim, 16);
  EXPECT_FALSE(attention.qkv_bias || attention.out_bias || attention.sinks || attention.qk_norm);
  EXPECT_EQ(model.layers, std::vector<LayerKind>(4, LayerKind::dense));
  EXPECT_FALSE(model.moe.has_value());
  EXPECT_TRUE(model.gated);
  EXPECT_EQ(model.activation, Activation::silu);
  EXPECT_EQ(model.norm, NormKind::rms);
  EXPECT_TRUE(model.spans.empty());
}

TEST(OwnModel, ReadsEveryKeyOfLatentAttentionAndExperts) {
  const Model model = corpus_model("good-everything");
  const auto& attention = std::get<MultiHeadLatentAttention>(model.attention);
  EXPECT_EQ(attention.q_lora_rank, 24);
  EXPECT_EQ(attention.kv_lora_rank, 16);
  EXPECT_EQ(attention.qk_nope_dim, 8);
  EXPECT_EQ(attention.qk_rope_dim, 4);
  EXPECT_EQ(attention.v_head_dim, 8);
  EXPECT_EQ(model.moe->num_experts, 8);
  EXPECT_EQ(model.moe->top_k, 2);
  EXPECT_EQ(model.moe->expert_width, 32);
  EXPECT_EQ(model.moe->shared_width, 32);
  EXPECT_TRUE(model.moe->shared_expert_gate);
  EXPECT_EQ(model.moe->score, RouterScore::sigmoid);
  EXPECT_TRUE(model.moe->normalize_top_k);
  EXPECT_EQ(model.moe->routed_scaling, 2.5);
  EXPECT_EQ(model.moe->num_groups, 4);
  EXPECT_EQ(model.moe->top_k_groups, 2);
  EXPECT_TRUE(model.moe->aux_free_bias && model.moe->router_bias);
  EXPECT_TRUE(model.moe->expert_bias && model.moe->scale_input);
  EXPECT_EQ(model.moe->aux_loss_coefficient, 0.001);
  EXPECT_EQ(model.num_mtp_modules, 1);
  EXPECT_TRUE(model.tied_embeddings);
  EXPECT_FALSE(model.gated);
  EXPECT_EQ(model.activation, Activation::squared_relu);
  EXPECT_TRUE(model.mlp_bias && model.norm_bias && model.learned_positions);
  EXPECT_EQ(model.norm, NormKind::layer);
  EXPECT_EQ(model.norm_eps, 1e-5);
  EXPECT_EQ(model.rope_theta, 500000.0);
  EXPECT_EQ(model.max_positions, 512);
}

TEST(OwnModel, RepeatsPatternsUntilEveryLayerHasOne) {
  const Model model = corpus_model("good-everything");
  constexpr LayerKind kDense = LayerKind::dense, kMoe = LayerKind::moe;
  EXPECT_THAT(model.layers, ElementsAre(kDense, kMoe, kDense, kMoe, kDense, kMoe));
  std::vector<std::int64_t> windows;
  for (const AttentionSpan& span : model.spans) windows.push_back(span.chunked ? -span.window : span.window);
  EXPECT_THAT(windows, ElementsAre(128, 0, -64, 128, 0, -64));
}

TEST(OwnModel, ReadsBiasesSinksAndNormsOfGroupedQueries) {
  const auto attention = std::get<GroupedQueryAttention>(corpus_model("good-biases").attention);
  EXPECT_EQ(attention.num_kv_heads, 2);
  EXPECT_EQ(attention.head_dim, 32);
  EXPECT_TRUE(attention.qkv_bias && attention.out_bias && attention.sinks && attention.qk_norm);
  EXPECT_EQ(attention.qk_norm_kind, QkNorm::whole);
}

TEST(OwnModel, CountsWhatTheSameModelCountsFromItsConfig) {
  const Model own = model_of(R"({"schema": "model/1", "hidden": 2880, "vocab": 201088, "num_layers": 36,
    "attention": {"kind": "grouped_query", "num_heads": 64, "num_kv_heads": 8, "head_dim": 64, "qkv_bias": true,
                  "out_bias": true, "sinks": true},
    "moe": {"num_experts": 128, "top_k": 4, "expert_width": 2880, "router_bias": true, "expert_bias": true},
    "spans": [{"window": 128}, {"window": 0}]})");
  const Model published = read_model(repository_path("catalog/models/gpt-oss-120b.json"));
  EXPECT_EQ(parameter_counts(own).total, parameter_counts(published).total);
  EXPECT_EQ(own.spans, published.spans);
  EXPECT_EQ(layer_parameters(own, 35, 0, 128), layer_parameters(published, 35, 0, 128));
}

TEST(OwnModel, DescribesThePublishedRunsThatHaveNoConfig) {
  const Model nemotron =
      model_of(table_row(R"("hidden": 18432, "vocab": 256000, "num_layers": 96, "dense_width": 73728)",
                         R"("num_heads": 96, "num_kv_heads": 8, "head_dim": 192)",
                         R"(, "gated": false, "activation": "squared_relu", "norm": "layer", "norm_bias": true)"));
  EXPECT_NEAR(static_cast<double>(parameter_counts(nemotron).total), 341e9, 1e9);  // "340B"
  const Model grok = model_of(table_row(R"("hidden": 6144, "vocab": 131072, "num_layers": 64)",
                                        R"("num_heads": 48, "num_kv_heads": 8, "head_dim": 128)",
                                        R"(, "activation": "gelu", "tied_embeddings": true,
         "moe": {"num_experts": 8, "top_k": 2, "expert_width": 32768})"));
  EXPECT_NEAR(static_cast<double>(parameter_counts(grok).total), 314e9, 3e9);
  const Model mpt = model_of(table_row(
      R"("hidden": 4096, "vocab": 50368, "num_layers": 32, "dense_width": 16384)", R"("num_heads": 32)",
      R"(, "gated": false, "activation": "gelu", "norm": "layer", "tied_embeddings": true, "learned_positions": true,
         "max_positions": 2048)"));
  EXPECT_NEAR(static_cast<double>(parameter_counts(mpt).total), 6.65e9, 0.05e9);
}

TEST(OwnModel, CountsGpt3Exactly) {
  EXPECT_EQ(parameter_counts(read_model(repository_path("catalog/models/gpt3-175b.json"))).total, 174'604'259'328);
}

TEST(OwnModel, SaysWhichKeyIsWrong) {
  EXPECT_EQ(
      problems(dense(R"(, "spans": [{"window": 8}, {"window": 8}, {"window": 8}, {"window": 8}, {"window": 8}])")),
      "model.json:3: /spans: expected 1 to 4 entries (num_layers), got 5");
  EXPECT_EQ(problems(dense(R"(, "num_leading_dense": 5)")),
            "model.json:3: /num_leading_dense: expected an integer from 0 to 4, got 5");
  EXPECT_EQ(problems(dense(R"(, "gatted": false)")), "model.json:3: /gatted: unknown key; did you mean \"gated\"?");
  EXPECT_EQ(problems(R"({"schema": "model/1"})"),
            "model.json:1: expected the key \"hidden\", which is missing\n"
            "model.json:1: expected the key \"vocab\", which is missing\n"
            "model.json:1: expected the key \"num_layers\", which is missing\n"
            "model.json:1: expected the key \"dense_width\", which is missing\n"
            "model.json:1: expected the key \"attention\", which is missing");
}

TEST(OwnModel, RefusesBlocksThatNoLayerHas) {
  EXPECT_EQ(problems(dense(R"(,
  "layers": ["dense"],
  "moe": {"num_experts": 8, "top_k": 2, "expert_width": 32})")),
            "model.json:5: /moe: expected no key \"moe\", since no layer is a MoE layer");
  EXPECT_EQ(problems(dense(R"(,
  "moe": {"num_experts": 8, "top_k": 2, "expert_width": 32})")),
            "model.json:2: /dense_width: expected no key \"dense_width\", since no layer is dense");
  EXPECT_EQ(problems(dense(R"(, "layers": ["moe", "dense"])")),
            "model.json:1: expected the key \"moe\", which is missing");
}

TEST(OwnModel, ChecksHeadsExpertsAndGroups) {
  EXPECT_EQ(
      problems(edited(dense(), R"("num_heads": 4)", R"("num_heads": 6, "num_kv_heads": 4)")),
      "model.json:3: /attention/num_kv_heads: expected a divisor of 6 (num_heads), got 4\n"
      "model.json:3: /attention/num_heads: expected a divisor of 64 (hidden), since head_dim is not given, got 6");
  EXPECT_EQ(problems(dense(R"(, "num_leading_dense": 1,
  "moe": {"num_experts": 8, "top_k": 9, "expert_width": 32,
          "num_groups": 3,
          "top_k_groups": 4})")),
            "model.json:4: /moe/top_k: expected at most 8 (num_experts), got 9\n"
            "model.json:5: /moe/num_groups: expected a divisor of 8 (num_experts), got 3\n"
            "model.json:6: /moe/top_k_groups: expected at most 3 (num_groups), got 4");
}

TEST(OwnModel, NeedsTheNumberOfLearnedPositions) {
  EXPECT_EQ(problems(dense(R"(, "learned_positions": true)")),
            "model.json:1: expected the key \"max_positions\", which is missing");
}

}  // namespace
}  // namespace orrery
