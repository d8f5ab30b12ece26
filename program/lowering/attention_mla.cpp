// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/attention_core.h"
#include "program/lowering/rules.h"
#include "program/lowering/tensor_parallel.h"

namespace orrery::lowering {
namespace {

using R = TensorRole;

// DeepSeek-V2 (arXiv 2405.04434), section 2.1.2, as trained: keys and values are expanded from the latent. Saved for
// the backward: both latents before and after their norm, queries, expanded keys and values, output, logsumexp.
// Under TP the down-projections are repeated on every rank, with sequence parallelism on its tokens alone; latents and
// the shared rotated key are gathered before they are expanded to heads (Megatron-LM, multi_latent_attention.py).
class MlaRules {
 public:
  MlaRules(const RuleContext& context, const MultiHeadLatentAttention& a, std::int64_t layer)
      : c_(context),
        tp_(context),
        a_(a),
        layer_(layer),
        n_(a.num_heads / context.tp),
        q_width_(n_ * (a.qk_nope_dim + a.qk_rope_dim)),
        out_width_(n_ * a.v_head_dim),
        kv_up_width_(n_ * (a.qk_nope_dim + a.v_head_dim)),
        kv_down_width_(a.kv_lora_rank + a.qk_rope_dim) {}

  BlockRules all() {
    queries();
    keys_and_values();
    tp_.input_gradient(out_, rules_.igrad);
    add_attention_core(c_, core(), rules_);
    backward();
    add_attention_ends(c_, out_, rules_);
    weight_gradients();
    return std::move(rules_);
  }

 private:
  bool q_is_low_rank() const { return a_.q_lora_rank > 0; }
  std::int64_t rope_flops() const { return 3 * (n_ + 1) * a_.qk_rope_dim; }
  RoleUse token(R role, std::int64_t width) const { return create(role, c_.token_rows(), width, t_); }
  RoleUse local(R role, std::int64_t width) const { return create(role, c_.local_rows(), width, t_); }

  AttentionCore core() const {
    return {.heads = n_,
            .kv_heads = n_,
            .d_qk = a_.qk_nope_dim + a_.qk_rope_dim,
            .d_v = a_.v_head_dim,
            .span = c_.model.span(layer_),
            .inputs = {R::q, R::kv},
            .gradients = {{R::d_q, q_width_}, {R::d_kv, q_width_ + out_width_}},
            .d_kv = R::d_kv};
  }
  ColumnParallel q_up() const {
    ColumnParallel layer{.gather = OpCode::tp_q_latent,
                         .gemm = OpCode::attn_q_up,
                         .in = R::q_latent_norm,
                         .in_full = R::q_latent_full,
                         .out = R::q,
                         .d_out = R::d_q,
                         .d_part = R::d_q_latent_part,
                         .d_in = R::d_q_latent_norm,
                         .n = q_width_,
                         .k = a_.q_lora_rank};
    if (q_is_low_rank()) return layer;
    layer.gather = OpCode::tp_attn_in;
    layer.in = R::norm1;
    layer.in_full = R::norm1_full;
    layer.d_part = R::d_norm1_part;
    layer.d_in = R::d_norm1;
    layer.k = h_;
    layer.adds_to_d_in = true;
    return layer;
  }
  ColumnParallel kv_up() const {
    return {.gather = OpCode::tp_kv_latent,
            .gemm = OpCode::attn_kv_up,
            .in = R::kv_latent_norm,
            .in_full = R::kv_latent_full,
            .out = R::kv_up,
            .d_out = R::d_kv_up,
            .d_part = R::d_kv_latent_part,
            .d_in = R::d_kv_latent_norm,
            .n = kv_up_width_,
            .k = a_.kv_lora_rank};
  }
  /// A product that every TP rank repeats on its own tokens.
  OpRule repeated(OpCode op, Pass pass, std::int64_t n, std::int64_t k, const std::vector<RoleUse>& uses) const {
    return c_.gemm(op, pass, c_.local_tokens, n, k, uses);
  }

  void queries() {
    auto& fwd = rules_.fwd;
    fwd.push_back(c_.memory(OpCode::attn_norm, Pass::fwd, 5 * h_,
                            {read(R::x), c_.create_operand(R::norm1, c_.local_rows(), h_)}));
    if (q_is_low_rank()) {
      const std::int64_t rq = a_.q_lora_rank;
      fwd.push_back(repeated(OpCode::attn_q_down, Pass::fwd, rq, h_, {read(R::norm1), local(R::q_latent, rq)}));
      fwd.push_back(c_.memory(OpCode::attn_q_norm, Pass::fwd, 5 * rq,
                              {read(R::q_latent), c_.create_operand(R::q_latent_norm, c_.local_rows(), rq)}));
    }
    tp_.forward(q_up(), fwd);
  }

