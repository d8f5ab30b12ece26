// SPDX-License-Identifier: Apache-2.0
#include "costmodel/layer_ops.h"

#include "costmodel/block_ops.h"

#include <algorithm>
#include <variant>

namespace orrery::costmodel {
namespace {

/// Attention on one rank.
struct Heads {
  std::int64_t queries = 0, keys = 0, d_qk = 0, d_v = 0;

  std::int64_t query_width() const { return queries * d_qk; }
  std::int64_t key_value_width() const { return keys * (d_qk + d_v); }
  std::int64_t out_width() const { return queries * d_v; }
};

class LayerBuilder {
 public:
  LayerBuilder(const Model& model, const Strategy& strategy, const BatchShape& batch) : b_(model, strategy, batch) {}

  BlockOps& block() { return b_; }

  void attention(const GroupedQueryAttention& a, const AttentionSpan& span) {
    const Heads heads{a.num_heads / b_.tp, std::max<std::int64_t>(a.num_kv_heads / b_.tp, 1), a.head_dim, a.head_dim};
    const std::int64_t qkv = heads.query_width() + heads.key_value_width();
    const std::int64_t qk = heads.query_width() + heads.keys * a.head_dim;
    attention_norm();
    b_.enter(OpPart::attn);
    b_.column(OpCode::tp_attn_in, OpCode::attn_qkv, qkv, b_.hidden, b_.operand(b_.hidden), b_.strategy.precision);
    if (a.qk_norm) streamed(OpCode::attn_qk_norm, {qkv, qk}, {2 * qkv, qkv});
    const std::int64_t rotated = a.qk_norm ? qk : qkv;
    streamed(OpCode::attn_rope, {rotated, rotated}, {qkv, qkv});
    behind_projections(heads, span);
  }

  void attention(const MultiHeadLatentAttention& a, const AttentionSpan& span) {
    const std::int64_t n = a.num_heads / b_.tp, rq = a.q_lora_rank, rkv = a.kv_lora_rank, dr = a.qk_rope_dim;
    const Heads heads{n, n, a.qk_nope_dim + dr, a.v_head_dim};
    const std::int64_t kv_down = rkv + dr, kv_up = n * (a.qk_nope_dim + a.v_head_dim);
    const DType type = b_.strategy.precision;
    attention_norm();
    // Down to latents: every TP rank for itself, on the tokens that it holds.
    b_.enter(OpPart::attn);
    if (rq > 0) {
      b_.products(OpCode::attn_q_down, b_.local, rq, b_.hidden, type);
      b_.memory(OpCode::attn_q_norm, Pass::fwd, b_.fixed(b_.local), {b_.row(rq), b_.operand(rq)});
      b_.memory(OpCode::attn_q_norm, Pass::igrad, b_.fixed(b_.local), {b_.row(2 * rq), b_.row(rq)});
    }
    b_.products(OpCode::attn_kv_down, b_.local, kv_down, b_.hidden, type);
    b_.memory(OpCode::attn_kv_norm, Pass::fwd, b_.fixed(b_.local), {b_.row(kv_down), b_.operand(rkv)});
    b_.memory(OpCode::attn_kv_norm, Pass::igrad, b_.fixed(b_.local), {b_.row(2 * kv_down + rkv), b_.row(kv_down)});
    // Up to heads.
    b_.enter(OpPart::attn_up);
    const std::int64_t q_in = rq > 0 ? rq : b_.hidden;
    b_.column(rq > 0 ? OpCode::tp_q_latent : OpCode::tp_attn_in, OpCode::attn_q_up, heads.query_width(), q_in,
              b_.operand(q_in), type);
    b_.column(OpCode::tp_kv_latent, OpCode::attn_kv_up, kv_up, rkv, b_.operand(rkv), type);
    rotate_latent(heads, kv_up, kv_down, dr);
    behind_projections(heads, span);
  }

