// SPDX-License-Identifier: Apache-2.0
// Llama 4: layers are MoE at every interleave_moe_layer_step, with one shared expert of the width of a routed one, and
// dense with intermediate_size_mlp elsewhere. Layers with rotary positions (1 in no_rope_layers, whatever its name
// says) see a chunk of the sequence, the others all of it. Published files hold the language model in text_config;
// the tower that sees images is not modelled.
#include "program/hf/attention_spans.h"
#include "program/hf/family.h"
#include "program/hf/transformer.h"

#include <optional>
#include <set>

#include <fmt/format.h>

namespace orrery::hf {
namespace {

constexpr std::int64_t kChunk = 8192;

GroupedQueryAttention read_attention(const JsonObject& in, const Model& model) {
  GroupedQueryAttention attention = read_grouped_query_attention(in, model);
  read_attention_bias(in, attention);
  attention.qk_norm = in.optional("use_qk_norm").boolean().value_or(true);
  attention.qk_norm_kind = QkNorm::unweighted;
  return attention;
}

// An absent or empty list stands for its rule: every no_rope_layer_interval-th layer has no rotary positions.
void read_spans(const JsonObject& in, Model& model) {
  const bool has_none = in.has("attention_chunk_size") && !in.nullable("attention_chunk_size").present();
  const std::int64_t chunk = in.nullable("attention_chunk_size").integer(kWindow).value_or(has_none ? 0 : kChunk);
  const std::int64_t interval = in.optional("no_rope_layer_interval").integer(kLayers).value_or(4);
  const OptionalJsonValue key = in.nullable("no_rope_layers");
  std::vector<bool> rotary;
  for (const JsonValue& value : key.array().value_or(std::vector<JsonValue>())) {
    rotary.push_back(value.integer({.min = 0, .max = 1}) == 1);
  }
  if (!rotary.empty() && static_cast<std::int64_t>(rotary.size()) != model.num_layers()) {
    key.value().problem(
        fmt::format("expected {} entries (num_hidden_layers), got {}", model.num_layers(), rotary.size()));
    rotary.clear();
  }
  if (read_layer_types(in, chunk, model)) return;
  set_spans(model, [&](std::int64_t layer) {
    const bool is_chunked = rotary.empty() ? (layer + 1) % interval != 0 : rotary[static_cast<std::size_t>(layer)];
    return is_chunked && chunk > 0 ? AttentionSpan{.window = chunk, .chunked = true} : AttentionSpan{};
  });
}

MoeBlock read_moe(const JsonObject& in, const Model& model) {
  MoeBlock block = read_experts(in, "num_local_experts");
  block.expert_width = model.dense_width;
  block.shared_width = block.expert_width;
  block.score = RouterScore::sigmoid;
  block.scale_input = true;
  block.aux_loss_coefficient = in.optional("router_aux_loss_coef").number({.min = 0.0}).value_or(0.001);
  return block;
}

void read_text(const JsonObject& in, Model& model) {
  read_transformer(in, model);
  model.attention = read_attention(in, model);
  read_spans(in, model);
  const MoeBlock block = read_moe(in, model);  // its experts have the width intermediate_size
  model.dense_width = in.required("intermediate_size_mlp").integer(kWidth);
  const std::int64_t step = in.optional("interleave_moe_layer_step").integer(kLayers).value_or(1);
  std::optional<std::set<std::int64_t>> listed;
  if (const auto layers = in.nullable("moe_layers").array()) {
    listed.emplace();
    for (const JsonValue& layer : *layers) listed->insert(layer.integer({.min = 0, .max = model.num_layers() - 1}));
  }
  set_layers(model, block,
             [&](std::int64_t layer) { return listed ? listed->contains(layer) : (layer + 1) % step == 0; });
}

void read_outer(const JsonObject& in, Model&) { in.ignore("model_type"); }

}  // namespace

const Family& llama4_text() {
  static const Family family{
      .model_type = "llama4_text",
      .read_keys =
          join(transformer_keys(), {"num_attention_heads", "num_key_value_heads", "head_dim", "attention_bias",
                                    "use_qk_norm", "attention_chunk_size", "no_rope_layers", "no_rope_layer_interval",
                                    "layer_types", "num_local_experts", "num_experts_per_tok", "router_aux_loss_coef",
                                    "intermediate_size_mlp", "interleave_moe_layer_step", "moe_layers"}),
      .harmless_keys = join(harmless_keys(), {"_attn_implementation_autoset", "attn_scale", "attn_temperature_tuning",
                                              "cache_implementation", "floor_scale", "for_llm_compressor",
                                              "output_router_logits", "router_jitter_noise"}),
      .refused_keys = {},
      .read = read_text,
      .tensors = nullptr};
  return family;
}

const Family& llama4() {
  static const Family family{.model_type = "llama4",
                             .read_keys = {"model_type", "text_config"},
                             .harmless_keys = join(harmless_keys(), {"boi_token_index", "eoi_token_index",
                                                                     "image_token_index", "vision_config"}),
                             .refused_keys = {{"tie_word_embeddings", "a tied head outside of text_config"}},
                             .read = read_outer,
                             .nested_key = "text_config",
                             .nested = llama4_text,
                             .tensors = nullptr};
  return family;
}

}  // namespace orrery::hf
