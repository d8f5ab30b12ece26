// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/rules.h"

#include <initializer_list>

namespace orrery::lowering {

BlockRules gqa_rules(const RuleContext& c, const GroupedQueryAttention& a) {
  using R = TensorRole;
  const Rows rows = c.token_rows();
  const std::int64_t h = c.model.hidden;
  const std::int64_t out_width = a.num_heads * a.head_dim;
  const std::int64_t qkv_width = out_width + 2 * a.num_kv_heads * a.head_dim;
  const AttentionShape core{.batch = c.strategy.micro_batch,
                            .heads = a.num_heads,
                            .kv_heads = a.num_kv_heads,
                            .seq = c.seq,
                            .kv_seq = c.seq,
                            .d_qk = a.head_dim,
                            .d_v = a.head_dim,
                            .dtype = c.dtype};
  // With q/k-norm, attention reads normalised queries and keys from `qk` and values from `qkv`; both are saved.
  const std::int64_t qk_width = out_width + a.num_kv_heads * a.head_dim;
  const TensorRole rotated = a.qk_norm ? R::qk : R::qkv;
  const std::vector<RoleUse> inputs = a.qk_norm ? std::vector{read(R::qk), read(R::qkv)} : std::vector{read(R::qkv)};
  const auto with = [&](std::initializer_list<RoleUse> more) {
    std::vector<RoleUse> uses = inputs;
    uses.insert(uses.end(), more);
    return uses;
  };

  BlockRules rules;
  auto& fwd = rules.fwd;
  fwd.push_back(c.memory(OpCode::attn_norm, Pass::fwd, 5 * h, {read(R::x), create(R::norm1, rows, h, c.dtype)}));
  fwd.push_back(
      c.gemm(OpCode::attn_qkv, Pass::fwd, qkv_width, h, {read(R::norm1), create(R::qkv, rows, qkv_width, c.dtype)}));
  if (a.qk_norm) {
    fwd.push_back(c.memory(OpCode::attn_qk_norm, Pass::fwd, 5 * qk_width,
                           {read(R::qkv), create(R::qk, rows, qk_width, c.dtype)}));
  }
  fwd.push_back(c.memory(OpCode::attn_rope, Pass::fwd, 3 * qk_width, {modify(rotated)}));
  fwd.push_back(c.with_shape(
      OpCode::attn_core, Pass::fwd, Queue::compute, core,
      with({create(R::attn_out, rows, out_width, c.dtype), create(R::lse, rows, a.num_heads, DType::f32)})));
  fwd.push_back(
      c.gemm(OpCode::attn_out, Pass::fwd, h, out_width, {read(R::attn_out), create(R::proj, rows, h, c.dtype)}));
  fwd.push_back(
      c.memory(OpCode::attn_residual, Pass::fwd, h, {read(R::x), read(R::proj), create(R::x_mid, rows, h, c.dtype)}));

  auto& igrad = rules.igrad;
  igrad.push_back(c.gemm(OpCode::attn_out, Pass::igrad, h, out_width,
                         {read(R::d_x_mid), create(R::d_attn_out, rows, out_width, c.dtype)}));
  igrad.push_back(c.with_shape(
      OpCode::attn_core, Pass::igrad, Queue::compute, core,
      with({read(R::attn_out), read(R::lse), read(R::d_attn_out), create(R::d_qkv, rows, qkv_width, c.dtype)})));
  igrad.push_back(c.memory(OpCode::attn_rope, Pass::igrad, 3 * qk_width, {modify(R::d_qkv)}));
  if (a.qk_norm) {
    igrad.push_back(c.memory(OpCode::attn_qk_norm, Pass::igrad, 10 * qk_width, {read(R::qkv), modify(R::d_qkv)}));
  }
  igrad.push_back(
      c.gemm(OpCode::attn_qkv, Pass::igrad, qkv_width, h, {read(R::d_qkv), create(R::d_norm1, rows, h, c.dtype)}));
  igrad.push_back(c.memory(OpCode::attn_norm, Pass::igrad, 10 * h,
                           {read(R::x), read(R::d_norm1), read(R::d_x_mid), create(R::d_x, rows, h, c.dtype)}));

  rules.wgrad = {
      c.gemm(OpCode::attn_out, Pass::wgrad, h, out_width, {read(R::attn_out), read(R::d_x_mid)}),
      c.gemm(OpCode::attn_qkv, Pass::wgrad, qkv_width, h, {read(R::norm1), read(R::d_qkv)}),
  };
  return rules;
}

}  // namespace orrery::lowering
