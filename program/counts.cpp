// SPDX-License-Identifier: Apache-2.0
#include "program/counts.h"

#include "base/check.h"
#include "program/parameters.h"

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

// Keys per token and head, averaged over a sequence and with the diagonal counted half: seq / 2 for a full span.
double masked_keys(const AttentionSpan& span, std::int64_t seq) {
  return static_cast<double>(visible_pairs(span, seq)) / static_cast<double>(seq) - 0.5;
}

// Width of the feed-forward that works on a token.
std::int64_t ffn_width(const Model& model, std::int64_t layer) {
  if (model.kind(layer) == LayerKind::dense) return model.dense_width;
  return model.moe->top_k * model.moe->expert_width + model.moe->shared_width;
}

}  // namespace

ParameterCounts parameter_counts(const Model& model) {
  const std::int64_t matrix = model.vocab * model.hidden;
  const std::int64_t num_matrices = model.tied_embeddings ? 1 : 2;
  const std::int64_t positions = model.learned_positions ? model.max_positions * model.hidden : 0;
  const std::int64_t final_norm = (model.norm_bias ? 2 : 1) * model.hidden;
  ParameterCounts counts{.total = num_matrices * matrix + positions + final_norm};
  counts.active = counts.total;
  for (std::int64_t i = 0; i < model.num_layers(); ++i) {
    const LayerCounts layer = count_layer(model, i);
    counts.total += layer.total;
    counts.active += layer.active;
    counts.buffers += layer.buffers;
  }
  for (std::int64_t i = 0; i < model.num_mtp_modules; ++i) {
    const LayerCounts module = count_layer(model, model.num_layers() + i);
    counts.mtp += module.total - module.buffers;
    counts.mtp_active += module.active;
  }
  counts.active_no_input_embedding = counts.active - (num_matrices - 1) * matrix - positions;
  counts.active_no_embedding_no_head = counts.active - num_matrices * matrix - positions;
  return counts;
}

FlopsPerToken training_flops_per_token(const Model& model, std::int64_t seq, Mtp mtp) {
  CHECK(seq >= 1, seq);
  const auto h = static_cast<double>(model.hidden), s = static_cast<double>(seq);
  const std::int64_t num_mtp = num_mtp_modules(model, mtp);
  const auto num_logits = static_cast<double>(1 + num_mtp);  // each module predicts with the same head
  const double core = std::visit([](const auto& a) { return core_width(a); }, model.attention);
  const double projections = std::visit([h](const auto& a) { return projection_weights(a, h); }, model.attention);

  double width = 0.0, keys = 0.0, causal_keys = 0.0;
  for (std::int64_t layer = 0; layer < model.num_layers() + num_mtp; ++layer) {
    width += static_cast<double>(ffn_width(model, layer));
    keys += s;
    causal_keys += masked_keys(model.span(layer), seq);
  }
  const auto num_layers = static_cast<double>(model.num_layers() + num_mtp);
  const double logits = h * static_cast<double>(model.vocab) * num_logits;
  const double mtp_entry = static_cast<double>(num_mtp) * (2.0 * h * h + 3.0 * h);
  const double linear = 6.0 * ((model.gated ? 3.0 : 2.0) * h * width + projections * num_layers + logits + mtp_entry);

  // torchtitan leaves the embeddings out only where they are no matrix of the head.
  const ParameterCounts counts = parameter_counts(model);
  auto weights = static_cast<double>(model.tied_embeddings ? counts.active : counts.active_no_input_embedding);
  if (num_mtp > 0) weights += static_cast<double>(counts.mtp_active + num_mtp * model.vocab * model.hidden);
  return {.causal = linear + 6.0 * core * causal_keys, .noncausal = 6.0 * weights + 6.0 * core * keys};
}

}  // namespace orrery
