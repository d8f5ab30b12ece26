// SPDX-License-Identifier: Apache-2.0
#include "costmodel/tensor_table.h"

#include <algorithm>
#include <variant>

namespace orrery::costmodel {
namespace {

using R = TensorRole;
using Module = RecomputeModule;

constexpr double kFloat = 4.0;

/// What the core works on: `q` and `kv` may be one tensor, and so may their gradients.
struct Core {
  R q, kv;
  R d_q, d_kv;
  std::int64_t heads = 0;                    // on this rank
  std::int64_t q_width = 0;                  // elements per token: queries,
  std::int64_t kv_width = 0;                 // keys and values,
  std::int64_t out_width = 0;                // outputs
  double d_q_bytes = 0.0, d_kv_bytes = 0.0;  // of the gradients; d_q's when they are two

  bool one_gradient() const { return d_q == d_kv; }
};

using Reads = TensorTable::Reads;
using Makes = TensorTable::Makes;

class CoreTable {
 public:
  CoreTable(const TableSizes& sizes, const Core& core, TensorTable& table) : s_(sizes), c_(core), t_(table) {}

  void forward() {
    switch (s_.cp > 1 ? s_.strategy.cp_kind : ContextParallel::all_gather) {
      case ContextParallel::ring:
        return ring_forward();
      case ContextParallel::ulysses:
        return ulysses_forward();
      case ContextParallel::all_gather:
        if (s_.cp > 1) {
          t_.forward({c_.kv}, {{R::kv_full, cp() * kv()}}, Module::core_attn);
          t_.forward({c_.q, c_.kv, R::kv_full}, {{R::attn_out, out()}, {R::lse, lse()}}, Module::core_attn);
        } else {
          t_.forward({c_.q, c_.kv}, {{R::attn_out, out()}, {R::lse, lse()}}, Module::core_attn);
        }
    }
  }

  void gradients() {
    switch (s_.cp > 1 ? s_.strategy.cp_kind : ContextParallel::all_gather) {
      case ContextParallel::ring:
        return ring_gradients();
      case ContextParallel::ulysses:
        return ulysses_gradients();
      case ContextParallel::all_gather:
        if (s_.cp > 1) t_.input_grad({c_.kv}, {{R::kv_full, cp() * kv()}});
        make_gradients(s_.cp > 1 ? R::kv_full : c_.kv);
        if (s_.cp > 1) t_.input_grad({R::d_kv_full, c_.d_kv}, {});
    }
  }

 private:
  double cp() const { return static_cast<double>(s_.cp); }
  double out() const { return s_.plain(s_.tokens, c_.out_width); }
  double kv() const { return s_.plain(s_.tokens, c_.kv_width); }
  double lse() const { return s_.tokens * kFloat * static_cast<double>(c_.heads); }

  /// The op that makes the gradients of queries, keys and values, from the keys and values in `kv_in`.
  void make_gradients(R kv_in) {
    const bool gathers = kv_in == R::kv_full;
    if (c_.one_gradient()) {
      gathers ? t_.input_grad({c_.q, c_.kv, kv_in, R::attn_out, R::lse, R::d_attn_out},
                              {{c_.d_q, c_.d_q_bytes}, {R::d_kv_full, cp() * kv()}})
              : t_.input_grad({c_.q, c_.kv, kv_in, R::attn_out, R::lse, R::d_attn_out}, {{c_.d_q, c_.d_q_bytes}});
    } else {
      gathers ? t_.input_grad({c_.q, c_.kv, kv_in, R::attn_out, R::lse, R::d_attn_out},
                              {{c_.d_q, c_.d_q_bytes}, {c_.d_kv, c_.d_kv_bytes}, {R::d_kv_full, cp() * kv()}})
              : t_.input_grad({c_.q, c_.kv, kv_in, R::attn_out, R::lse, R::d_attn_out},
                              {{c_.d_q, c_.d_q_bytes}, {c_.d_kv, c_.d_kv_bytes}});
    }
  }