  void keys_and_values() {
    auto& fwd = rules_.fwd;
    fwd.push_back(repeated(OpCode::attn_kv_down, Pass::fwd, kv_down_width_, h_,
                           {read(R::norm1), local(R::kv_latent, kv_down_width_)}));
    fwd.push_back(
        c_.memory(OpCode::attn_kv_norm, Pass::fwd, 5 * a_.kv_lora_rank,
                  {read(R::kv_latent), c_.create_operand(R::kv_latent_norm, c_.local_rows(), a_.kv_lora_rank)}));
    tp_.forward(kv_up(), fwd);
    R rope_key = R::kv_latent;
    if (c_.sequence_parallel()) {
      rope_key = R::k_rope_full;
      fwd.push_back(tp_.gather(OpCode::tp_k_rope, Pass::fwd, read(R::kv_latent), token(rope_key, a_.qk_rope_dim)));
    }
    fwd.push_back(c_.memory(OpCode::attn_rope, Pass::fwd, rope_flops(),
                            {modify(R::q), read(rope_key), read(R::kv_up), token(R::kv, q_width_ + out_width_)}));
  }

  void backward() {
    auto& igrad = rules_.igrad;
    if (c_.sequence_parallel()) {
      igrad.push_back(c_.memory(
          OpCode::attn_rope, Pass::igrad, rope_flops(),
          {modify(R::d_q), read(R::d_kv), token(R::d_kv_up, kv_up_width_), token(R::d_k_rope_part, a_.qk_rope_dim)}));
      igrad.push_back(
          tp_.scatter(OpCode::tp_k_rope, Pass::igrad, R::d_k_rope_part, local(R::d_kv_latent, kv_down_width_)));
    } else {
      igrad.push_back(c_.memory(
          OpCode::attn_rope, Pass::igrad, rope_flops(),
          {modify(R::d_q), read(R::d_kv), token(R::d_kv_up, kv_up_width_), token(R::d_kv_latent, kv_down_width_)}));
      if (c_.tp > 1) igrad.push_back(tp_.all_reduce(OpCode::tp_k_rope, Pass::igrad, R::d_kv_latent));
    }
    tp_.input_gradient(kv_up(), igrad);
    igrad.push_back(c_.memory(OpCode::attn_kv_norm, Pass::igrad, 10 * a_.kv_lora_rank,
                              {read(R::kv_latent), read(R::d_kv_latent_norm), modify(R::d_kv_latent)}));
    igrad.push_back(
        repeated(OpCode::attn_kv_down, Pass::igrad, kv_down_width_, h_, {read(R::d_kv_latent), local(R::d_norm1, h_)}));
    tp_.input_gradient(q_up(), igrad);
    if (!q_is_low_rank()) return;
    const std::int64_t rq = a_.q_lora_rank;
    igrad.push_back(c_.memory(OpCode::attn_q_norm, Pass::igrad, 10 * rq,
                              {read(R::q_latent), read(R::d_q_latent_norm), local(R::d_q_latent, rq)}));
    igrad.push_back(repeated(OpCode::attn_q_down, Pass::igrad, rq, h_, {read(R::d_q_latent), modify(R::d_norm1)}));
  }

  void weight_gradients() {
    auto& wgrad = rules_.wgrad;
    tp_.weight_gradient(out_, wgrad);
    tp_.weight_gradient(kv_up(), wgrad);
    wgrad.push_back(
        repeated(OpCode::attn_kv_down, Pass::wgrad, kv_down_width_, h_, {read(R::norm1), read(R::d_kv_latent)}));
    tp_.weight_gradient(q_up(), wgrad);
    if (!q_is_low_rank()) return;
    wgrad.push_back(
        repeated(OpCode::attn_q_down, Pass::wgrad, a_.q_lora_rank, h_, {read(R::norm1), read(R::d_q_latent)}));
  }

  const RuleContext& c_;
  const TensorParallel tp_;
  const MultiHeadLatentAttention& a_;
  const std::int64_t layer_;
  const std::int64_t n_;  // heads of this TP rank
  const std::int64_t q_width_, out_width_, kv_up_width_, kv_down_width_;
  const DType t_ = c_.dtype;
  const std::int64_t h_ = c_.model.hidden;
  const RowParallel out_{.in = c_.operand == DType::fp8 ? R::attn_operand : R::attn_out, .n = h_, .k = out_width_};
  BlockRules rules_;
};

}  // namespace

BlockRules mla_rules(const RuleContext& context, const MultiHeadLatentAttention& attention, std::int64_t layer) {
  return MlaRules(context, attention, layer).all();
}

}  // namespace orrery::lowering
