// SPDX-License-Identifier: Apache-2.0
#include "costmodel/layer_ops.h"

#include <algorithm>
#include <initializer_list>
#include <utility>
#include <variant>

namespace orrery::costmodel {
namespace {

/// Collects the ops of a block. Widths are elements per token; memory traffic counts each operand once.
class Block {
 public:
  Block(const Model& model, const Strategy& strategy, const BatchShape& batch)
      : model_(model),
        strategy_(strategy),
        tokens_(batch.seq * strategy.micro_batch),
        seq_(batch.seq),
        element_(size_of(strategy.precision)) {}

  std::vector<LayerOp> take() && { return std::move(ops_); }

  void attention(const GroupedQueryAttention& a) {
    const std::int64_t out = a.num_heads * a.head_dim, qk = out + a.num_kv_heads * a.head_dim;
    const std::int64_t qkv = qk + a.num_kv_heads * a.head_dim;
    norm(OpCode::attn_norm, 2);
    gemm(OpCode::attn_qkv, qkv, model_.hidden);
    if (a.qk_norm) streamed(OpCode::attn_qk_norm, {qkv, qk}, {2 * qkv, qkv});
    const std::int64_t rotated = a.qk_norm ? qk : qkv;
    streamed(OpCode::attn_rope, {rotated, rotated}, {qkv, qkv});
    core(a.num_heads, a.num_kv_heads, a.head_dim, a.head_dim);
    gemm(OpCode::attn_out, model_.hidden, out);
    residual(OpCode::attn_residual, 2);
  }

  void attention(const MultiHeadLatentAttention& a) {
    const std::int64_t n = a.num_heads, d_qk = a.qk_nope_dim + a.qk_rope_dim;
    const std::int64_t q = n * d_qk, out = n * a.v_head_dim, kv_down = a.kv_lora_rank + a.qk_rope_dim;
    const std::int64_t kv_up = n * (a.qk_nope_dim + a.v_head_dim), kv = q + out;
    norm(OpCode::attn_norm, 2);
    if (a.q_lora_rank > 0) {
      gemm(OpCode::attn_q_down, a.q_lora_rank, model_.hidden);
      streamed(OpCode::attn_q_norm, {a.q_lora_rank, a.q_lora_rank}, {2 * a.q_lora_rank, a.q_lora_rank});
    }
    gemm(OpCode::attn_q_up, q, a.q_lora_rank > 0 ? a.q_lora_rank : model_.hidden);
    gemm(OpCode::attn_kv_down, kv_down, model_.hidden);
    streamed(OpCode::attn_kv_norm, {kv_down, a.kv_lora_rank}, {2 * kv_down + a.kv_lora_rank, kv_down});
    gemm(OpCode::attn_kv_up, kv_up, a.kv_lora_rank);
    streamed(OpCode::attn_rope, {q + kv_down + kv_up, q + kv}, {q + kv, q + kv_up + kv_down});
    core(n, n, d_qk, a.v_head_dim);
    gemm(OpCode::attn_out, model_.hidden, out);
    residual(OpCode::attn_residual, 2);
  }

  void dense_ffn() {
    norm(OpCode::mlp_norm, 2);
    gated(OpCode::mlp_fc1, OpCode::mlp_act, OpCode::mlp_fc2, model_.dense_width);
    residual(OpCode::mlp_residual, 2);
  }

