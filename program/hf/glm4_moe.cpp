// SPDX-License-Identifier: Apache-2.0
// GLM-4.5 to 4.7: the routing of DeepSeek-V3 (leading dense layers, shared expert, sigmoid scores, selection bias,
// multi-token prediction) with grouped-query attention: biases on queries, keys and values but not on the output, and
// in the large models a norm on queries and keys. RoPE turns only a part of each head.
#include "program/hf/family.h"
#include "program/hf/transformer.h"

namespace orrery::hf {
namespace {

GroupedQueryAttention read_attention(const JsonObject& in, const Model& model) {
  GroupedQueryAttention attention = read_grouped_query_attention(in, model);
  attention.qkv_bias = in.optional("attention_bias").boolean().value_or(false);
  attention.qk_norm = in.optional("use_qk_norm").boolean().value_or(false);
  read_rotary_part(in, attention, 0.5);
  return attention;
}

MoeBlock read_moe(const JsonObject& in) {
  MoeBlock block = read_experts(in, "n_routed_experts");
  block.expert_width = in.required("moe_intermediate_size").integer(kWidth);
  block.shared_width = block.expert_width * in.nullable("n_shared_experts").integer({.min = 0, .max = 64}).value_or(0);
  in.optional("scoring_func").one_of({"sigmoid"});
  in.optional("topk_method").one_of({"noaux_tc"});
  block.score = RouterScore::sigmoid;
  block.aux_free_bias = true;
  block.normalize_top_k = in.optional("norm_topk_prob").boolean().value_or(true);
  block.routed_scaling = in.optional("routed_scaling_factor").number({.min = 0.0}).value_or(1.0);
  read_expert_groups(in, block);
  return block;
}

void read(const JsonObject& in, Model& model) {
  read_transformer(in, model);
  model.attention = read_attention(in, model);
  const std::int64_t first_moe = in.required("first_k_dense_replace").integer({.min = 0, .max = kLayers.max});
  set_layers(model, read_moe(in), [&](std::int64_t layer) { return layer >= first_moe; });
  model.num_mtp_modules = in.nullable("num_nextn_predict_layers").integer({.min = 0, .max = 64}).value_or(0);
}

}  // namespace

const Family& glm4_moe() {
  static const Family family{
      .model_type = "glm4_moe",
      .read_keys = join(transformer_keys(),
                        {"num_attention_heads", "num_key_value_heads", "head_dim", "attention_bias", "use_qk_norm",
                         "first_k_dense_replace", "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size",
                         "n_shared_experts", "scoring_func", "topk_method", "norm_topk_prob", "routed_scaling_factor",
                         "n_group", "topk_group", "num_nextn_predict_layers", "partial_rotary_factor"}),
      .harmless_keys = join(harmless_keys(), {"moe_router_dtype", "output_router_logits", "use_grouped_mm"}),
      .refused_keys = {},
      .read = read};
  return family;
}

}  // namespace orrery::hf