  void dense_ffn() {
    const std::int64_t f = b_.model.dense_width / b_.tp, fc1 = b_.model.fc1_width(f);
    b_.enter(OpPart::ffn_norm);
    b_.norm(OpCode::mlp_norm, b_.operand(b_.hidden), 2);
    b_.enter(OpPart::ffn);
    b_.column(OpCode::tp_mlp_in, OpCode::mlp_fc1, fc1, b_.hidden, b_.operand(b_.hidden), b_.strategy.precision);
    const BlockOps::Activation act{.quant = OpCode::mlp_act_quant, .act = OpCode::mlp_act, .in = fc1, .out = f};
    b_.quantise(act, b_.fixed(b_.tokens));
    b_.activation(act, b_.fixed(b_.tokens));
    b_.row_parallel(OpCode::mlp_fc2, OpCode::tp_mlp_out, b_.hidden, f);
    b_.enter(OpPart::kept);
    b_.residual(OpCode::mlp_residual, 2);
  }

  void moe_ffn() {
    b_.enter(OpPart::ffn_norm);
    b_.norm(OpCode::moe_norm, b_.row(b_.hidden), 2);
    add_experts(b_);
    b_.enter(OpPart::kept);
    b_.residual(OpCode::moe_residual, b_.model.moe->shared_width > 0 ? 3 : 2);
  }

  void embedding(OpCode lookup) {
    const std::int64_t row = b_.row(b_.hidden), gradient = b_.hidden * size_of(b_.strategy.grad_dtype);
    b_.memory(lookup, Pass::fwd, b_.fixed(b_.tokens), {row, row});
    b_.memory(lookup, Pass::wgrad, b_.fixed(b_.tokens), {row + gradient, gradient});
    if (b_.sequence_parallel()) {
      b_.collective(OpCode::tp_embed, Pass::fwd, CollectiveKind::reduce_scatter, Group::tp, b_.tokens * row);
      b_.collective(OpCode::tp_embed, Pass::wgrad, CollectiveKind::all_gather, Group::tp, b_.tokens * row);
    } else if (b_.tp > 1) {
      b_.collective(OpCode::tp_embed, Pass::fwd, CollectiveKind::all_reduce, Group::tp, b_.tokens * row);
    }
  }

  void head(bool adds) {
    const std::int64_t row = b_.row(b_.hidden), vocab = b_.model.vocab / b_.tp, label = 8, maximum = 4;
    const Rows rows = b_.fixed(b_.tokens), local = b_.fixed(b_.local);
    b_.memory(OpCode::head_norm, Pass::fwd, local, {row, row});
    b_.memory(OpCode::head_norm, Pass::igrad, local, {(adds ? 3 : 2) * row, row});
    b_.column(OpCode::tp_head_in, OpCode::head_logits, vocab, b_.hidden, row, compute_dtype(b_.strategy));
    b_.memory(OpCode::head_loss, Pass::fwd, rows, {b_.row(vocab) + (b_.tp > 1 ? maximum : 0), 4 * vocab + label});
    b_.memory(OpCode::head_loss, Pass::igrad, rows, {4 * vocab + label, b_.row(vocab)});
    if (b_.tp == 1) return;
    b_.memory(OpCode::head_max, Pass::fwd, rows, {b_.row(vocab), maximum});
    b_.collective(OpCode::tp_loss_max, Pass::fwd, CollectiveKind::all_reduce, Group::tp, 4 * b_.tokens);
    b_.collective(OpCode::tp_loss_sum, Pass::fwd, CollectiveKind::all_reduce, Group::tp, 8 * b_.tokens);
  }

  void mtp(bool adds) {
    const std::int64_t row = b_.row(b_.hidden);
    embedding(OpCode::mtp_embed);
    b_.memory(OpCode::mtp_norm, Pass::fwd, b_.fixed(b_.local), {2 * row, b_.operand(2 * b_.hidden)});
    b_.memory(OpCode::mtp_norm, Pass::igrad, b_.fixed(b_.local), {(adds ? 5 : 4) * row, 2 * row});
    b_.products(OpCode::mtp_proj, b_.local, b_.hidden, 2 * b_.hidden, b_.strategy.precision);
  }