  void moe_ffn(const MoeBlock& moe) {
    const std::int64_t h = model_.hidden, pairs = tokens_ * moe.top_k, fe = moe.expert_width * element_;
    const Rows received{Rows::Kind::received, pairs};
    norm(OpCode::moe_norm, 2);
    if (moe.shared_width > 0) {
      gated(OpCode::shared_fc1, OpCode::shared_act, OpCode::shared_fc2, moe.shared_width);
      if (moe.shared_expert_gate) {
        memory(OpCode::shared_gate, Pass::fwd, fixed(), {2 * row(), row() + 4});
        memory(OpCode::shared_gate, Pass::igrad, fixed(), {3 * row() + 4, 2 * row()});
      }
    }
    for (const Pass pass : {Pass::fwd, Pass::igrad, Pass::wgrad}) {
      add(OpCode::moe_router, pass, gemm_shape(moe.num_experts, h, DType::f32));
      grouped(OpCode::moe_fc1, pass, received, 2 * moe.expert_width, h);
      grouped(OpCode::moe_fc2, pass, received, h, moe.expert_width);
    }
    // Rows are copied out and summed up; each way back is the other's work.
    const Rows copies{Rows::Kind::fixed, pairs};
    const Traffic copy{row(), row()}, sum{moe.top_k * row(), row()};
    memory(OpCode::moe_permute, Pass::fwd, copies, copy);
    memory(OpCode::moe_permute, Pass::igrad, fixed(), sum);
    memory(OpCode::moe_unpermute, Pass::fwd, fixed(), sum);
    memory(OpCode::moe_unpermute, Pass::igrad, copies, copy);
    memory(OpCode::moe_act, Pass::fwd, received, {2 * fe + 4, fe});
    memory(OpCode::moe_act, Pass::igrad, received, {3 * fe + 4, 2 * fe + 4});
    residual(OpCode::moe_residual, moe.shared_width > 0 ? 3 : 2);
    if (strategy_.ep > 1) {
      exchange(OpCode::moe_dispatch, pairs, 4, 4 * moe.num_experts / strategy_.ep);
      exchange(OpCode::moe_combine, pairs, 0, 0);
    }
  }

  void embedding() {
    const std::int64_t gradient = model_.hidden * size_of(strategy_.grad_dtype);
    memory(OpCode::embed_lookup, Pass::fwd, fixed(), {row(), row()});
    memory(OpCode::embed_lookup, Pass::wgrad, fixed(), {row() + gradient, gradient});
  }

  void head() {
    const std::int64_t logits = model_.vocab * element_, softmax = model_.vocab * 4, label = 8;
    norm(OpCode::head_norm, 1);
    gemm(OpCode::head_logits, model_.vocab, model_.hidden);
    memory(OpCode::head_loss, Pass::fwd, fixed(), {logits, softmax + label});
    memory(OpCode::head_loss, Pass::igrad, fixed(), {softmax + label, logits});
  }

  /// Runs the forward of ops that `again` picks a second time.
  template <class Picks>
  void recompute(Picks again) {
    const std::size_t num_ops = ops_.size();
    for (std::size_t i = 0; i < num_ops; ++i) {
      if (ops_[i].pass == Pass::fwd && again(ops_[i].op)) add(ops_[i].op, Pass::rec, ops_[i].shape);
    }
  }

 private:
  struct Traffic {
    std::int64_t read = 0, written = 0;
  };

  std::int64_t row() const { return model_.hidden * element_; }
  Rows fixed() const { return {Rows::Kind::fixed, tokens_}; }

  void add(OpCode op, Pass pass, const OpShape& shape) { ops_.push_back({op, pass, shape}); }
  OpShape gemm_shape(std::int64_t n, std::int64_t k, DType type) const {
    return GemmShape{.m = tokens_, .n = n, .k = k, .dtype = type, .accumulate = strategy_.grad_dtype};
  }
  void gemm(OpCode op, std::int64_t n, std::int64_t k) {
    for (const Pass pass : {Pass::fwd, Pass::igrad, Pass::wgrad}) {
      add(op, pass, gemm_shape(n, k, strategy_.precision));
    }
  }
  void grouped(OpCode op, Pass pass, const Rows& rows, std::int64_t n, std::int64_t k) {
    add(op, pass,
        GroupedGemmShape{.rows = rows,
                         .num_experts = model_.moe->num_experts / strategy_.ep,
                         .n = n,
                         .k = k,
                         .dtype = strategy_.precision,
                         .accumulate = strategy_.grad_dtype});
  }
  void memory(OpCode op, Pass pass, const Rows& rows, Traffic bytes) {
    add(op, pass, MemoryShape{.rows = rows, .read_per_row = bytes.read, .written_per_row = bytes.written});
  }
  /// Widths in elements, forward and backward.
  void streamed(OpCode op, Traffic forward, Traffic backward) {
    memory(op, Pass::fwd, fixed(), {forward.read * element_, forward.written * element_});
    memory(op, Pass::igrad, fixed(), {backward.read * element_, backward.written * element_});
  }
  /// A norm over the hidden width; its backward reads its input and `num_gradients` of its output and of what passes.
  void norm(OpCode op, std::int64_t num_gradients) {
    const std::int64_t h = model_.hidden;
    streamed(op, {h, h}, {(1 + num_gradients) * h, h});
  }
  void residual(OpCode op, std::int64_t num_summands) { memory(op, Pass::fwd, fixed(), {num_summands * row(), row()}); }
  void gated(OpCode fc1, OpCode act, OpCode fc2, std::int64_t width) {
    gemm(fc1, 2 * width, model_.hidden);
    streamed(act, {2 * width, width}, {3 * width, 2 * width});
    gemm(fc2, model_.hidden, width);
  }
  void core(std::int64_t heads, std::int64_t kv_heads, std::int64_t d_qk, std::int64_t d_v) {
    for (const Pass pass : {Pass::fwd, Pass::igrad}) {
      add(OpCode::attn_core, pass,
          AttentionShape{.batch = strategy_.micro_batch,
                         .heads = heads,
                         .kv_heads = kv_heads,
                         .seq = seq_,
                         .kv_seq = seq_,
                         .d_qk = d_qk,
                         .d_v = d_v,
                         .dtype = strategy_.precision});
    }
  }
  void exchange(OpCode op, std::int64_t pairs, std::int64_t extra, std::int64_t count_bytes) {
    for (const Pass pass : {Pass::fwd, Pass::igrad}) {
      const bool forward = pass == Pass::fwd;
      add(op, pass,
          ExchangeShape{.rows = {Rows::Kind::routed, pairs},
                        .row_bytes = row() + extra,
                        .count_bytes = forward ? count_bytes : 0,
                        .to_experts = forward == (op == OpCode::moe_dispatch)});
    }
  }

