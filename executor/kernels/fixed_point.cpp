// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/fixed_point.h"

#include "base/check.h"

#include <cmath>

namespace orrery::executor {
namespace {

const std::int64_t* whole_row(const ConstMatrix& matrix, std::int64_t row) {
  CHECK(matrix.dtype == DType::i64, name_of(matrix.dtype));
  return reinterpret_cast<const std::int64_t*>(matrix.at(row, 0));
}
std::int64_t* whole_row(const Matrix& matrix, std::int64_t row) {
  CHECK(matrix.dtype == DType::i64, name_of(matrix.dtype));
  return reinterpret_cast<std::int64_t*>(matrix.at(row, 0));
}

}  // namespace

bool add_fixed_point(ConstMatrix terms, double limit, Matrix sum) {
  CHECK(terms.rows == sum.rows && terms.cols == sum.cols && terms.dtype == DType::f32, terms.rows, terms.cols);
  bool all_below = true;
  for (std::int64_t row = 0; row < terms.rows; ++row) {
    const float* from = terms.row<float>(row);
    std::int64_t* to = whole_row(sum, row);
    int out_of_range = 0;
#pragma omp simd reduction(| : out_of_range)
    for (std::int64_t i = 0; i < terms.cols; ++i) {
      const auto term = static_cast<double>(from[i]);
      const bool below = std::abs(term) < limit;  // false for what is no number
      out_of_range |= below ? 0 : 1;
      to[i] += std::llrint(below ? term * (1.0 / kFixedPointUnit) : 0.0);
    }
    all_below = all_below && out_of_range == 0;
  }
  return all_below;
}

void add_whole_numbers(ConstMatrix a, ConstMatrix b, Matrix out) {
  CHECK(a.rows == out.rows && a.cols == out.cols && b.rows == out.rows && b.cols == out.cols, out.rows, out.cols);
  for (std::int64_t row = 0; row < out.rows; ++row) {
    const std::int64_t* left = whole_row(a, row);
    const std::int64_t* right = whole_row(b, row);
    std::int64_t* sum = whole_row(out, row);
#pragma omp simd
    for (std::int64_t i = 0; i < out.cols; ++i) sum[i] = left[i] + right[i];
  }
}

void from_fixed_point(ConstMatrix sums, Matrix out) {
  CHECK(sums.rows == out.rows && sums.cols == out.cols && out.dtype == DType::f32, out.rows, out.cols);
  for (std::int64_t row = 0; row < out.rows; ++row) {
    const std::int64_t* from = whole_row(sums, row);
    float* to = out.row<float>(row);
#pragma omp simd
    for (std::int64_t i = 0; i < out.cols; ++i) {
      to[i] = static_cast<float>(from[i]) * static_cast<float>(kFixedPointUnit);
    }
  }
}

}  // namespace orrery::executor