 private:
  using Widths = BlockOps::Traffic;
  /// An op over all tokens; widths in elements, forward and backward.
  void streamed(OpCode op, Widths forward, Widths backward) {
    b_.memory(op, Pass::fwd, b_.fixed(b_.tokens), {b_.row(forward.read), b_.row(forward.written)});
    b_.memory(op, Pass::igrad, b_.fixed(b_.tokens), {b_.row(backward.read), b_.row(backward.written)});
  }

  void attention_norm() {
    b_.enter(OpPart::attn_norm);
    b_.norm(OpCode::attn_norm, b_.operand(b_.hidden), 2);
  }

  /// Rotates queries and the key that all heads share, and puts keys together. That key is gathered alone; without
  /// sequence parallelism it stays in its latent's row.
  void rotate_latent(const Heads& heads, std::int64_t kv_up, std::int64_t kv_down, std::int64_t rotated) {
    const std::int64_t q = heads.query_width(), kv = heads.key_value_width();
    const std::int64_t key = b_.sequence_parallel() ? rotated : kv_down;
    streamed(OpCode::attn_rope, {q + key + kv_up, q + kv}, {q + kv, q + kv_up + key});
    const std::int64_t bytes = b_.tokens * b_.row(key);
    if (b_.sequence_parallel()) {
      b_.collective(OpCode::tp_k_rope, Pass::fwd, CollectiveKind::all_gather, Group::tp, bytes);
      b_.collective(OpCode::tp_k_rope, Pass::igrad, CollectiveKind::reduce_scatter, Group::tp, bytes);
    } else if (b_.tp > 1) {
      b_.collective(OpCode::tp_k_rope, Pass::igrad, CollectiveKind::all_reduce, Group::tp, bytes);
    }
  }

  void behind_projections(const Heads& heads, const AttentionSpan& span) {
    b_.enter(OpPart::attn_core);
    core(heads, span);
    b_.enter(OpPart::attn);
    const std::int64_t out = heads.out_width();
    if (b_.strategy.precision == DType::fp8) {
      b_.memory(OpCode::attn_quant, Pass::fwd, b_.fixed(b_.tokens), {b_.row(out), b_.operand(out)});
    }
    b_.row_parallel(OpCode::attn_out, OpCode::tp_attn_out, b_.hidden, out);
    b_.residual(OpCode::attn_residual, 2);
  }

  void core(const Heads& heads, const AttentionSpan& span) {
    using Kind = CollectiveKind;
    const std::int64_t c = b_.strategy.cp;
    const std::int64_t own_keys = b_.tokens * b_.row(heads.key_value_width());
    const bool ulysses = b_.strategy.cp_kind == ContextParallel::ulysses;
    if (c == 1) return attend(heads, span, b_.seq, b_.seq);
    if (ulysses) {
      const Heads share{heads.queries / c, heads.keys / c, heads.d_qk, heads.d_v};
      attend(share, span, b_.seq, b_.seq);
      const std::int64_t rows = b_.tokens * c;
      for (const Pass pass : {Pass::fwd, Pass::igrad}) {
        b_.collective(OpCode::cp_in, pass, Kind::all_to_all, Group::cp,
                      rows * b_.row(share.query_width() + share.key_value_width()));
        b_.collective(OpCode::cp_out, pass, Kind::all_to_all, Group::cp, rows * b_.row(share.out_width()));
      }
    } else if (b_.strategy.cp_kind == ContextParallel::all_gather) {
      attend(heads, span, b_.seq / c, b_.seq);
      b_.collective(OpCode::cp_kv, Pass::fwd, Kind::all_gather, Group::cp, c * own_keys);
      b_.collective(OpCode::cp_kv, Pass::igrad, Kind::all_gather, Group::cp, c * own_keys);
      b_.collective(OpCode::cp_dkv, Pass::igrad, Kind::reduce_scatter, Group::cp, c * own_keys);
    } else {
      attend(heads, span, b_.seq / c, b_.seq / c, c);
      b_.collective(OpCode::cp_kv, Pass::fwd, Kind::ring_shift, Group::cp, own_keys, c - 1);
      b_.collective(OpCode::cp_kv, Pass::igrad, Kind::ring_shift, Group::cp, own_keys, c - 1);
      b_.collective(OpCode::cp_dkv, Pass::igrad, Kind::ring_shift, Group::cp, own_keys, c - 1);
    }
  }

