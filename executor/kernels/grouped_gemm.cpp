// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/grouped_gemm.h"

#include "base/check.h"
#include "executor/kernels/elementwise.h"

#include <algorithm>
#include <vector>

namespace orrery::executor {
namespace {

std::int64_t padded(std::int64_t rows) { return (rows + kGroupedPad - 1) / kGroupedPad * kGroupedPad; }

/// A copy of `rows` with zero rows below, up to a multiple of kGroupedPad.
ConstMatrix with_zero_rows(ConstMatrix rows, std::vector<std::byte>& storage) {
  const Matrix copy = scratch_of(rows.dtype, padded(rows.rows), rows.cols, storage);
  convert(rows, copy.row_block(0, rows.rows));
  fill_zero(copy.row_block(rows.rows, copy.rows - rows.rows));
  return copy;
}

/// Calls work(expert, first row, number of rows) for each block of rows of each expert, in order.
template <class Work>
void for_each_block(std::span<const std::int64_t> offsets, Work&& work) {
  for (std::size_t expert = 0; expert + 1 < offsets.size(); ++expert) {
    for (std::int64_t row = offsets[expert]; row < offsets[expert + 1]; row += kGroupedBlock) {
      work(static_cast<std::int64_t>(expert), row, std::min(kGroupedBlock, offsets[expert + 1] - row));
    }
  }
}

std::int64_t rows_per_expert(ConstMatrix w, std::span<const std::int64_t> offsets) {
  CHECK(offsets.size() > 1);
  const auto num_experts = static_cast<std::int64_t>(offsets.size() - 1);
  CHECK(w.rows % num_experts == 0, w.rows, num_experts);
  return w.rows / num_experts;
}

/// out = rows op(w_i) for the rows of each expert i.
void multiply_rows(const Gemm& gemm, ConstMatrix rows, ConstMatrix w, bool transpose_w,
                   std::span<const std::int64_t> offsets, Matrix out) {
  CHECK(offsets.back() == rows.rows && rows.rows == out.rows, offsets.back(), rows.rows, out.rows);
  thread_local std::vector<std::byte> rows_storage, out_storage;
  const std::int64_t weight_rows = rows_per_expert(w, offsets);
  for_each_block(offsets, [&](std::int64_t expert, std::int64_t begin, std::int64_t count) {
    const ConstMatrix weight = w.row_block(expert * weight_rows, weight_rows);
    const ConstMatrix block = rows.row_block(begin, count);
    if (padded(count) == count) {
      gemm.run({.a = block, .b = weight, .c = out.row_block(begin, count), .transpose_b = transpose_w});
      return;
    }
    const Matrix result = scratch_of(out.dtype, padded(count), out.cols, out_storage);
    gemm.run({.a = with_zero_rows(block, rows_storage), .b = weight, .c = result, .transpose_b = transpose_w});
    convert(result.row_block(0, count), out.row_block(begin, count));
  });
}

}  // namespace

void grouped_forward(const Gemm& gemm, ConstMatrix x, ConstMatrix w, std::span<const std::int64_t> offsets, Matrix y) {
  multiply_rows(gemm, x, w, true, offsets, y);
}

void grouped_igrad(const Gemm& gemm, ConstMatrix dy, ConstMatrix w, std::span<const std::int64_t> offsets, Matrix dx) {
  multiply_rows(gemm, dy, w, false, offsets, dx);
}

void grouped_wgrad(const Gemm& gemm, ConstMatrix dy, ConstMatrix x, std::span<const std::int64_t> offsets, Matrix dw) {
  CHECK(offsets.back() == x.rows && x.rows == dy.rows, offsets.back(), x.rows, dy.rows);
  thread_local std::vector<std::byte> dy_storage, x_storage;
  const std::int64_t weight_rows = rows_per_expert(dw, offsets);
  for_each_block(offsets, [&](std::int64_t expert, std::int64_t begin, std::int64_t count) {
    const Matrix dweight = dw.row_block(expert * weight_rows, weight_rows);
    ConstMatrix left = dy.row_block(begin, count);
    ConstMatrix right = x.row_block(begin, count);
    if (padded(count) != count) {
      left = with_zero_rows(left, dy_storage);
      right = with_zero_rows(right, x_storage);
    }
    linear_wgrad(gemm, left, right, dweight);
  });
}

}  // namespace orrery::executor
