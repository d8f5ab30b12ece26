// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/attention_core.h"
#include "program/lowering/rules.h"
#include "program/lowering/tensor_parallel.h"

#include <algorithm>

namespace orrery::lowering {

// A TP rank has its share of the query heads and at least one key-value head: with more ranks than key-value heads
// several hold the same one.
BlockRules gqa_rules(const RuleContext& c, const GroupedQueryAttention& a, std::int64_t layer) {
  using R = TensorRole;
  const TensorParallel tp(c);
  const Rows rows = c.token_rows(), local = c.local_rows();
  const std::int64_t h = c.model.hidden;
  const std::int64_t heads = a.num_heads / c.tp, kv_heads = std::max<std::int64_t>(a.num_kv_heads / c.tp, 1);
  const std::int64_t out_width = heads * a.head_dim;
  const std::int64_t qkv_width = out_width + 2 * kv_heads * a.head_dim;
  // With q/k-norm, attention reads normalised queries and keys from `qk` and values from `qkv`; both are saved.
  const std::int64_t qk_width = out_width + kv_heads * a.head_dim;
  const TensorRole rotated = a.qk_norm ? R::qk : R::qkv;
  const AttentionCore core{.heads = heads,
                           .kv_heads = kv_heads,
                           .d_qk = a.head_dim,
                           .d_v = a.head_dim,
                           .span = c.model.span(layer),
                           .inputs = a.qk_norm ? std::vector{R::qk, R::qkv} : std::vector{R::qkv},
                           .gradients = {{R::d_qkv, qkv_width}},
                           .d_kv = R::d_qkv};
  const ColumnParallel qkv{.n = qkv_width, .k = h};
  const RowParallel out{.in = c.operand == DType::fp8 ? R::attn_operand : R::attn_out, .n = h, .k = out_width};

  BlockRules rules;
  auto& fwd = rules.fwd;
  fwd.push_back(c.memory(OpCode::attn_norm, Pass::fwd, 5 * h, {read(R::x), c.create_operand(R::norm1, local, h)}));
  tp.forward(qkv, fwd);
  if (a.qk_norm) {
    fwd.push_back(c.memory(OpCode::attn_qk_norm, Pass::fwd, 5 * qk_width,
                           {read(R::qkv), create(R::qk, rows, qk_width, c.dtype)}));
  }
  fwd.push_back(c.memory(OpCode::attn_rope, Pass::fwd, 3 * qk_width, {modify(rotated)}));

  auto& igrad = rules.igrad;
  tp.input_gradient(out, igrad);
  add_attention_core(c, core, rules);
  igrad.push_back(c.memory(OpCode::attn_rope, Pass::igrad, 3 * qk_width, {modify(R::d_qkv)}));
  if (a.qk_norm) {
    igrad.push_back(c.memory(OpCode::attn_qk_norm, Pass::igrad, 10 * qk_width, {read(R::qkv), modify(R::d_qkv)}));
  }
  tp.input_gradient(qkv, igrad);
  add_attention_ends(c, out, rules);

  tp.weight_gradient(out, rules.wgrad);
  tp.weight_gradient(qkv, rules.wgrad);
  return rules;
}

}  // namespace orrery::lowering