  void attend(const Heads& heads, const AttentionSpan& span, std::int64_t queries, std::int64_t keys,
              std::int64_t rounds = 1) {
    for (const Pass pass : {Pass::fwd, Pass::igrad}) {
      b_.add(OpCode::attn_core, pass,
             AttentionShape{.batch = b_.strategy.micro_batch,
                            .heads = heads.queries,
                            .kv_heads = heads.keys,
                            .seq = queries,
                            .kv_seq = keys,
                            .d_qk = heads.d_qk,
                            .d_v = heads.d_v,
                            .window = span.window,
                            .chunked = span.chunked,
                            .dtype = compute_dtype(b_.strategy)},
             rounds);
    }
  }

  BlockOps b_;
};

/// Whether module `m` runs `part` again. Source: Megatron-LM, --recompute-modules.
bool runs_again(RecomputeModule m, OpPart part, LayerKind kind) {
  const bool is_ffn =
      part == OpPart::ffn_norm || part == OpPart::moe_act || part == OpPart::shared || part == OpPart::ffn;
  switch (m) {
    case RecomputeModule::full:
      return part != OpPart::kept;
    case RecomputeModule::mlp:
      return kind == LayerKind::dense && is_ffn;
    case RecomputeModule::moe:
      return kind == LayerKind::moe && is_ffn;
    case RecomputeModule::layernorm:
      return part == OpPart::attn_norm || part == OpPart::ffn_norm;
    case RecomputeModule::core_attn:
      return part == OpPart::attn_core;
    case RecomputeModule::mla_up_proj:
      return part == OpPart::attn_up;
    case RecomputeModule::moe_act:
      return part == OpPart::moe_act;
    case RecomputeModule::shared_experts:
      return part == OpPart::shared;
  }
  return false;
}

}  // namespace

std::vector<LayerOp> attention_ops(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                   const AttentionSpan& span) {
  LayerBuilder builder(model, strategy, batch);
  std::visit([&](const auto& attention) { builder.attention(attention, span); }, model.attention);
  return builder.block().take();
}

std::vector<LayerOp> feed_forward_ops(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                      LayerKind kind) {
  LayerBuilder builder(model, strategy, batch);
  kind == LayerKind::moe ? builder.moe_ffn() : builder.dense_ffn();
  return builder.block().take();
}

bool runs_again(const std::set<RecomputeModule>& modules, OpPart part, LayerKind kind) {
  return std::any_of(modules.begin(), modules.end(),
                     [&](RecomputeModule module) { return runs_again(module, part, kind); });
}

std::vector<LayerOp> embedding_ops(const Model& model, const Strategy& strategy, const BatchShape& batch) {
  LayerBuilder builder(model, strategy, batch);
  builder.embedding(OpCode::embed_lookup);
  return builder.block().take();
}

std::vector<LayerOp> head_ops(const Model& model, const Strategy& strategy, const BatchShape& batch, bool adds) {
  LayerBuilder builder(model, strategy, batch);
  builder.head(adds);
  return builder.block().take();
}

std::vector<LayerOp> mtp_ops(const Model& model, const Strategy& strategy, const BatchShape& batch, bool adds) {
  LayerBuilder builder(model, strategy, batch);
  builder.mtp(adds);
  return builder.block().take();
}

}  // namespace orrery::costmodel
