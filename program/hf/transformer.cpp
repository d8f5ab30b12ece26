// SPDX-License-Identifier: Apache-2.0
#include "program/hf/transformer.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace orrery::hf {

std::span<const std::string_view> transformer_keys() {
  static constexpr std::array<std::string_view, 11> kKeys = {
      "model_type",     "hidden_size", "vocab_size", "num_hidden_layers",   "intermediate_size",
      "rms_norm_eps",   "rope_theta",  "hidden_act", "tie_word_embeddings", "max_position_embeddings",
      "rope_parameters"};
  return kKeys;
}

std::span<const std::string_view> harmless_keys() {
  // rope_scaling changes angles, quantization_config how published weights are stored; neither changes a shape.
  static constexpr std::array<std::string_view, 15> kKeys = {
      "_name_or_path",  "architectures",        "attention_dropout",
      "auto_map",       "bos_token_id",         "dtype",
      "eos_token_id",   "initializer_range",    "pad_token_id",
      "pretraining_tp", "quantization_config",  "rope_scaling",
      "torch_dtype",    "transformers_version", "use_cache"};
  return kKeys;
}

void read_transformer(const JsonObject& in, Model& model, std::optional<double> norm_eps) {
  in.ignore("model_type");
  in.optional("hidden_act").one_of({"silu", "swish"});
  model.hidden = in.required("hidden_size").integer(kHidden);
  model.vocab = in.required("vocab_size").integer({.min = 1, .max = 1 << 26});
  model.dense_width = in.required("intermediate_size").integer(kWidth);
  const auto num_layers = in.required("num_hidden_layers").integer<std::size_t>(kLayers);
  model.layers.assign(num_layers, LayerKind::dense);
  model.max_positions = in.required("max_position_embeddings").integer({.min = 1});
  constexpr NumberRange kEps{.min = 0.0, .max = 1.0};
  model.norm_eps = norm_eps ? in.optional("rms_norm_eps").number(kEps).value_or(*norm_eps)
                            : in.required("rms_norm_eps").number(kEps);
  // Transformers 5 writes all of RoPE into one object; what is not read of it changes angles, as rope_scaling does.
  constexpr NumberRange kTheta{.min = 1.0};
  model.rope_theta = in.optional("rope_theta").number(kTheta).value_or(10000.0);
  if (const auto rope = in.nullable("rope_parameters").object()) {
    model.rope_theta = rope->optional("rope_theta").number(kTheta).value_or(model.rope_theta);
  }
  model.tied_embeddings = in.optional("tie_word_embeddings").boolean().value_or(false);
}

GroupedQueryAttention read_grouped_query_attention(const JsonObject& in, const Model& model) {
  GroupedQueryAttention attention;
  const JsonValue heads = in.required("num_attention_heads");
  attention.num_heads = heads.integer(kHeads);
  const OptionalJsonValue kv_heads = in.nullable("num_key_value_heads");
  attention.num_kv_heads = kv_heads.integer(kHeads).value_or(attention.num_heads);
  if (attention.num_heads % attention.num_kv_heads != 0) {
    kv_heads.value().problem(fmt::format("expected a divisor of {} (num_attention_heads), got {}", attention.num_heads,
                                         attention.num_kv_heads));
  }
  const std::optional<std::int64_t> head_dim = in.nullable("head_dim").integer(kHeadDim);
  attention.head_dim = head_dim.value_or(model.hidden / attention.num_heads);
  const bool hidden_was_read = model.hidden > kHidden.min;
  if (!head_dim && hidden_was_read && model.hidden % attention.num_heads != 0) {
    heads.problem(fmt::format("expected a divisor of {} (hidden_size), since head_dim is not given, got {}",
                              model.hidden, attention.num_heads));
  }
  return attention;
}

void read_rotary_part(const JsonObject& in, GroupedQueryAttention& attention, double fallback) {
  constexpr std::string_view kKey = "partial_rotary_factor";
  const auto rope = in.nullable("rope_parameters").object();
  const OptionalJsonValue factor = (rope && rope->has(kKey) ? *rope : in).optional(kKey);
  const double part = factor.number({.min = 0.0, .max = 1.0}).value_or(fallback);
  const auto turned = static_cast<std::int64_t>(part * static_cast<double>(attention.head_dim));
  if (factor.present() && (turned == 0 || turned % 2 != 0)) {
    factor.value().problem(fmt::format("expected a factor that leaves an even part of a head of {} (head_dim), got {}",
                                       attention.head_dim, turned));
  }
  attention.rotary_dim = turned == attention.head_dim ? 0 : turned;
}

void read_attention_bias(const JsonObject& in, GroupedQueryAttention& attention, bool fallback) {
  attention.qkv_bias = in.nullable("attention_bias").boolean().value_or(fallback);
  attention.out_bias = attention.qkv_bias;
}

MoeBlock read_experts(const JsonObject& in, std::string_view num_experts_key) {
  MoeBlock block;
  block.num_experts = in.required(num_experts_key).integer(kExperts);
  const JsonValue top_k = in.required("num_experts_per_tok");
  block.top_k = top_k.integer(kExperts);
  if (block.top_k > block.num_experts) {
    top_k.problem(fmt::format("expected at most {} ({}), got {}", block.num_experts, num_experts_key, block.top_k));
  }
  return block;
}

void read_expert_groups(const JsonObject& in, MoeBlock& block) {
  const JsonValue num_groups = in.required("n_group");
  const JsonValue top_k_groups = in.required("topk_group");
  block.num_groups = num_groups.integer(kExperts);
  block.top_k_groups = top_k_groups.integer(kExperts);
  if (block.num_experts % block.num_groups != 0) {
    num_groups.problem(
        fmt::format("expected a divisor of {} (n_routed_experts), got {}", block.num_experts, block.num_groups));
  }
  if (block.top_k_groups > block.num_groups) {
    top_k_groups.problem(fmt::format("expected at most {} (n_group), got {}", block.num_groups, block.top_k_groups));
  }
}

void set_layers(Model& model, const MoeBlock& block, const std::function<bool(std::int64_t)>& is_moe) {
  for (std::int64_t layer = 0; layer < model.num_layers(); ++layer) {
    if (is_moe(layer)) model.layers[static_cast<std::size_t>(layer)] = LayerKind::moe;
  }
  const auto num_moe = std::count(model.layers.begin(), model.layers.end(), LayerKind::moe);
  if (num_moe > 0) model.moe = block;
  if (num_moe == model.num_layers()) model.dense_width = 0;
}

}  // namespace orrery::hf
