// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/rules.h"

namespace orrery::lowering {

// DeepSeek-V2 (arXiv 2405.04434), section 2.1.2, as trained: keys and values are expanded from the latent. Saved for
// the backward: both latents before and after their norm, queries, expanded keys and values, output, logsumexp.
BlockRules mla_rules(const RuleContext& c, const MultiHeadLatentAttention& a) {
  using R = TensorRole;
  const Rows rows = c.token_rows();
  const DType t = c.dtype;
  const std::int64_t h = c.model.hidden, n = a.num_heads;
  const std::int64_t d_qk = a.qk_nope_dim + a.qk_rope_dim;
  const std::int64_t q_width = n * d_qk, out_width = n * a.v_head_dim;
  const std::int64_t kv_down_width = a.kv_lora_rank + a.qk_rope_dim;
  const std::int64_t kv_up_width = n * (a.qk_nope_dim + a.v_head_dim);
  const std::int64_t kv_width = q_width + out_width;  // keys with their rotated part, and values
  const bool q_is_low_rank = a.q_lora_rank > 0;
  const TensorRole q_input = q_is_low_rank ? R::q_latent_norm : R::norm1;
  const std::int64_t q_input_width = q_is_low_rank ? a.q_lora_rank : h;
  const AttentionShape core{.batch = c.strategy.micro_batch,
                            .heads = n,
                            .kv_heads = n,
                            .seq = c.seq,
                            .kv_seq = c.seq,
                            .d_qk = d_qk,
                            .d_v = a.v_head_dim,
                            .dtype = t};
  BlockRules rules;
  auto& fwd = rules.fwd;
  fwd.push_back(c.memory(OpCode::attn_norm, Pass::fwd, 5 * h, {read(R::x), create(R::norm1, rows, h, t)}));
  if (q_is_low_rank) {
    const std::int64_t rq = a.q_lora_rank;
    fwd.push_back(c.gemm(OpCode::attn_q_down, Pass::fwd, rq, h, {read(R::norm1), create(R::q_latent, rows, rq, t)}));
    fwd.push_back(
        c.memory(OpCode::attn_q_norm, Pass::fwd, 5 * rq, {read(R::q_latent), create(R::q_latent_norm, rows, rq, t)}));
  }
  fwd.push_back(
      c.gemm(OpCode::attn_q_up, Pass::fwd, q_width, q_input_width, {read(q_input), create(R::q, rows, q_width, t)}));
  fwd.push_back(c.gemm(OpCode::attn_kv_down, Pass::fwd, kv_down_width, h,
                       {read(R::norm1), create(R::kv_latent, rows, kv_down_width, t)}));
  fwd.push_back(c.memory(OpCode::attn_kv_norm, Pass::fwd, 5 * a.kv_lora_rank,
                         {read(R::kv_latent), create(R::kv_latent_norm, rows, a.kv_lora_rank, t)}));
  fwd.push_back(c.gemm(OpCode::attn_kv_up, Pass::fwd, kv_up_width, a.kv_lora_rank,
                       {read(R::kv_latent_norm), create(R::kv_up, rows, kv_up_width, t)}));
  fwd.push_back(c.memory(OpCode::attn_rope, Pass::fwd, 3 * (n + 1) * a.qk_rope_dim,
                         {modify(R::q), read(R::kv_latent), read(R::kv_up), create(R::kv, rows, kv_width, t)}));
  fwd.push_back(c.with_shape(
      OpCode::attn_core, Pass::fwd, Queue::compute, core,
      {read(R::q), read(R::kv), create(R::attn_out, rows, out_width, t), create(R::lse, rows, n, DType::f32)}));
  fwd.push_back(c.gemm(OpCode::attn_out, Pass::fwd, h, out_width, {read(R::attn_out), create(R::proj, rows, h, t)}));
  fwd.push_back(
      c.memory(OpCode::attn_residual, Pass::fwd, h, {read(R::x), read(R::proj), create(R::x_mid, rows, h, t)}));

  auto& igrad = rules.igrad;
  igrad.push_back(c.gemm(OpCode::attn_out, Pass::igrad, h, out_width,
                         {read(R::d_x_mid), create(R::d_attn_out, rows, out_width, t)}));
  igrad.push_back(c.with_shape(OpCode::attn_core, Pass::igrad, Queue::compute, core,
                               {read(R::q), read(R::kv), read(R::attn_out), read(R::lse), read(R::d_attn_out),
                                create(R::d_q, rows, q_width, t), create(R::d_kv, rows, kv_width, t)}));
  igrad.push_back(c.memory(OpCode::attn_rope, Pass::igrad, 3 * (n + 1) * a.qk_rope_dim,
                           {modify(R::d_q), read(R::d_kv), create(R::d_kv_up, rows, kv_up_width, t),
                            create(R::d_kv_latent, rows, kv_down_width, t)}));
  igrad.push_back(c.gemm(OpCode::attn_kv_up, Pass::igrad, kv_up_width, a.kv_lora_rank,
                         {read(R::d_kv_up), create(R::d_kv_latent_norm, rows, a.kv_lora_rank, t)}));
  igrad.push_back(c.memory(OpCode::attn_kv_norm, Pass::igrad, 10 * a.kv_lora_rank,
                           {read(R::kv_latent), read(R::d_kv_latent_norm), modify(R::d_kv_latent)}));
  igrad.push_back(c.gemm(OpCode::attn_kv_down, Pass::igrad, kv_down_width, h,
                         {read(R::d_kv_latent), create(R::d_norm1, rows, h, t)}));
  if (q_is_low_rank) {
    const std::int64_t rq = a.q_lora_rank;
    igrad.push_back(
        c.gemm(OpCode::attn_q_up, Pass::igrad, q_width, rq, {read(R::d_q), create(R::d_q_latent_norm, rows, rq, t)}));
    igrad.push_back(c.memory(OpCode::attn_q_norm, Pass::igrad, 10 * rq,
                             {read(R::q_latent), read(R::d_q_latent_norm), create(R::d_q_latent, rows, rq, t)}));
    igrad.push_back(c.gemm(OpCode::attn_q_down, Pass::igrad, rq, h, {read(R::d_q_latent), modify(R::d_norm1)}));
  } else {
    igrad.push_back(c.gemm(OpCode::attn_q_up, Pass::igrad, q_width, h, {read(R::d_q), modify(R::d_norm1)}));
  }
  igrad.push_back(c.memory(OpCode::attn_norm, Pass::igrad, 10 * h,
                           {read(R::x), read(R::d_norm1), read(R::d_x_mid), create(R::d_x, rows, h, t)}));

  auto& wgrad = rules.wgrad;
  wgrad.push_back(c.gemm(OpCode::attn_out, Pass::wgrad, h, out_width, {read(R::attn_out), read(R::d_x_mid)}));
  wgrad.push_back(c.gemm(OpCode::attn_kv_up, Pass::wgrad, kv_up_width, a.kv_lora_rank,
                         {read(R::kv_latent_norm), read(R::d_kv_up)}));
  wgrad.push_back(c.gemm(OpCode::attn_kv_down, Pass::wgrad, kv_down_width, h, {read(R::norm1), read(R::d_kv_latent)}));
  wgrad.push_back(c.gemm(OpCode::attn_q_up, Pass::wgrad, q_width, q_input_width, {read(q_input), read(R::d_q)}));
  if (q_is_low_rank) {
    wgrad.push_back(c.gemm(OpCode::attn_q_down, Pass::wgrad, a.q_lora_rank, h, {read(R::norm1), read(R::d_q_latent)}));
  }
  return rules;
}

}  // namespace orrery::lowering