  const Model& model_;
  const Strategy& strategy_;
  const std::int64_t tokens_, seq_, element_;
  std::vector<LayerOp> ops_;
};

bool is_one_of(OpCode op, std::initializer_list<OpCode> ops) {
  return std::find(ops.begin(), ops.end(), op) != ops.end();
}

bool is_attention(OpCode op) { return op >= OpCode::attn_norm && op <= OpCode::attn_residual; }

bool is_shared(OpCode op) { return op >= OpCode::shared_fc1 && op <= OpCode::shared_gate; }

/// Whether module `m` runs the forward of `op` again. Source: Megatron-LM, --recompute-modules.
bool runs_again(RecomputeModule m, OpCode op, LayerKind kind) {
  const bool is_ffn = !is_attention(op) && !is_one_of(op, {OpCode::mlp_residual, OpCode::moe_residual});
  switch (m) {
    case RecomputeModule::full:
      return is_attention(op) || is_ffn;
    case RecomputeModule::mlp:
      return kind == LayerKind::dense && is_ffn;
    case RecomputeModule::moe:
      return kind == LayerKind::moe && is_ffn;
    case RecomputeModule::layernorm:
      return is_one_of(op, {OpCode::attn_norm, OpCode::mlp_norm, OpCode::moe_norm});
    case RecomputeModule::core_attn:
      return op == OpCode::attn_core;
    case RecomputeModule::mla_up_proj:
      return is_one_of(op, {OpCode::attn_q_up, OpCode::attn_kv_up, OpCode::attn_rope});
    case RecomputeModule::moe_act:
      return op == OpCode::moe_act;
    case RecomputeModule::shared_experts:
      return is_shared(op);
  }
  return false;
}

}  // namespace

std::vector<LayerOp> layer_ops(const Model& model, const Strategy& strategy, const BatchShape& batch, LayerKind kind,
                               const std::set<RecomputeModule>& recompute) {
  Block block(model, strategy, batch);
  std::visit([&](const auto& attention) { block.attention(attention); }, model.attention);
  if (kind == LayerKind::moe) {
    block.moe_ffn(*model.moe);
  } else {
    block.dense_ffn();
  }
  block.recompute([&](OpCode op) {
    return std::any_of(recompute.begin(), recompute.end(),
                       [&](RecomputeModule module) { return runs_again(module, op, kind); });
  });
  return std::move(block).take();
}

std::vector<LayerOp> embedding_ops(const Model& model, const Strategy& strategy, const BatchShape& batch) {
  Block block(model, strategy, batch);
  block.embedding();
  return std::move(block).take();
}

std::vector<LayerOp> head_ops(const Model& model, const Strategy& strategy, const BatchShape& batch) {
  Block block(model, strategy, batch);
  block.head();
  return std::move(block).take();
}

}  // namespace orrery::costmodel
