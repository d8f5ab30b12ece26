// SPDX-License-Identifier: Apache-2.0
// Reader of model/1, docs/formats/model.md: the fields of Model by their own names, for architectures that no family of
// `config.json` describes. Patterns stand for lists with one entry per layer.
#include "program/hf/attention_spans.h"
#include "program/hf/transformer.h"
#include "program/json_parts.h"

#include <vector>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr IntegerRange kCount{.min = 0, .max = 1 << 20};
constexpr IntegerRange kMtpModules{.min = 0, .max = 64};
constexpr NumberRange kNotNegative{.min = 0.0};

bool flag(const JsonObject& in, std::string_view key, bool fallback = false) {
  return in.optional(key).boolean().value_or(fallback);
}

GroupedQueryAttention read_gqa(const JsonObject& in, const Model& model) {
  GroupedQueryAttention attention;
  const JsonValue heads = in.required("num_heads");
  attention.num_heads = heads.integer(hf::kHeads);
  const OptionalJsonValue kv_heads = in.optional("num_kv_heads");
  attention.num_kv_heads = kv_heads.integer(hf::kHeads).value_or(attention.num_heads);
  if (attention.num_heads % attention.num_kv_heads != 0) {
    kv_heads.value().problem(
        fmt::format("expected a divisor of {} (num_heads), got {}", attention.num_heads, attention.num_kv_heads));
  }
  const std::optional<std::int64_t> head_dim = in.optional("head_dim").integer(hf::kHeadDim);
  attention.head_dim = head_dim.value_or(model.hidden / attention.num_heads);
  const bool hidden_was_read = model.hidden > hf::kHidden.min;
  if (!head_dim && hidden_was_read && model.hidden % attention.num_heads != 0) {
    heads.problem(fmt::format("expected a divisor of {} (hidden), since head_dim is not given, got {}", model.hidden,
                              attention.num_heads));
  }
  attention.qkv_bias = flag(in, "qkv_bias");
  attention.out_bias = flag(in, "out_bias");
  attention.sinks = flag(in, "sinks");
  const OptionalJsonValue rotary_dim = in.optional("rotary_dim");
  attention.rotary_dim = rotary_dim.integer(hf::kHeadDim).value_or(0);
  if (attention.rotary_dim % 2 != 0 || attention.rotary_dim > attention.head_dim) {
    rotary_dim.value().problem(
        fmt::format("expected an even number up to {} (head_dim), got {}", attention.head_dim, attention.rotary_dim));
  }
  if (attention.rotary_dim == attention.head_dim) attention.rotary_dim = 0;
  constexpr Named<QkNorm> kKinds[] = {
      {"per_head", QkNorm::per_head}, {"whole", QkNorm::whole}, {"unweighted", QkNorm::unweighted}};
  if (const auto kind = in.optional("qk_norm").one_of<QkNorm>(kKinds)) {
    attention.qk_norm = true;
    attention.qk_norm_kind = *kind;
  }
  in.finish();
  return attention;
}

MultiHeadLatentAttention read_mla(const JsonObject& in) {
  MultiHeadLatentAttention attention;
  attention.num_heads = in.required("num_heads").integer(hf::kHeads);
  attention.q_lora_rank = in.optional("q_lora_rank").integer(kCount).value_or(0);
  attention.kv_lora_rank = in.required("kv_lora_rank").integer(hf::kWidth);
  attention.qk_nope_dim = in.required("qk_nope_dim").integer(hf::kHeadDim);
  attention.qk_rope_dim = in.required("qk_rope_dim").integer(hf::kHeadDim);
  attention.v_head_dim = in.required("v_head_dim").integer(hf::kHeadDim);
  in.finish();
  return attention;
}

void read_attention(const JsonObject& in, Model& model) {
  const std::string kind = in.required("kind").one_of({"grouped_query", "latent"});
  if (kind == "latent") {
    model.attention = read_mla(in);
  } else {
    model.attention = read_gqa(in, model);
  }
}

MoeBlock read_moe(const JsonObject& in) {
  constexpr Named<RouterScore> kScores[] = {{"softmax", RouterScore::softmax}, {"sigmoid", RouterScore::sigmoid}};
  MoeBlock block;
  block.num_experts = in.required("num_experts").integer(hf::kExperts);
  const JsonValue top_k = in.required("top_k");
  block.top_k = top_k.integer(hf::kExperts);
  if (block.top_k > block.num_experts) {
    top_k.problem(fmt::format("expected at most {} (num_experts), got {}", block.num_experts, block.top_k));
  }
  block.expert_width = in.required("expert_width").integer(hf::kWidth);
  block.shared_width = in.optional("shared_width").integer(kCount).value_or(0);
  block.shared_expert_gate = flag(in, "shared_expert_gate");
  block.score = in.optional("score").one_of<RouterScore>(kScores).value_or(RouterScore::softmax);
  block.normalize_top_k = flag(in, "normalize_top_k");
  block.routed_scaling = in.optional("routed_scaling").number(kNotNegative).value_or(1.0);
  const OptionalJsonValue groups = in.optional("num_groups"), top_k_groups = in.optional("top_k_groups");
  block.num_groups = groups.integer(hf::kExperts).value_or(1);
  block.top_k_groups = top_k_groups.integer(hf::kExperts).value_or(1);
  if (block.num_experts % block.num_groups != 0) {
    groups.value().problem(
        fmt::format("expected a divisor of {} (num_experts), got {}", block.num_experts, block.num_groups));
  }
  if (block.top_k_groups > block.num_groups) {
    top_k_groups.value().problem(
        fmt::format("expected at most {} (num_groups), got {}", block.num_groups, block.top_k_groups));
  }
  block.aux_free_bias = flag(in, "aux_free_bias");
  block.aux_loss_coefficient = in.optional("aux_loss_coefficient").number(kNotNegative).value_or(0.0);
  block.router_bias = flag(in, "router_bias");
  block.expert_bias = flag(in, "expert_bias");
  block.scale_input = flag(in, "scale_input");
  block.swiglu_limit = in.optional("swiglu_limit").number(hf::kSwiglu).value_or(0.0);
  block.swiglu_alpha = in.optional("swiglu_alpha").number(hf::kSwiglu).value_or(block.swiglu_alpha);
  in.finish();
  return block;
}

