// SPDX-License-Identifier: Apache-2.0
#include "costmodel/activation_memory.h"

#include <algorithm>
#include <variant>

namespace orrery::costmodel {
namespace {

constexpr double kFloat = 4.0;  // statistics, router scores and probabilities are f32 on any precision

/// Sizes of a half layer in bytes per token.
struct Half {
  double kept = 0.0;            // saved whatever is recomputed, the half's input included
  double norm = 0.0;            // output of its norm: the module `layernorm`
  double modules = 0.0;         // saved, and dropped by the modules of this half that are on
  double dropped = 0.0;         // of `modules`: what those modules drop
  double whole = 0.0;           // all that full recomputation (FFN: of the half) drops
  double released = 0.0;        // no longer needed once the half's input gradient is done
  double gradients = 0.0;       // beside the saved ones at the fullest moment of its backward
  double gradients_kept = 0.0;  // of those, until the weight gradients at the end of the layer
};

struct Widths {
  double h = 0.0, element = 0.0;
  double row() const { return h * element; }
};

Half attention_half(const GroupedQueryAttention& a, const Widths& w, const std::set<RecomputeModule>& recompute) {
  const auto n = static_cast<double>(a.num_heads), g = static_cast<double>(a.num_kv_heads);
  const auto d = static_cast<double>(a.head_dim);
  const double qkv = (n + 2.0 * g) * d * w.element, out = n * d * w.element, lse = kFloat * n;
  const double qk = a.qk_norm ? (n + g) * d * w.element : 0.0;
  Half half;
  half.kept = w.row();
  half.norm = w.row();
  half.modules = qkv + qk + out + lse;
  if (recompute.contains(RecomputeModule::core_attn)) half.dropped = lse;
  half.whole = half.norm + half.modules;
  half.gradients = out + qkv;  // of the core: its output's and its inputs'
  return half;
}

Half attention_half(const MultiHeadLatentAttention& a, const Widths& w, const std::set<RecomputeModule>& recompute) {
  const auto n = static_cast<double>(a.num_heads);
  const auto rq = static_cast<double>(a.q_lora_rank), rkv = static_cast<double>(a.kv_lora_rank);
  const auto d_rope = static_cast<double>(a.qk_rope_dim), d_v = static_cast<double>(a.v_head_dim);
  const double d_qk = static_cast<double>(a.qk_nope_dim) + d_rope;
  const double latents = (2.0 * rq + 2.0 * rkv + d_rope) * w.element;
  const double q = n * d_qk * w.element, kv = n * (d_qk + d_v) * w.element;
  const double out = n * d_v * w.element, lse = kFloat * n;
  Half half;
  half.kept = w.row();
  half.norm = w.row();
  half.modules = latents + q + kv + out + lse;
  if (recompute.contains(RecomputeModule::mla_up_proj)) half.dropped += q + kv;
  if (recompute.contains(RecomputeModule::core_attn)) half.dropped += lse;
  half.whole = half.norm + half.modules;
  half.gradients = out + q + kv;
  return half;
}

Half dense_half(const Model& model, const Widths& w, const std::set<RecomputeModule>& recompute) {
  const double f = static_cast<double>(model.dense_width) * w.element;
  Half half;
  half.kept = w.row();
  half.norm = w.row();
  half.modules = 3.0 * f;  // gate and up projection, and their product
  half.whole = half.norm + half.modules;
  if (recompute.contains(RecomputeModule::mlp)) half.dropped = half.modules;
  half.gradients = w.row() + 3.0 * f;
  half.released = 2.0 * f + w.row();        // fc1 and the half's input ...
  half.gradients_kept = 2.0 * f + w.row();  // ... make room for the gradient of fc1; that of the output stays
  return half;
}

Half moe_half(const MoeBlock& moe, const Strategy& strategy, const Widths& w,
              const std::set<RecomputeModule>& recompute, double rho) {
  const auto k = static_cast<double>(moe.top_k), num_experts = static_cast<double>(moe.num_experts);
  const double fe = static_cast<double>(moe.expert_width) * w.element;
  const double fs = static_cast<double>(moe.shared_width) * w.element;
  const double rows = rho * k;
  const double router = num_experts * (kFloat + 1.0);  // scores, and which choice each expert is
  const double gate = moe.shared_expert_gate ? w.row() + kFloat : 0.0;
  const double shared = 3.0 * fs + gate;
  const bool has_exchange = strategy.ep > 1;
  Half half;
  half.kept = w.row();
  half.norm = w.row();
  half.modules = router + rows * (w.row() + kFloat + 3.0 * fe) + shared;
  half.whole = half.norm + half.modules;
  if (recompute.contains(RecomputeModule::moe)) {
    half.dropped = half.modules;
  } else {
    if (recompute.contains(RecomputeModule::moe_act)) half.dropped += rows * fe;
    if (recompute.contains(RecomputeModule::shared_experts)) half.dropped += shared;
  }
  // Moments of the backward: gradients travel to the experts; their activation; gradients travel back.
  const double arriving = (has_exchange ? k * w.row() : 0.0) + rows * w.row();
  const double activating = rows * (w.row() + 3.0 * fe + kFloat);
  const double leaving = rows * 2.0 * w.row() + (has_exchange ? k * (w.row() + kFloat) : w.row() + k * kFloat);
  // The shared experts come last, when the routed ones have released what their gradients replace.
  const double sharing = rows * (w.row() - kFloat) - num_experts + w.row() + 3.0 * fs - (gate > 0.0 ? kFloat : 0.0);
  half.gradients = w.row() + std::max({arriving, activating, leaving, moe.shared_width > 0 ? sharing : 0.0});
  half.released = rows * (2.0 * fe + kFloat) + router + 2.0 * fs + gate + w.row();
  half.gradients_kept =
      rows * (w.row() + 2.0 * fe) + num_experts * kFloat + 2.0 * fs + (moe.shared_width > 0 ? w.row() : 0.0);
  return half;
}

}  // namespace

LayerActivations layer_activations(const Model& model, const Strategy& strategy, LayerKind kind,
                                   const std::set<RecomputeModule>& recompute, double rho) {
  const Widths w{.h = static_cast<double>(model.hidden), .element = static_cast<double>(size_of(strategy.precision))};
  const Half attention = std::visit([&](const auto& a) { return attention_half(a, w, recompute); }, model.attention);
  const Half ffn =
      kind == LayerKind::moe ? moe_half(*model.moe, strategy, w, recompute, rho) : dense_half(model, w, recompute);
  const bool full = recompute.contains(RecomputeModule::full);
  const bool norms = recompute.contains(RecomputeModule::layernorm);
  const bool whole_ffn = recompute.contains(kind == LayerKind::moe ? RecomputeModule::moe : RecomputeModule::mlp);

  // Full recomputation keeps the layer's input alone and brings all back at once.
  const double dropped_ffn =
      full ? attention.whole + ffn.kept + ffn.whole : ffn.dropped + (norms || whole_ffn ? ffn.norm : 0.0);
  const double dropped_attention = full ? 0.0 : attention.dropped + (norms ? attention.norm : 0.0);
  const double all = attention.kept + attention.whole + ffn.kept + ffn.whole;

  LayerActivations out;
  out.saved = all - dropped_ffn - dropped_attention;
  out.ffn_peak = dropped_ffn + ffn.gradients;
  out.attention_peak =
      dropped_ffn - ffn.released + ffn.gradients_kept + dropped_attention + w.row() + attention.gradients;
  return out;
}

}  // namespace orrery::costmodel
