// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/run_model.h"

#include "program/counts.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

RunModel llama() {
  RunModel model;
  model.type = "dense";
  model.layers = 32;
  model.hidden = 4096;
  model.ffn = 14336;
  model.heads = 32;
  model.kv_heads = 8;
  model.head_dim = 128;
  model.vocab = 128256;
  model.activation = "swiglu";
  return model;
}

RunModel deepseek_v3() {
  RunModel model;
  model.type = "moe";
  model.layers = 61;
  model.dense_layers = 3;
  model.hidden = 7168;
  model.ffn = 18432;
  model.heads = 128;
  model.attention = "MLA";
  model.q_lora_rank = 1536;
  model.kv_lora_rank = 512;
  model.qk_nope_dim = 128;
  model.qk_rope_dim = 64;
  model.v_head_dim = 128;
  model.experts = 256;
  model.topk = 8;
  model.moe_ffn = 2048;
  model.shared_expert_ffn = 2048;
  model.vocab = 129280;
  model.mtp = true;
  return model;
}

DescribedModel described(const std::string& name, const RunModel& in) {
  return std::get<DescribedModel>(described_model(name, in));
}

std::string refusal(const RunModel& in) { return std::get<NotModelled>(described_model("m", in)).reason; }

// The counts of data/science.json, found independently in public files.
TEST(RunModel, HasTheParametersOfItsModel) {
  EXPECT_EQ(parameter_counts(described("llama3-8b", llama()).model).total, 8030261248);
  EXPECT_EQ(parameter_counts(described("deepseek-v3", deepseek_v3()).model).total, 671026404352);
}

TEST(RunModel, PutsDenseLayersFirst) {
  const Model model = described("deepseek-v3", deepseek_v3()).model;
  EXPECT_EQ(std::count(model.layers.begin(), model.layers.end(), LayerKind::dense), 3);
  EXPECT_EQ(model.kind(2), LayerKind::dense);
  EXPECT_EQ(model.kind(3), LayerKind::moe);
  EXPECT_EQ(model.num_mtp_modules, 1);
}

TEST(RunModel, PutsExpertsInEverySecondLayer) {
  RunModel in = deepseek_v3();
  in.dense_layers.reset();
  in.moe_layer_freq = "every 2nd layer";
  const Model model = described("m", in).model;
  EXPECT_EQ(model.kind(0), LayerKind::dense);
  EXPECT_EQ(model.kind(1), LayerKind::moe);
  EXPECT_EQ(std::count(model.layers.begin(), model.layers.end(), LayerKind::dense), 31);
  in.moe_layer_freq = "every 3rd layer";
  EXPECT_EQ(refusal(in), "model: MoE layers every 3rd layer");
}

TEST(RunModel, NeedsNoWidthOfDenseLayersWithoutDenseLayers) {
  RunModel in = deepseek_v3();
  in.dense_layers = 0;
  in.ffn.reset();
  EXPECT_EQ(described("m", in).model.dense_width, 0);
}

TEST(RunModel, NormalisesQueriesAndKeysInQwen3) {
  EXPECT_TRUE(std::get<GroupedQueryAttention>(described("qwen3-30b-a3b", llama()).model.attention).qk_norm);
  EXPECT_FALSE(std::get<GroupedQueryAttention>(described("llama3-8b", llama()).model.attention).qk_norm);
}

TEST(RunModel, GivesEachLayerItsSpan) {
  RunModel in = llama();
  EXPECT_TRUE(described("m", in).model.spans.empty());
  in.attention = "GQA, alternating 128-token sliding window";
  Model model = described("m", in).model;
  EXPECT_EQ(model.span(0), AttentionSpan{.window = 128});
  EXPECT_EQ(model.span(1), AttentionSpan());
  in.attention = "GQA (chunked 8192)";
  model = described("m", in).model;
  EXPECT_EQ(model.span(2), (AttentionSpan{.window = 8192, .chunked = true}));
  EXPECT_EQ(model.span(3), AttentionSpan());
}

TEST(RunModel, KnowsTheBiasesAndSinksOfGptOss) {
  RunModel in = deepseek_v3();
  in.attention = "GQA";
  const Model model = described("gpt-oss-20b", in).model;
  const auto& attention = std::get<GroupedQueryAttention>(model.attention);
  EXPECT_TRUE(attention.qkv_bias && attention.out_bias && attention.sinks);
  EXPECT_TRUE(model.moe->router_bias && model.moe->expert_bias);
  EXPECT_FALSE(described("m", in).model.moe->router_bias);
}

TEST(RunModel, TellsGatedFromUngatedFeedForwards) {
  RunModel in = llama();
  EXPECT_TRUE(described("m", in).model.gated);
  in.activation = "gelu";
  in.norm = "layernorm";
  const DescribedModel gpt = described("m", in);
  EXPECT_FALSE(gpt.model.gated);
  EXPECT_EQ(gpt.model.activation, Activation::gelu);
  EXPECT_EQ(gpt.model.norm, NormKind::layer);
  EXPECT_TRUE(gpt.model.norm_bias);
  EXPECT_EQ(gpt.assumptions, std::vector<std::string>{"gelu: no biases in the feed-forward"});
}

TEST(RunModel, RefusesWhatItCannotDescribe) {
  RunModel in = llama();
  in.activation = "tanh";
  EXPECT_EQ(refusal(in), "model: activation tanh");
  in = llama();
  in.norm = "batchnorm";
  EXPECT_EQ(refusal(in), "model: norm batchnorm");
  in = llama();
  in.type = "hybrid-moe";
  EXPECT_EQ(refusal(in), "model: type hybrid-moe");
  in = llama();
  in.attention = "hybrid gated delta net + GQA";
  EXPECT_EQ(refusal(in), "model: attention hybrid gated delta net + GQA");
}

TEST(RunModel, RefusesAModelWhoseSizesAreNotStated) {
  RunModel in;
  in.type = "moe";
  EXPECT_EQ(refusal(in), "model: layers is not stated");
  in = deepseek_v3();
  in.topk.reset();
  EXPECT_EQ(refusal(in), "model: topk is not stated");
  in = llama();
  in.ffn.reset();
  EXPECT_EQ(refusal(in), "model: ffn is not stated");
}

}  // namespace
}  // namespace orrery::costmodel
