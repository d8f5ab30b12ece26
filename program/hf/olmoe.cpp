// SPDX-License-Identifier: Apache-2.0
// OLMoE: every layer is MoE, without shared experts; intermediate_size is the width of one expert. The norms on queries
// and keys cover the whole projection, not a head.
#include "program/hf/family.h"
#include "program/hf/transformer.h"

namespace orrery::hf {
namespace {

void read(const JsonObject& in, Model& model) {
  read_transformer(in, model, 1e-5);
  GroupedQueryAttention attention = read_grouped_query_attention(in, model);
  read_attention_bias(in, attention);
  attention.qk_norm = true;
  attention.qk_norm_kind = QkNorm::whole;
  model.attention = attention;
  MoeBlock block = read_experts(in, "num_experts");
  block.expert_width = model.dense_width;
  block.normalize_top_k = in.optional("norm_topk_prob").boolean().value_or(false);
  block.aux_loss_coefficient = in.optional("router_aux_loss_coef").number({.min = 0.0}).value_or(0.01);
  set_layers(model, block, [](std::int64_t) { return true; });
}

}  // namespace

const Family& olmoe() {
  static const Family family{
      .model_type = "olmoe",
      .read_keys =
          join(transformer_keys(), {"num_attention_heads", "num_key_value_heads", "head_dim", "attention_bias",
                                    "num_experts", "num_experts_per_tok", "norm_topk_prob", "router_aux_loss_coef"}),
      // clip_qkv bounds values and changes no shape.
      .harmless_keys = join(harmless_keys(), {"clip_qkv", "output_router_logits"}),
      .refused_keys = {},
      .read = read,
      .departures = {{"clip_qkv", "", "queries, keys and values are not clipped"}}};
  return family;
}

}  // namespace orrery::hf
