// SPDX-License-Identifier: Apache-2.0
// Multi-head latent attention (DeepSeek-V2, section 2.1). Rows of `kv_latent` hold the latent and the key that all
// heads share and that is rotated; rows of `kv_up` hold for each head its key without position and its value; rows of
// `kv` hold the whole keys of all heads, then their values. Queries of a head: without position, then rotated.
#include "base/check.h"
#include "executor/kernels/rms_norm.h"
#include "executor/runtime/run_attention.h"

#include <vector>

namespace orrery::executor {
namespace {

using R = TensorRole;

const MultiHeadLatentAttention& latent(const OpCall& call) {
  return std::get<MultiHeadLatentAttention>(call.rank.model().attention);
}

/// Columns of one head in its tensors.
struct HeadColumns {
  const MultiHeadLatentAttention& a;
  std::int64_t head;

  std::int64_t d_qk() const { return a.qk_nope_dim + a.qk_rope_dim; }
  Matrix key_up(const Matrix& kv_up) const {
    return kv_up.col_block(head * (a.qk_nope_dim + a.v_head_dim), a.qk_nope_dim);
  }
  Matrix value_up(const Matrix& kv_up) const {
    return kv_up.col_block(head * (a.qk_nope_dim + a.v_head_dim) + a.qk_nope_dim, a.v_head_dim);
  }
  Matrix key(const Matrix& keys) const { return keys.col_block(head * d_qk(), a.qk_nope_dim); }
  Matrix rotated(const Matrix& keys) const { return keys.col_block(head * d_qk() + a.qk_nope_dim, a.qk_rope_dim); }
  Matrix value(const Matrix& values) const { return values.col_block(head * a.v_head_dim, a.v_head_dim); }
};

RopeHeads rotated_heads(const OpCall& call) {
  const MultiHeadLatentAttention& a = latent(call);
  return {.num_heads = a.num_heads / call.rank.strategy().tp,
          .first = a.qk_nope_dim,
          .stride = a.qk_nope_dim + a.qk_rope_dim};
}

/// Where the key that heads share lies: gathered by itself, or behind the latent.
Matrix shared_key(const OpCall& call, const Matrix& rows) {
  return rows.col_block(rows.cols - latent(call).qk_rope_dim, latent(call).qk_rope_dim);
}

void rope_latent_forward(OpCall& call) {
  const RankState& rank = call.rank;
  const RopeHeads heads = rotated_heads(call);
  rope_forward(rank.rope, rank.positions, heads, call.tensor(R::q));
  const bool is_gathered = call.uses_role(R::k_rope_full);
  const Matrix source = shared_key(call, call.tensor(is_gathered ? R::k_rope_full : R::kv_latent));
  thread_local std::vector<std::byte> storage;
  const Matrix turned = scratch_like(source, storage);
  convert(source, turned);
  rope_forward(rank.rope, rank.positions, {.num_heads = 1}, turned);
  const Matrix kv_up = call.tensor(R::kv_up);
  const QkvRows<Matrix> kv = keys_and_values(attention_dims(call), call.tensor(R::kv));
  for (std::int64_t head = 0; head < heads.num_heads; ++head) {
    const HeadColumns columns{latent(call), head};
    convert(columns.key_up(kv_up), columns.key(kv.k));
    convert(turned, columns.rotated(kv.k));
    convert(columns.value_up(kv_up), columns.value(kv.v));
  }
}

void rope_latent_backward(OpCall& call) {
  const RankState& rank = call.rank;
  const RopeHeads heads = rotated_heads(call);
  rope_backward(rank.rope, rank.positions, heads, call.tensor(R::d_q));
  const QkvRows<Matrix> d_kv = keys_and_values(attention_dims(call), call.tensor(R::d_kv));
  const Matrix d_kv_up = call.tensor(R::d_kv_up);
  const bool is_part = call.uses_role(R::d_k_rope_part);
  const Matrix target = call.tensor(is_part ? R::d_k_rope_part : R::d_kv_latent);
  fill_zero(target);  // the latent's part is written behind its norm
  const Matrix shared = shared_key(call, target);
  std::vector<float> sums(static_cast<std::size_t>(shared.rows * shared.cols));
  const Matrix sum = matrix_of(sums.data(), shared.rows, shared.cols);
  for (std::int64_t head = 0; head < heads.num_heads; ++head) {
    const HeadColumns columns{latent(call), head};
    convert(columns.key(d_kv.k), columns.key_up(d_kv_up));
    convert(columns.value(d_kv.v), columns.value_up(d_kv_up));
    add(sum, columns.rotated(d_kv.k), sum);
  }
  rope_backward(rank.rope, rank.positions, {.num_heads = 1}, sum);
  convert(sum, shared);
}

}  // namespace

/// RMSNorm of the latent alone, in rows that hold the shared key as well.
void run_kv_latent_norm(OpCall& call) {
  const std::int64_t width = latent(call).kv_lora_rank;
  const auto epsilon = static_cast<float>(call.rank.model().norm_eps);
  const ConstMatrix gamma = call.weight(WeightRole::kv_latent_norm);
  const Matrix x = call.tensor(R::kv_latent).col_block(0, width);
  if (call.is_forward()) {
    rms_norm_forward(x, gamma, epsilon, call.tensor(R::kv_latent_norm));
    return;
  }
  const Matrix dx = call.tensor(R::d_kv_latent).col_block(0, width);
  const Matrix dy = call.tensor(R::d_kv_latent_norm);
  call.accumulate_vector(WeightRole::kv_latent_norm, [&](std::span<float> sum, const RowPart& part) {
    rms_norm_backward(part.of(x), gamma, epsilon, part.of(dy), part.of(dx), sum);
  });
}

void run_latent_rope(OpCall& call) { call.is_forward() ? rope_latent_forward(call) : rope_latent_backward(call); }

}  // namespace orrery::executor