/// The elements of a list that is repeated until every layer has one; empty after a problem.
std::vector<JsonValue> pattern(const OptionalJsonValue& key, std::int64_t num_layers) {
  if (!key.present()) return {};
  std::vector<JsonValue> elements = key.value().array();
  const auto size = static_cast<std::int64_t>(elements.size());
  if (key.value().kind() == JsonKind::array && (size == 0 || size > num_layers)) {
    key.value().problem(fmt::format("expected 1 to {} entries (num_layers), got {}", num_layers, size));
    elements.clear();
  }
  return elements;
}

void read_layers(const JsonObject& in, Model& model) {
  constexpr Named<LayerKind> kKinds[] = {{"dense", LayerKind::dense}, {"moe", LayerKind::moe}};
  const auto num_layers = in.required("num_layers").integer<std::int64_t>(hf::kLayers);
  const OptionalJsonValue moe = in.optional("moe"), layers = in.optional("layers");
  const OptionalJsonValue leading = in.optional("num_leading_dense");
  const std::int64_t num_leading = leading.integer({.min = 0, .max = num_layers}).value_or(0);
  std::vector<LayerKind> kinds;
  for (const JsonValue& kind : pattern(layers, num_layers)) kinds.push_back(kind.one_of<LayerKind>(kKinds));
  if (kinds.empty()) kinds = {moe.present() ? LayerKind::moe : LayerKind::dense};

  model.layers.assign(static_cast<std::size_t>(num_layers), LayerKind::dense);
  bool has_moe = false, has_dense = false;
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const std::size_t behind = i - static_cast<std::size_t>(num_leading);
    if (i >= static_cast<std::size_t>(num_leading)) model.layers[i] = kinds[behind % kinds.size()];
    (model.layers[i] == LayerKind::moe ? has_moe : has_dense) = true;
  }
  if (has_dense) model.dense_width = in.required("dense_width").integer(hf::kWidth);
  if (has_moe) model.moe = read_moe(in.required("moe").object());
  if (!has_moe && moe.present()) moe.value().problem("expected no key \"moe\", since no layer is a MoE layer");
  if (!has_dense && in.has("dense_width")) {
    in.required("dense_width").problem("expected no key \"dense_width\", since no layer is dense");
  }
}

void read_spans(const JsonObject& in, Model& model) {
  std::vector<AttentionSpan> spans;
  for (const JsonValue& value : pattern(in.optional("spans"), model.num_layers())) {
    const JsonObject span = value.object();
    const std::int64_t window = span.required("window").integer({.min = 0, .max = hf::kWindow.max});
    spans.push_back({.window = window, .chunked = window > 0 && flag(span, "chunked")});
    span.finish();
  }
  if (spans.empty()) return;
  hf::set_spans(model, [&](std::int64_t layer) { return spans[static_cast<std::size_t>(layer) % spans.size()]; });
}

}  // namespace

Model read_own_model(const JsonObject& in, const std::string& name) {
  constexpr Named<Activation> kActivations[] = {
      {"silu", Activation::silu}, {"gelu", Activation::gelu}, {"squared_relu", Activation::squared_relu}};
  constexpr Named<NormKind> kNorms[] = {{"rms", NormKind::rms}, {"layer", NormKind::layer}};
  Model model;
  model.name = name;
  model.family = "model/1";
  in.schema("model/1");
  in.optional("source").string();
  model.hidden = in.required("hidden").integer(hf::kHidden);
  model.vocab = in.required("vocab").integer({.min = 1, .max = 1 << 26});
  read_layers(in, model);
  read_attention(in.required("attention").object(), model);
  read_spans(in, model);
  model.num_mtp_modules = in.optional("num_mtp_modules").integer(kMtpModules).value_or(0);
  model.tied_embeddings = flag(in, "tied_embeddings");
  model.gated = flag(in, "gated", true);
  model.activation = in.optional("activation").one_of<Activation>(kActivations).value_or(Activation::silu);
  model.mlp_bias = flag(in, "mlp_bias");
  model.norm = in.optional("norm").one_of<NormKind>(kNorms).value_or(NormKind::rms);
  model.norm_bias = flag(in, "norm_bias");
  model.norm_eps = in.optional("norm_eps").number({.min = 0.0, .max = 1.0}).value_or(model.norm_eps);
  model.rope_theta = in.optional("rope_theta").number({.min = 1.0}).value_or(model.rope_theta);
  model.learned_positions = flag(in, "learned_positions");
  constexpr IntegerRange kPositions{.min = 1, .max = std::int64_t{1} << 31};
  model.max_positions = model.learned_positions ? in.required("max_positions").integer(kPositions)
                                                : in.optional("max_positions").integer(kPositions).value_or(0);
  in.finish();
  return model;
}

}  // namespace orrery