  /// Where the keys and values of round `round` lie.
  R in_round(std::int64_t round) const {
    if (round == 0) return c_.kv;
    return round % 2 == 1 ? R::ring_kv : R::ring_kv_next;
  }

  /// What sends on the keys and values of a round. Two buffers take turns, so that a later exchange overwrites what
  /// the round before it has read.
  template <class Add>
  void pass_on(std::int64_t round, Add add) const {
    const Made next(in_round(round + 1), kv());
    if (round < 2) {
      add({in_round(round)}, {next});
    } else {
      add({in_round(round), in_round(round - 1)}, {next});
    }
  }
  /// The buffer that no exchange overwrites is held until the last round.
  R held_in(std::int64_t round) const {
    return round >= 2 && round + 1 == s_.cp ? in_round(round - 1) : in_round(round);
  }

  void ring_forward() {
    for (std::int64_t round = 0; round < s_.cp; ++round) {
      if (round + 1 < s_.cp) {
        pass_on(round, [&](Reads reads, Makes makes) { t_.forward(reads, makes, Module::core_attn); });
      }
      if (round == 0) {
        t_.forward({c_.q, c_.kv}, {{R::attn_out, out()}, {R::lse, lse()}}, Module::core_attn);
      } else {
        t_.forward({c_.q, c_.kv, in_round(round), held_in(round), R::attn_out, R::lse}, {}, Module::core_attn);
      }
    }
  }

  void ring_gradients() {
    for (std::int64_t round = 0; round < s_.cp; ++round) {
      if (round + 1 < s_.cp) pass_on(round, [&](Reads reads, Makes makes) { t_.input_grad(reads, makes); });
      if (round == 0) {
        make_gradients(c_.kv);
        continue;
      }
      t_.input_grad({c_.q, c_.kv, in_round(round), held_in(round), R::attn_out, R::lse, R::d_attn_out, c_.d_q},
                    {{R::ring_dkv_part, kv()}});
      // The sum travels on, and what arrives is another tensor; the last hop adds it to the rank's own.
      const bool is_last = round + 1 == s_.cp;
      if (round == 1) {
        is_last ? t_.input_grad({R::ring_dkv_part, c_.d_kv}, {})
                : t_.input_grad({R::ring_dkv_part}, {{R::ring_dkv, kv()}});
      } else {
        is_last ? t_.input_grad({R::ring_dkv_part, R::ring_dkv, c_.d_kv}, {})
                : t_.input_grad({R::ring_dkv_part, R::ring_dkv}, {{R::ring_dkv, kv()}});
      }
    }
  }

  void ulysses_forward() {
    const double in = s_.plain(s_.tokens, c_.q_width + c_.kv_width);
    t_.forward({c_.q, c_.kv}, {{R::core_in, in}}, Module::core_attn);
    t_.forward({R::core_in}, {{R::core_out, out()}, {R::lse, lse()}}, Module::core_attn);
    t_.forward({R::core_out}, {{R::attn_out, out()}}, Module::core_attn);
  }

  void ulysses_gradients() {
    const double in = s_.plain(s_.tokens, c_.q_width + c_.kv_width);
    t_.input_grad({R::d_attn_out}, {{R::d_core_out, out()}});
    t_.input_grad({R::core_in, R::core_out, R::lse, R::d_core_out}, {{R::d_core_in, in}});
    c_.one_gradient() ? t_.input_grad({R::d_core_in}, {{c_.d_q, c_.d_q_bytes}})
                      : t_.input_grad({R::d_core_in}, {{c_.d_q, c_.d_q_bytes}, {c_.d_kv, c_.d_kv_bytes}});
  }

