// SPDX-License-Identifier: Apache-2.0
// Qwen2-MoE and Qwen3-MoE. Layers are MoE at every decoder_sparse_step, except those of mlp_only_layers. Qwen2-MoE has
// biases on queries, keys and values and a gated shared expert; Qwen3-MoE has norms on queries and keys instead.
#include "program/hf/attention_spans.h"
#include "program/hf/family.h"
#include "program/hf/transformer.h"

#include <set>

namespace orrery::hf {
namespace {

MoeBlock read_moe(const JsonObject& in) {
  // As Transformers 5 writes Qwen3-MoE.
  const bool is_renamed = in.has("num_local_experts") && !in.has("num_experts");
  MoeBlock block = read_experts(in, is_renamed ? "num_local_experts" : "num_experts");
  in.ignore("num_local_experts");
  block.expert_width = in.required("moe_intermediate_size").integer(kWidth);
  block.normalize_top_k = in.optional("norm_topk_prob").boolean().value_or(false);
  block.aux_loss_coefficient = in.optional("router_aux_loss_coef").number({.min = 0.0}).value_or(0.001);
  return block;
}

void read_layers(const JsonObject& in, const MoeBlock& block, Model& model) {
  const std::int64_t step = in.optional("decoder_sparse_step").integer(kLayers).value_or(1);
  std::set<std::int64_t> dense;
  if (const auto layers = in.nullable("mlp_only_layers").array()) {
    for (const JsonValue& layer : *layers) dense.insert(layer.integer({.min = 0, .max = model.num_layers() - 1}));
  }
  set_layers(model, block, [&](std::int64_t layer) { return (layer + 1) % step == 0 && !dense.contains(layer); });
}

void read_qwen2(const JsonObject& in, Model& model) {
  read_transformer(in, model);
  read_optional_sliding_window(in, model);
  GroupedQueryAttention attention = read_grouped_query_attention(in, model);
  attention.qkv_bias = in.optional("qkv_bias").boolean().value_or(true);
  model.attention = attention;
  MoeBlock block = read_moe(in);
  block.shared_width = in.required("shared_expert_intermediate_size").integer(kWidth);
  block.shared_expert_gate = true;
  read_layers(in, block, model);
}

void read_qwen3(const JsonObject& in, Model& model) {
  read_transformer(in, model);
  read_optional_sliding_window(in, model);
  GroupedQueryAttention attention = read_grouped_query_attention(in, model);
  read_attention_bias(in, attention);
  attention.qk_norm = true;
  model.attention = attention;
  read_layers(in, read_moe(in), model);
}

std::vector<std::string_view> read_keys(std::initializer_list<std::string_view> own) {
  const std::vector<std::string_view> common =
      join(transformer_keys(),
           {"num_attention_heads", "num_key_value_heads", "head_dim", "num_experts", "num_experts_per_tok",
            "moe_intermediate_size", "norm_topk_prob", "router_aux_loss_coef", "decoder_sparse_step", "mlp_only_layers",
            "use_sliding_window", "sliding_window", "max_window_layers", "layer_types"});
  return join(common, own);
}

std::vector<std::string_view> ignored_keys() { return join(harmless_keys(), {"output_router_logits"}); }

}  // namespace

const Family& qwen2_moe() {
  static const Family family{.model_type = "qwen2_moe",
                             .read_keys = read_keys({"qkv_bias", "shared_expert_intermediate_size"}),
                             .harmless_keys = ignored_keys(),
                             .refused_keys = {},
                             .read = read_qwen2,
                             .tensors = &kQwenMoeNames};
  return family;
}

const Family& qwen3_moe() {
  static const Family family{.model_type = "qwen3_moe",
                             .read_keys = read_keys({"attention_bias", "num_local_experts"}),
                             .harmless_keys = ignored_keys(),
                             .refused_keys = {},
                             .read = read_qwen3};
  return family;
}

}  // namespace orrery::hf
