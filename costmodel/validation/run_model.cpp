// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/run_model.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

/// What must be stated for a model of this kind; the first that is not.
std::optional<std::string> missing(const RunModel& in, bool is_moe, bool is_mla) {
  std::vector<std::pair<const char*, bool>> needed = {{"layers", in.layers.has_value()},
                                                      {"hidden", in.hidden.has_value()},
                                                      {"heads", in.heads.has_value()},
                                                      {"vocab", in.vocab.has_value()}};
  const bool has_dense_layers = !is_moe || in.dense_layers.value_or(0) > 0 || in.moe_layer_freq.has_value();
  if (has_dense_layers) needed.emplace_back("ffn", in.ffn.has_value());
  if (is_moe) {
    needed.emplace_back("experts", in.experts.has_value());
    needed.emplace_back("topk", in.topk.has_value());
    needed.emplace_back("moe_ffn", in.moe_ffn.has_value());
  }
  if (is_mla) needed.emplace_back("kv_lora_rank", in.kv_lora_rank.has_value());
  for (const auto& [key, is_there] : needed) {
    if (!is_there) return key;
  }
  return std::nullopt;
}

/// GPT-OSS has biases everywhere and attention sinks (Hugging Face modeling_gpt_oss.py), which runs/1 does not state.
constexpr double kGptOssLimit = 7.0;  // config.json of openai/gpt-oss-120b: swiglu_limit
bool is_gpt_oss(const std::string& name) { return name.starts_with("gpt-oss"); }

Attention attention_of(const std::string& name, const RunModel& in, bool is_mla) {
  if (is_mla) {
    return MultiHeadLatentAttention{.num_heads = *in.heads,
                                    .q_lora_rank = in.q_lora_rank.value_or(0),
                                    .kv_lora_rank = *in.kv_lora_rank,
                                    .qk_nope_dim = in.qk_nope_dim.value_or(0),
                                    .qk_rope_dim = in.qk_rope_dim.value_or(0),
                                    .v_head_dim = in.v_head_dim.value_or(0)};
  }
  GroupedQueryAttention out{.num_heads = *in.heads,
                            .num_kv_heads = in.kv_heads.value_or(*in.heads),
                            .head_dim = in.head_dim.value_or(*in.hidden / *in.heads)};
  // Every Qwen3 normalises queries and keys (Hugging Face modeling_qwen3.py).
  out.qk_norm = name.starts_with("qwen3");
  out.qkv_bias = out.out_bias = out.sinks = is_gpt_oss(name);
  return out;
}

/// "swiglu" is a gated silu; nothing for a name that has no known meaning.
bool set_activation(const std::string& name, Model& model) {
  model.gated = name == "swiglu" || name == "geglu";
  if (name == "swiglu") {
    model.activation = Activation::silu;
  } else if (name == "geglu" || name == "gelu") {
    model.activation = Activation::gelu;
  } else if (name == "squared_relu") {
    model.activation = Activation::squared_relu;
  } else {
    return false;
  }
  return true;
}

/// What each layer sees, from the words of the file; false if they have no known meaning.
bool set_spans(const std::string& attention, Model& model) {
  if (attention == "GQA" || attention == "MLA") return true;
  AttentionSpan even, odd;
  if (attention == "GQA, alternating 128-token sliding window") {
    even.window = 128;  // layers 0, 2, ... (Hugging Face configuration_gpt_oss.py)
  } else if (attention == "GQA (chunked 8192)") {
    // Every fourth layer sees the whole sequence (Hugging Face configuration_llama4.py); it is the last of its four.
    even = odd = {.window = 8192, .chunked = true};
  } else {
    return false;
  }
  for (std::int64_t i = 0; i < model.num_layers(); ++i) model.spans.push_back(i % 2 == 0 ? even : odd);
  if (even.chunked) {
    for (std::size_t i = 3; i < model.spans.size(); i += 4) model.spans[i] = {};
  }
  return true;
}

/// Kinds of the layers, in order; nothing if the pattern has no known meaning.
std::optional<std::vector<LayerKind>> layer_kinds(const RunModel& in, bool is_moe) {
  const auto num_layers = static_cast<std::size_t>(*in.layers);
  std::vector<LayerKind> kinds(num_layers, is_moe ? LayerKind::moe : LayerKind::dense);
  if (!is_moe) return kinds;
  if (in.moe_layer_freq) {
    if (*in.moe_layer_freq != "every 2nd layer") return std::nullopt;
    for (std::size_t i = 0; i < num_layers; i += 2) kinds[i] = LayerKind::dense;
    return kinds;
  }
  // A truncated model keeps its leading dense layers, of which DeepSeek-V3's proxies keep one (SimuMax).
  const auto num_dense = std::min(num_layers, static_cast<std::size_t>(in.dense_layers.value_or(0)));
  std::fill_n(kinds.begin(), num_dense, LayerKind::dense);
  return kinds;
}

}  // namespace

std::variant<DescribedModel, NotModelled> described_model(const std::string& name, const RunModel& in) {
  const auto refuse = [](std::string reason) { return NotModelled{"model: " + std::move(reason)}; };
  if (in.type == "hybrid" || in.type == "hybrid-moe") return refuse("type " + in.type);
  const bool is_moe = in.type == "moe";
  const std::string attention = in.attention.value_or("GQA");
  const bool is_mla = attention == "MLA";
  if (const auto key = missing(in, is_moe, is_mla)) return refuse(fmt::format("{} is not stated", *key));

  DescribedModel out;
  Model& model = out.model;
  const std::string activation = in.activation.value_or("swiglu");
  if (!set_activation(activation, model)) return refuse("activation " + activation);
  if (in.norm && *in.norm != "layernorm") return refuse("norm " + *in.norm);
  if (in.norm) {
    model.norm = NormKind::layer;
    model.norm_bias = true;
  }
  model.name = name;
  model.family = in.type;
  model.hidden = *in.hidden;
  model.vocab = *in.vocab;
  model.attention = attention_of(name, in, is_mla);
  const auto kinds = layer_kinds(in, is_moe);
  if (!kinds) return refuse("MoE layers " + *in.moe_layer_freq);
  model.layers = *kinds;
  if (std::find(kinds->begin(), kinds->end(), LayerKind::dense) != kinds->end()) model.dense_width = *in.ffn;
  if (is_moe) {
    model.moe = MoeBlock{.num_experts = *in.experts,
                         .top_k = *in.topk,
                         .expert_width = *in.moe_ffn,
                         .shared_width = in.shared_expert_ffn.value_or(0),
                         .num_groups = in.router_groups.value_or(1),
                         .top_k_groups = in.router_group_topk.value_or(1),
                         .router_bias = is_gpt_oss(name),
                         .expert_bias = is_gpt_oss(name),
                         .swiglu_limit = is_gpt_oss(name) ? kGptOssLimit : 0.0};
  }
  model.num_mtp_modules = in.mtp ? 1 : 0;
  model.tied_embeddings = in.tied_embeddings;
  if (!set_spans(attention, model)) return refuse("attention " + attention);
  if (!model.gated) out.assumptions.push_back(activation + ": no biases in the feed-forward");
  return out;
}

}  // namespace orrery::costmodel
