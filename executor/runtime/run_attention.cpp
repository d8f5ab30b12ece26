// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/run_attention.h"

#include "base/check.h"
#include "executor/kernels/rms_norm.h"

#include <numeric>
#include <vector>

namespace orrery::executor {
namespace {

using R = TensorRole;

const GroupedQueryAttention& grouped(const OpCall& call) {
  return std::get<GroupedQueryAttention>(call.rank.model().attention);
}

std::vector<float> sinks_of(const OpCall& call) {
  if (!call.has_weight(WeightRole::sinks)) return {};
  std::vector<float> storage;
  const ConstMatrix wide = widened(call.weight(WeightRole::sinks), storage);
  const std::span<const float> values = row_span<float>(wide, 0);
  return {values.begin(), values.end()};
}

QkvRows<ConstMatrix> to_read(const QkvRows<Matrix>& rows) { return {rows.q, rows.k, rows.v}; }

/// Queries beside keys beside values in rows of one tensor.
QkvRows<Matrix> packed(const AttentionDims& dims, const Matrix& rows) {
  const std::int64_t q = dims.num_q_heads * dims.d_qk, k = dims.num_kv_heads * dims.d_qk;
  return {rows.col_block(0, q), rows.col_block(q, k), rows.col_block(q + k, dims.num_kv_heads * dims.d_v)};
}

/// What one attention op works on.
struct CoreTask {
  AttentionDims dims;
  QkvRows<Matrix> in;
  std::vector<std::int64_t> queries, keys;
  AttentionPositions positions() const { return {queries, keys}; }
};

std::vector<std::int64_t> whole_sequence(const OpCall& call) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(call.rank.seq()));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

CoreTask core_task(const OpCall& call) {
  const Strategy& s = call.rank.strategy();
  CoreTask task{.dims = attention_dims(call), .in = {}, .queries = call.rank.positions, .keys = call.rank.positions};
  if (call.uses_role(R::core_in)) {  // ulysses
    task.dims = attention_dims(call, s.cp);
    task.in = packed(task.dims, call.tensor(R::core_in));
    task.queries = task.keys = whole_sequence(call);
    return task;
  }
  task.in = qkv_of(call);
  const auto take_keys = [&](R role) {
    const QkvRows<Matrix> other = keys_and_values(task.dims, call.tensor(role));
    task.in.k = other.k;
    task.in.v = other.v;
  };
  if (call.uses_role(R::kv_full)) {
    take_keys(R::kv_full);
    task.keys = whole_sequence(call);
  }
  const std::int64_t round = call.op.key.bucket;
  if (round > 0) {  // of a ring: what came around
    take_keys(round % 2 == 1 ? R::ring_kv : R::ring_kv_next);
    task.keys = zigzag_positions(call.rank.seq(), s.cp, (call.rank.view.coords.cp + s.cp - round) % s.cp);
  }
  return task;
}

void core_forward(OpCall& call) {
  const CoreTask task = core_task(call);
  const Matrix out = call.tensor(call.uses_role(R::core_out) ? R::core_out : R::attn_out);
  const Matrix logsumexp = call.tensor(R::lse);
  const bool is_first = call.op.key.bucket <= 0;
  std::vector<float> sinks = is_first ? sinks_of(call) : std::vector<float>();  // a sink joins once
  if (!sinks.empty() && call.uses_role(R::core_in)) {
    const auto share = static_cast<std::size_t>(task.dims.num_q_heads);
    const auto begin = sinks.begin() + static_cast<std::ptrdiff_t>(share) * call.rank.view.coords.cp;
    sinks = std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(share));
  }
  if (is_first) {
    attention_forward(call.rank.gemm, task.dims, task.positions(), to_read(task.in), sinks, out, logsumexp);
    return;
  }
  thread_local std::vector<std::byte> out_storage, sum_storage;
  const Matrix part = scratch_like(out, out_storage), part_sum = scratch_like(logsumexp, sum_storage);
  attention_forward(call.rank.gemm, task.dims, task.positions(), to_read(task.in), {}, part, part_sum);
  merge_attention(part, part_sum, out, logsumexp);
}

void core_backward(OpCall& call) {
  const CoreTask task = core_task(call);
  const bool is_share = call.uses_role(R::core_in);
  const Matrix out = call.tensor(is_share ? R::core_out : R::attn_out);
  const Matrix d_out = call.tensor(is_share ? R::d_core_out : R::d_attn_out);
  const Matrix logsumexp = call.tensor(R::lse);
  const bool is_first = call.op.key.bucket <= 0;
  QkvRows<Matrix> gradients = is_share ? packed(task.dims, call.tensor(R::d_core_in)) : qkv_gradients_of(call);
  const auto put_keys = [&](R role) {
    const QkvRows<Matrix> other = keys_and_values(task.dims, call.tensor(role));
    gradients.k = other.k;
    gradients.v = other.v;
  };
  if (!is_first) put_keys(R::ring_dkv_part);
  if (call.uses_role(R::d_kv_full)) {
    // What the others' queries add to this rank's keys comes later, to a zero.
    fill_zero(gradients.k);
    fill_zero(gradients.v);
    put_keys(R::d_kv_full);
  }
  attention_backward(call.rank.gemm, task.dims, task.positions(), to_read(task.in), out, logsumexp, d_out, !is_first,
                     gradients);
  const std::vector<float> sinks = is_first ? sinks_of(call) : std::vector<float>();
  if (sinks.empty()) return;
  const auto share = static_cast<std::size_t>(task.dims.num_q_heads);
  const std::size_t first = is_share ? share * static_cast<std::size_t>(call.rank.view.coords.cp) : 0;
  call.accumulate_vector(WeightRole::sinks, [&](std::span<float> sum, const RowPart& part) {
    attention_sink_backward(std::span(sinks).subspan(first, share), part.of(out), part.of(logsumexp), part.of(d_out),
                            sum.subspan(first, share));
  });
}

}  // namespace

