// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/elementwise.h"

#include "executor/kernels/element.h"
#include "executor/kernels/fixed_point.h"

#include <cstring>

namespace orrery::executor {
namespace {

template <class A, class B>
void check_same_shape(const A& a, const B& b) {
  CHECK(a.rows == b.rows && a.cols == b.cols, a.rows, a.cols, b.rows, b.cols);
}

}  // namespace

void add(ConstMatrix a, ConstMatrix b, Matrix out) {
  check_same_shape(a, out);
  check_same_shape(b, out);
  if (out.dtype == DType::i64) return add_whole_numbers(a, b, out);
  with_element(a.dtype, [&]<class A>(A) {
    with_element(b.dtype, [&]<class B>(B) {
      with_element(out.dtype, [&]<class Out>(Out) {
        for (std::int64_t row = 0; row < out.rows; ++row) {
          const A* left = a.row<A>(row);
          const B* right = b.row<B>(row);
          Out* sum = out.row<Out>(row);
#pragma omp simd
          for (std::int64_t i = 0; i < out.cols; ++i) {
            sum[i] = static_cast<float>(left[i]) + static_cast<float>(right[i]);
          }
        }
      });
    });
  });
}

void convert(ConstMatrix a, Matrix out) {
  check_same_shape(a, out);
  if (a.dtype == out.dtype) {
    const auto row_bytes = static_cast<std::size_t>(a.cols * size_of(a.dtype));
    for (std::int64_t row = 0; row < a.rows; ++row) std::memcpy(out.at(row, 0), a.at(row, 0), row_bytes);
    return;
  }
  if (a.dtype == DType::i64) return from_fixed_point(a, out);
  with_element(a.dtype, [&]<class A>(A) {
    with_element(out.dtype, [&]<class Out>(Out) {
      for (std::int64_t row = 0; row < out.rows; ++row) {
        const A* from = a.row<A>(row);
        Out* to = out.row<Out>(row);
#pragma omp simd
        for (std::int64_t i = 0; i < out.cols; ++i) to[i] = static_cast<float>(from[i]);
      }
    });
  });
}

ConstMatrix widened(ConstMatrix a, std::vector<float>& storage) {
  if (a.dtype == DType::f32) return a;
  storage.resize(static_cast<std::size_t>(a.rows * a.cols));
  const Matrix wide = matrix_of(storage.data(), a.rows, a.cols);
  convert(a, wide);
  return wide;
}

void fill_zero(Matrix out) {
  const auto row_bytes = static_cast<std::size_t>(out.cols * size_of(out.dtype));
  for (std::int64_t row = 0; row < out.rows; ++row) std::memset(out.at(row, 0), 0, row_bytes);
}

}  // namespace orrery::executor
