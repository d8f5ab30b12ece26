// SPDX-License-Identifier: Apache-2.0
// GPT-OSS: every layer is MoE, every second one sees a window of 128 tokens. Attention has biases on all four
// projections and one learned sink per head; the router and both products of each expert have trained biases. The
// SwiGLU of the experts is clamped.
#include "program/hf/attention_spans.h"
#include "program/hf/family.h"
#include "program/hf/transformer.h"

namespace orrery::hf {
namespace {

void read(const JsonObject& in, Model& model) {
  read_transformer(in, model);
  GroupedQueryAttention attention = read_grouped_query_attention(in, model);
  read_attention_bias(in, attention, true);
  attention.sinks = true;
  model.attention = attention;

  const bool has_none = in.has("sliding_window") && !in.nullable("sliding_window").present();
  const std::int64_t window = in.nullable("sliding_window").integer(kWindow).value_or(has_none ? 0 : 128);
  if (!read_layer_types(in, window, model)) {
    set_spans(model, [&](std::int64_t layer) { return AttentionSpan{.window = layer % 2 == 0 ? window : 0}; });
  }

  MoeBlock block = read_experts(in, "num_local_experts");
  block.expert_width = model.dense_width;
  block.normalize_top_k = true;  // the softmax is over the chosen experts
  block.router_bias = true;
  block.expert_bias = true;
  block.aux_loss_coefficient = in.optional("router_aux_loss_coef").number({.min = 0.0}).value_or(0.9);
  block.swiglu_limit = in.optional("swiglu_limit").number(kSwiglu).value_or(7.0);
  block.swiglu_alpha = in.optional("swiglu_alpha").number(kSwiglu).value_or(block.swiglu_alpha);
  set_layers(model, block, [](std::int64_t) { return true; });
}

}  // namespace

const Family& gpt_oss() {
  static const Family family{
      .model_type = "gpt_oss",
      .read_keys =
          join(transformer_keys(), {"num_attention_heads", "num_key_value_heads", "head_dim", "attention_bias",
                                    "sliding_window", "layer_types", "num_local_experts", "num_experts_per_tok",
                                    "router_aux_loss_coef", "swiglu_limit", "swiglu_alpha"}),
      // experts_per_token repeats num_experts_per_tok.
      .harmless_keys = join(harmless_keys(), {"experts_per_token", "initial_context_length", "output_router_logits"}),
      .refused_keys = {},
      .read = read,
      .tensors = &kGptOssNames};
  return family;
}

}  // namespace orrery::hf