AttentionDims attention_dims(const OpCall& call, std::int64_t share) {
  const Strategy& s = call.rank.strategy();
  const AttentionSpan span = call.rank.model().span(call.layer());
  AttentionDims dims{.window = span.window, .chunked = span.chunked};
  if (const auto* gqa = std::get_if<GroupedQueryAttention>(&call.rank.model().attention)) {
    dims.num_q_heads = gqa->num_heads / s.tp / share;
    dims.num_kv_heads = std::max<std::int64_t>(gqa->num_kv_heads / s.tp, 1) / share;
    dims.d_qk = dims.d_v = gqa->head_dim;
  } else {
    const auto& mla = std::get<MultiHeadLatentAttention>(call.rank.model().attention);
    dims.num_q_heads = dims.num_kv_heads = mla.num_heads / s.tp / share;
    dims.d_qk = mla.qk_nope_dim + mla.qk_rope_dim;
    dims.d_v = mla.v_head_dim;
  }
  return dims;
}

QkvRows<Matrix> keys_and_values(const AttentionDims& dims, const Matrix& rows) {
  const std::int64_t k = dims.num_kv_heads * dims.d_qk;
  return {{}, rows.col_block(0, k), rows.col_block(k, dims.num_kv_heads * dims.d_v)};
}

QkvRows<Matrix> qkv_of(const OpCall& call) {
  const AttentionDims dims = attention_dims(call);
  if (call.uses_role(R::kv)) {
    QkvRows<Matrix> rows = keys_and_values(dims, call.tensor(R::kv));
    rows.q = call.tensor(R::q);
    return rows;
  }
  QkvRows<Matrix> rows = packed(dims, call.tensor(R::qkv));
  if (!call.uses_role(R::qk)) return rows;
  const Matrix qk = call.tensor(R::qk);  // normalised
  rows.q = qk.col_block(0, rows.q.cols);
  rows.k = qk.col_block(rows.q.cols, rows.k.cols);
  return rows;
}

QkvRows<Matrix> qkv_gradients_of(const OpCall& call) {
  const AttentionDims dims = attention_dims(call);
  if (call.uses_role(R::d_qkv)) return packed(dims, call.tensor(R::d_qkv));
  // A later round of a ring has those of queries alone.
  QkvRows<Matrix> rows = call.uses_role(R::d_kv) ? keys_and_values(dims, call.tensor(R::d_kv)) : QkvRows<Matrix>{};
  if (call.uses_role(R::d_q)) rows.q = call.tensor(R::d_q);
  return rows;
}

void run_attention_core(OpCall& call) { call.is_forward() ? core_forward(call) : core_backward(call); }

/// RMSNorm of each query and key head on its own, or of all query heads together and of all key heads.
void run_qk_norm(OpCall& call) {
  const AttentionDims dims = attention_dims(call);
  const bool is_whole = grouped(call).qk_norm_kind == QkNorm::whole;
  const auto epsilon = static_cast<float>(call.rank.model().norm_eps);
  thread_local std::vector<std::byte> scratch;
  const auto norm = [&](WeightRole role, std::int64_t first, std::int64_t count) {
    const ConstMatrix gamma = call.weight(role);
    const std::int64_t together = is_whole ? count : 1;  // heads
    const auto for_each_norm = [&](auto&& work) {
      for (std::int64_t head = first; head < first + count; head += together) {
        work([&, head](const Matrix& rows) { return rows.col_block(head * dims.d_qk, together * dims.d_qk); });
      }
    };
    const Matrix in = call.tensor(R::qkv);
    if (call.is_forward()) {
      const Matrix out = call.tensor(R::qk);
      for_each_norm([&](auto&& of_norm) { rms_norm_forward(of_norm(in), gamma, epsilon, of_norm(out)); });
      return;
    }
    call.accumulate_vector(role, [&](std::span<float> sum, const RowPart& part) {
      const Matrix x = part.of(in), dqkv = part.of(call.tensor(R::d_qkv));
      for_each_norm([&](auto&& of_norm) {
        const Matrix gradient = of_norm(dqkv);
        const Matrix dy = scratch_like(gradient, scratch);
        convert(gradient, dy);
        rms_norm_backward(of_norm(x), gamma, epsilon, dy, gradient, sum);
      });
    });
  };
  norm(WeightRole::q_norm, 0, dims.num_q_heads);
  norm(WeightRole::k_norm, dims.num_q_heads, dims.num_kv_heads);
}

void run_rope(OpCall& call) {
  if (call.rank.model().is_mla()) return run_latent_rope(call);
  const AttentionDims dims = attention_dims(call);
  const RopeHeads heads{.num_heads = dims.num_q_heads + dims.num_kv_heads, .stride = grouped(call).head_dim};
  if (call.is_forward()) {
    rope_forward(call.rank.rope, call.rank.positions, heads, call.tensor(call.uses_role(R::qk) ? R::qk : R::qkv));
  } else {
    rope_backward(call.rank.rope, call.rank.positions, heads, call.tensor(R::d_qkv));
  }
}

}  // namespace orrery::executor
