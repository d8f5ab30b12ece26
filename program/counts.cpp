// SPDX-License-Identifier: Apache-2.0
#include "program/counts.h"

#include "program/parameters.h"

#include <algorithm>

namespace orrery {
namespace {

struct LayerCounts {
  std::int64_t total = 0, active = 0, buffers = 0;  // total with the buffers, active without
};

LayerCounts count_layer(const Model& model, std::int64_t layer) {
  const bool is_moe = model.kind(layer) == LayerKind::moe;
  LayerCounts counts;
  // All experts have the same shape, so one stands for all.
  for (const Parameter& parameter : layer_parameters(model, layer, 0, is_moe ? 1 : 0)) {
    const std::int64_t copies = parameter.is_expert() ? model.moe->num_experts : 1;
    counts.total += copies * parameter.size();
    if (parameter.buffer) {
      counts.buffers += parameter.size();
    } else {
      counts.active += (parameter.is_expert() ? model.moe->top_k : 1) * parameter.size();
    }
  }
  return counts;
}

// A_lin of science: the multiply-adds per token in the projections of an attention. Megatron-LM counts the norms of
// the MLA latents with them.
double projection_weights(const GroupedQueryAttention& a, double hidden) {
  const auto heads = static_cast<double>(2 * a.num_heads + 2 * a.num_kv_heads);
  return hidden * heads * static_cast<double>(a.head_dim);
}

double projection_weights(const MultiHeadLatentAttention& a, double hidden) {
  const auto n = static_cast<double>(a.num_heads), rq = static_cast<double>(a.q_lora_rank);
  const auto rkv = static_cast<double>(a.kv_lora_rank), dn = static_cast<double>(a.qk_nope_dim);
  const auto dr = static_cast<double>(a.qk_rope_dim), dv = static_cast<double>(a.v_head_dim);
  const double q = a.q_lora_rank > 0 ? rq * (hidden + n * (dn + dr) + 1.0) : hidden * n * (dn + dr);
  return q + rkv * (hidden + n * (dn + dv) + 1.0) + hidden * dr + n * dv * hidden;
}

// n (d_qk + d_v): the multiply-adds per token and key in the two products of an attention.
double core_width(const GroupedQueryAttention& a) { return static_cast<double>(a.num_heads * 2 * a.head_dim); }

double core_width(const MultiHeadLatentAttention& a) {
  return static_cast<double>(a.num_heads * (a.qk_nope_dim + a.qk_rope_dim + a.v_head_dim));
}

}  // namespace

ParameterCounts parameter_counts(const Model& model) {
  const std::int64_t matrix = model.vocab * model.hidden;
  const std::int64_t num_matrices = model.tied_embeddings ? 1 : 2;
  ParameterCounts counts{.total = num_matrices * matrix + model.hidden};
  counts.active = counts.total;
  LayerCounts layer;
  for (std::int64_t i = 0; i < model.num_layers(); ++i) {
    layer = count_layer(model, i);
    counts.total += layer.total;
    counts.active += layer.active;
    counts.buffers += layer.buffers;
  }
  // A tied matrix counts as the head.
  counts.active_no_input_embedding = counts.active - (num_matrices - 1) * matrix;
  counts.active_no_embedding_no_head = counts.active - num_matrices * matrix;
  // A module is one more layer like the last, a projection 2h -> h and three norms; it shares embedding and head.
  // Source: README_WEIGHTS of DeepSeek-V3.
  const std::int64_t h = model.hidden;
  counts.mtp = model.num_mtp_modules * (layer.total - layer.buffers + 2 * h * h + 3 * h);
  return counts;
}

FlopsPerToken training_flops_per_token(const Model& model, std::int64_t seq) {
  const auto h = static_cast<double>(model.hidden), s = static_cast<double>(seq);
  const auto num_layers = static_cast<double>(model.num_layers());
  const auto num_moe = static_cast<double>(std::count(model.layers.begin(), model.layers.end(), LayerKind::moe));
  const double core = std::visit([](const auto& a) { return core_width(a); }, model.attention);
  const double projections = std::visit([h](const auto& a) { return projection_weights(a, h); }, model.attention);

  double ffn_width = static_cast<double>(model.dense_width) * (num_layers - num_moe);
  if (model.moe) {
    ffn_width += static_cast<double>(model.moe->top_k * model.moe->expert_width + model.moe->shared_width) * num_moe;
  }
  const double linear = 6.0 * (3.0 * h * ffn_width + projections * num_layers + h * static_cast<double>(model.vocab));
  // Two products of which a causal mask needs half: the factor 2 of a multiply-add and the half cancel.
  const double causal_core = 3.0 * core * num_layers * s;
  const auto active = static_cast<double>(parameter_counts(model).active_no_input_embedding);
  return {.causal = linear + causal_core, .noncausal = 6.0 * active + 2.0 * causal_core};
}

}  // namespace orrery
