// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/run_layers.h"

#include "base/check.h"
#include "executor/kernels/bias.h"
#include "executor/kernels/rms_norm.h"
#include "executor/kernels/swiglu.h"

#include <algorithm>

namespace orrery::executor {
namespace {

/// Calls f(rows of a, rows of b) for each sequence of a micro-batch; where one has more rows, those of the slice.
template <class F>
void for_each_sequence(const OpCall& call, const Matrix& a, const Matrix& b, F&& f) {
  const std::int64_t fewest = std::min(a.rows, b.rows);
  for (std::int64_t i = 0; i < call.num_sequences(); ++i) {
    const SequenceRows of_a = sequence_rows(call, i, a.rows, fewest), of_b = sequence_rows(call, i, b.rows, fewest);
    f(a.row_block(of_a.first, of_a.count), b.row_block(of_b.first, of_b.count));
  }
}

/// The rows whose gradients this rank adds to that of a bias which all TP ranks hold: with sequence parallelism, where
/// the ranks' gradients are added up, its own.
template <class F>
void for_each_counted(const OpCall& call, const Matrix& dy, F&& f) {
  const Strategy& s = call.rank.strategy();
  if (!s.sp) return f(dy);
  const std::int64_t per_sequence = dy.rows / call.num_sequences(), own = per_sequence / s.tp;
  for (std::int64_t i = 0; i < call.num_sequences(); ++i) {
    f(dy.row_block(i * per_sequence + call.rank.view.coords.tp * own, own));
  }
}

void run_product(OpCall& call, WeightRole role) {
  const Gemm& gemm = call.rank.gemm;
  if (call.is_wgrad()) {
    const Matrix x = call.operand(0), dy = call.operand(1);
    call.accumulate(role, [&](Matrix dw, const RowPart& part) { linear_wgrad(gemm, part.of(dy), part.of(x), dw); });
    return;
  }
  const ConstMatrix weight = call.weight(role);
  const Matrix in = call.operand(0), out = call.operand(-1);
  if (call.is_forward()) {
    for_each_sequence(call, in, out, [&](Matrix x, Matrix y) { linear_forward(gemm, x, weight, y); });
    return;
  }
  // A bf16 product cannot add by itself.
  thread_local std::vector<std::byte> scratch;
  const bool adds = call.modifies_last();
  const Matrix product = adds ? scratch_like(out, scratch) : out;
  for_each_sequence(call, in, product, [&](Matrix dy, Matrix dx) { linear_igrad(gemm, dy, weight, dx); });
  if (adds) add(out, product, out);
}

}  // namespace

SequenceRows sequence_rows(const OpCall& call, std::int64_t sequence, std::int64_t rows, std::int64_t fewest_rows) {
  const std::int64_t per_sequence = rows / call.num_sequences(), count = fewest_rows / call.num_sequences();
  const std::int64_t slice = per_sequence == count ? 0 : call.op.key.bucket;
  return {sequence * per_sequence + slice * count, count};
}

void run_linear(OpCall& call, WeightRole role, std::optional<WeightRole> bias) {
  run_product(call, role);
  if (!bias || !call.has_weight(*bias)) return;
  if (call.is_forward()) {
    const ConstMatrix values = call.weight(*bias);
    const Matrix in = call.operand(0), out = call.operand(-1);
    for_each_sequence(call, in, out, [&](Matrix, Matrix y) { add_bias(values, y); });
  } else if (call.is_wgrad()) {
    call.accumulate_vector(
        *bias, [&](std::span<float> sum, const RowPart& part) { bias_backward(part.of(call.operand(1)), sum); });
  }
}

void run_row_parallel(OpCall& call, WeightRole role, std::optional<WeightRole> bias) {
  run_product(call, role);
  if (!bias || !call.has_weight(*bias)) return;
  if (call.is_forward() && call.rank.strategy().tp == 1) {
    add_bias(call.weight(*bias), call.operand(-1));
  } else if (call.is_wgrad()) {
    call.accumulate_vector(*bias, [&](std::span<float> sum, const RowPart& part) {
      for_each_counted(call, part.of(call.operand(1)), [&](const Matrix& dy) { bias_backward(dy, sum); });
    });
  }
}

void run_norm(OpCall& call, WeightRole role) {
  const ConstMatrix gamma = call.weight(role);
  const auto epsilon = static_cast<float>(call.rank.model().norm_eps);
  const Matrix x = call.operand(0), out = call.operand(-1);
  if (call.is_forward()) {
    rms_norm_forward(x, gamma, epsilon, out);
    return;
  }
  thread_local std::vector<std::byte> scratch;
  const bool adds = call.modifies_last();
  const Matrix dx = adds ? scratch_like(out, scratch) : out;
  const Matrix dy = call.operand(1);
  call.accumulate_vector(role, [&](std::span<float> sum, const RowPart& part) {
    rms_norm_backward(part.of(x), gamma, epsilon, part.of(dy), part.of(dx), sum);
  });
  if (adds) add(out, dx, out);
  if (call.num_operands() == 4) add(out, call.operand(2), out);
}

void run_swiglu(OpCall& call) {
  if (call.is_forward()) {
    swiglu_forward(call.operand(0), {}, call.operand(-1));
  } else {
    swiglu_backward(call.operand(0), {}, call.operand(1), call.operand(-1), {});
  }
}

void run_sum(OpCall& call) {
  const Matrix sum = call.operand(-1);
  add(call.operand(0), call.operand(1), sum);
  for (int i = 2; i + 1 < call.num_operands(); ++i) add(sum, call.operand(i), sum);
}

}  // namespace orrery::executor
