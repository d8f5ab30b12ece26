// SPDX-License-Identifier: Apache-2.0
// Mixtral: every layer is MoE, without shared experts; intermediate_size is the width of one expert.
#include "program/hf/attention_spans.h"
#include "program/hf/family.h"
#include "program/hf/transformer.h"

namespace orrery::hf {
namespace {

void read(const JsonObject& in, Model& model) {
  read_transformer(in, model);
  model.attention = read_grouped_query_attention(in, model);
  read_sliding_window(in, model);
  MoeBlock block = read_experts(in, "num_local_experts");
  block.expert_width = model.dense_width;
  block.normalize_top_k = true;
  block.aux_loss_coefficient = in.optional("router_aux_loss_coef").number({.min = 0.0}).value_or(0.001);
  set_layers(model, block, [](std::int64_t) { return true; });
}

}  // namespace

const Family& mixtral() {
  static const Family family{
      .model_type = "mixtral",
      .read_keys =
          join(transformer_keys(), {"num_attention_heads", "num_key_value_heads", "head_dim", "num_local_experts",
                                    "num_experts_per_tok", "router_aux_loss_coef", "sliding_window"}),
      .harmless_keys = join(harmless_keys(), {"output_router_logits", "router_jitter_noise"}),
      .refused_keys = {},
      .read = read,
      .tensors = &kMixtralNames};
  return family;
}

}  // namespace orrery::hf