  const TableSizes& s_;
  const Core c_;
  TensorTable& t_;
};

RowProduct out_projection(const TableSizes& s, std::int64_t out_width) {
  return {.in = s.fp8() ? R::attn_operand : R::attn_out,
          .part = R::proj_part,
          .out = R::proj,
          .d_out = R::d_x_mid,
          .d_full = R::d_proj,
          .d_in = R::d_attn_out,
          .width = s.model.hidden,
          .inner = out_width};
}

/// From the core's output to `x_mid`, and back to its gradient.
void add_out_forward(const TableSizes& s, std::int64_t out_width, TensorTable& t) {
  if (s.fp8()) t.forward({R::attn_out}, {{R::attn_operand, s.operand(s.tokens, out_width)}});
  add_forward(s, out_projection(s, out_width), t);
  t.forward({R::x, R::proj}, {{R::x_mid, s.stream()}});
}

TensorTable grouped_query(const TableSizes& s, const GroupedQueryAttention& a) {
  const std::int64_t heads = a.num_heads / s.tp, kv_heads = std::max<std::int64_t>(a.num_kv_heads / s.tp, 1);
  const std::int64_t qkv_width = (heads + 2 * kv_heads) * a.head_dim, out_width = heads * a.head_dim;
  const double qkv = s.plain(s.tokens, qkv_width);
  const ColumnProduct projection{.in = R::norm1,
                                 .full = R::norm1_full,
                                 .out = R::qkv,
                                 .d_out = R::d_qkv,
                                 .d_part = R::d_norm1_part,
                                 .d_in = R::d_norm1,
                                 .width = qkv_width,
                                 .inner = s.model.hidden,
                                 .full_bytes = s.operand(s.tokens, s.model.hidden)};
  // Values stay in qkv when queries and keys are normalised out of place.
  const Core core{.q = a.qk_norm ? R::qk : R::qkv,
                  .kv = R::qkv,
                  .d_q = R::d_qkv,
                  .d_kv = R::d_qkv,
                  .heads = heads,
                  .q_width = out_width,
                  .kv_width = 2 * kv_heads * a.head_dim,
                  .out_width = out_width,
                  .d_q_bytes = qkv};
  TensorTable t;
  t.forward({R::x}, {{R::norm1, s.operand(s.stream_tokens, s.model.hidden)}}, Module::layernorm);
  add_forward(s, projection, t);
  if (a.qk_norm) t.forward({R::qkv}, {{R::qk, s.plain(s.tokens, (heads + kv_heads) * a.head_dim)}});
  t.forward({a.qk_norm ? R::qk : R::qkv}, {});  // rotation, in place
  CoreTable(s, core, t).forward();
  add_out_forward(s, out_width, t);

  add_gradients(s, out_projection(s, out_width), t);
  CoreTable(s, core, t).gradients();
  t.input_grad({R::d_qkv}, {});
  if (a.qk_norm) t.input_grad({R::qkv, R::d_qkv}, {});
  add_gradients(s, projection, t);
  t.input_grad({R::x, R::d_norm1, R::d_x_mid}, {{R::d_x, s.stream()}});
  return t;
}

TensorTable latent(const TableSizes& s, const MultiHeadLatentAttention& a) {
  const std::int64_t heads = a.num_heads / s.tp, d_qk = a.qk_nope_dim + a.qk_rope_dim;
  const std::int64_t q_width = heads * d_qk, kv_up_width = heads * (a.qk_nope_dim + a.v_head_dim);
  const std::int64_t kv_width = heads * (d_qk + a.v_head_dim), out_width = heads * a.v_head_dim;
  const std::int64_t down_width = a.kv_lora_rank + a.qk_rope_dim;
  const bool sp = s.sequence_parallel(), has_q_latent = a.q_lora_rank > 0;
  const double q = s.plain(s.tokens, q_width), kv = s.plain(s.tokens, kv_width);
  const double kv_down = s.plain(s.stream_tokens, down_width), k_rope = s.plain(s.tokens, a.qk_rope_dim);
  const ColumnProduct q_up{.in = has_q_latent ? R::q_latent_norm : R::norm1,
                           .full = has_q_latent ? R::q_latent_full : R::norm1_full,
                           .out = R::q,
                           .d_out = R::d_q,
                           .d_part = has_q_latent ? R::d_q_latent_part : R::d_norm1_part,
                           .d_in = has_q_latent ? R::d_q_latent_norm : R::d_norm1,
                           .width = q_width,
                           .inner = has_q_latent ? a.q_lora_rank : s.model.hidden,
                           .full_bytes = s.operand(s.tokens, has_q_latent ? a.q_lora_rank : s.model.hidden),
                           .adds = !has_q_latent,
                           .module = Module::mla_up_proj};
  const ColumnProduct kv_up{.in = R::kv_latent_norm,
                            .full = R::kv_latent_full,
                            .out = R::kv_up,
                            .d_out = R::d_kv_up,
                            .d_part = R::d_kv_latent_part,
                            .d_in = R::d_kv_latent_norm,
                            .width = kv_up_width,
                            .inner = a.kv_lora_rank,
                            .full_bytes = s.operand(s.tokens, a.kv_lora_rank),
                            .module = Module::mla_up_proj};
  const Core core{.q = R::q,
                  .kv = R::kv,
                  .d_q = R::d_q,
                  .d_kv = R::d_kv,
                  .heads = heads,
                  .q_width = q_width,
                  .kv_width = kv_width,
                  .out_width = out_width,
                  .d_q_bytes = q,
                  .d_kv_bytes = kv};
  TensorTable t;
  t.forward({R::x}, {{R::norm1, s.operand(s.stream_tokens, s.model.hidden)}}, Module::layernorm);
  if (has_q_latent) {
    t.forward({R::norm1}, {{R::q_latent, s.plain(s.stream_tokens, a.q_lora_rank)}});
    t.forward({R::q_latent}, {{R::q_latent_norm, s.operand(s.stream_tokens, a.q_lora_rank)}});
  }
  add_forward(s, q_up, t);
  t.forward({R::norm1}, {{R::kv_latent, kv_down}});
  t.forward({R::kv_latent}, {{R::kv_latent_norm, s.operand(s.stream_tokens, a.kv_lora_rank)}});
  add_forward(s, kv_up, t);
  if (sp) t.forward({R::kv_latent}, {{R::k_rope_full, k_rope}}, Module::mla_up_proj);
  t.forward({R::q, sp ? R::k_rope_full : R::kv_latent, R::kv_up}, {{R::kv, kv}}, Module::mla_up_proj);
  CoreTable(s, core, t).forward();
  add_out_forward(s, out_width, t);

  add_gradients(s, out_projection(s, out_width), t);
  CoreTable(s, core, t).gradients();
  const double d_kv_up = s.plain(s.tokens, kv_up_width);
  if (s.tp > 1) {
    t.input_grad({R::d_kv, R::d_q}, {{R::d_kv_up, d_kv_up}, {R::d_k_rope_part, k_rope}});
    t.input_grad({R::d_k_rope_part}, {{R::d_kv_latent, kv_down}});
  } else {
    t.input_grad({R::d_kv, R::d_q}, {{R::d_kv_up, d_kv_up}, {R::d_kv_latent, kv_down}});
  }
  add_gradients(s, kv_up, t);
  t.input_grad({R::kv_latent, R::d_kv_latent_norm, R::d_kv_latent}, {});
  t.input_grad({R::d_kv_latent}, {{R::d_norm1, s.stream()}});
  t.weight_grad({R::norm1, R::d_kv_latent});
  add_gradients(s, q_up, t);
  if (has_q_latent) {
    t.input_grad({R::q_latent, R::d_q_latent_norm}, {{R::d_q_latent, s.plain(s.stream_tokens, a.q_lora_rank)}});
    t.input_grad({R::d_q_latent, R::d_norm1}, {});
    t.weight_grad({R::norm1, R::d_q_latent});
  }
  t.input_grad({R::x, R::d_norm1, R::d_x_mid}, {{R::d_x, s.stream()}});
  return t;
}

}  // namespace

TensorTable attention_table(const TableSizes& sizes) {
  if (const auto* gqa = std::get_if<GroupedQueryAttention>(&sizes.model.attention)) return grouped_query(sizes, *gqa);
  return latent(sizes, std::get<MultiHeadLatentAttention>(sizes.model.attention));
}

}  // namespace orrery::costmodel
