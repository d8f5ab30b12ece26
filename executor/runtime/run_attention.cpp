// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "executor/kernels/elementwise.h"
#include "executor/kernels/rms_norm.h"
#include "executor/runtime/rank_state.h"

#include <vector>

namespace orrery::executor {
namespace {

using R = TensorRole;

const GroupedQueryAttention& attention_of(const OpCall& call) {
  return std::get<GroupedQueryAttention>(call.rank.model().attention);
}

AttentionShape shape_of(const OpCall& call) {
  const GroupedQueryAttention& a = attention_of(call);
  return {
      .sequence = call.rank.seq(), .num_q_heads = a.num_heads, .num_kv_heads = a.num_kv_heads, .head_dim = a.head_dim};
}

/// Packed queries, keys and values as the attention kernel takes them; with q/k-norm, put together from two tensors.
ConstMatrix packed_qkv(const OpCall& call, std::vector<std::byte>& scratch) {
  const Matrix qkv = call.tensor(R::qkv);
  if (!call.uses_role(R::qk)) return qkv;
  const Matrix qk = call.tensor(R::qk);
  const Matrix packed = scratch_like(qkv, scratch);
  convert(qk, packed.col_block(0, qk.cols));
  convert(qkv.col_block(qk.cols, qkv.cols - qk.cols), packed.col_block(qk.cols, qkv.cols - qk.cols));
  return packed;
}

void run_core(OpCall& call) {
  thread_local std::vector<std::byte> scratch;
  const ConstMatrix qkv = packed_qkv(call, scratch);
  if (call.is_forward()) {
    attention_forward(call.rank.gemm, shape_of(call), qkv, call.tensor(R::attn_out), call.tensor(R::lse));
  } else {
    attention_backward(call.rank.gemm, shape_of(call), qkv, call.tensor(R::lse), call.tensor(R::d_attn_out),
                       call.tensor(R::d_qkv));
  }
}

/// RMSNorm of each query and key head on its own.
void run_qk_norm(OpCall& call) {
  const GroupedQueryAttention& a = attention_of(call);
  const auto epsilon = static_cast<float>(call.rank.model().norm_eps);
  thread_local std::vector<std::byte> scratch;
  for (std::int64_t head = 0; head < a.num_heads + a.num_kv_heads; ++head) {
    const WeightRole role = head < a.num_heads ? WeightRole::q_norm : WeightRole::k_norm;
    const ConstMatrix gamma = call.rank.weights.weight(role, call.layer());
    const Matrix x = call.tensor(R::qkv).col_block(head * a.head_dim, a.head_dim);
    if (call.is_forward()) {
      rms_norm_forward(x, gamma, epsilon, call.tensor(R::qk).col_block(head * a.head_dim, a.head_dim));
      continue;
    }
    const Matrix gradient = call.tensor(R::d_qkv).col_block(head * a.head_dim, a.head_dim);
    const Matrix dy = scratch_like(gradient, scratch);
    convert(gradient, dy);
    rms_norm_backward(x, gamma, epsilon, dy, gradient, call.rank.weights.gradient_vector(role, call.layer()));
  }
}

void run_rope(OpCall& call) {
  const GroupedQueryAttention& a = attention_of(call);
  const std::int64_t heads = a.num_heads + a.num_kv_heads;
  if (call.is_forward()) {
    rope_forward(*call.rank.rope, heads, call.tensor(call.uses_role(R::qk) ? R::qk : R::qkv));
  } else {
    rope_backward(*call.rank.rope, heads, call.tensor(R::d_qkv));
  }
}

}  // namespace

void run_attention(OpCall& call) {
  const OpCode op = call.op.key.op;
  if (op == OpCode::attn_norm) {
    run_norm(call, WeightRole::attn_norm, R::x, R::norm1, R::d_x, R::d_norm1, R::d_x_mid);
  } else if (op == OpCode::attn_qkv) {
    run_linear(call, WeightRole::qkv, R::norm1, R::qkv, R::d_norm1, R::d_qkv);
  } else if (op == OpCode::attn_qk_norm) {
    run_qk_norm(call);
  } else if (op == OpCode::attn_rope) {
    run_rope(call);
  } else if (op == OpCode::attn_core) {
    run_core(call);
  } else if (op == OpCode::attn_out) {
    run_linear(call, WeightRole::attn_out, R::attn_out, R::proj, R::d_attn_out, R::d_x_mid);
  } else if (op == OpCode::attn_residual) {
    add(call.tensor(R::x), call.tensor(R::proj), call.tensor(R::x_mid));
  } else {
    CHECK(false, call.key);
  }
}

}  // namespace orrery::executor
