// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/bf16.h"
#include "program/dtype.h"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

// Views of row-major matrices in plain memory: what every kernel takes. A view owns nothing and knows nothing of
// programs or ranks. Rows are `stride` elements apart, so a head inside packed q, k, v rows is a view too.
// Element types are f32 and bf16 (storage); statistics are always f32, and so is what a kernel adds to a gradient.

namespace orrery::executor {

/// What kernels store. Indices and statistics travel as spans instead.
template <class T>
concept Element = std::same_as<T, float> || std::same_as<T, bf16>;

template <Element T>
inline constexpr DType kDTypeOf = std::same_as<T, bf16> ? DType::bf16 : DType::f32;

template <class Void>
struct MatrixView {
  template <class T>
  using Stored = std::conditional_t<std::is_const_v<Void>, const T, T>;

  Void* first = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;  // elements from one row to the next

  Stored<std::byte>* at(std::int64_t row, std::int64_t col) const {
    return static_cast<Stored<std::byte>*>(first) + (row * stride + col) * size_of(dtype);
  }
  /// `count` rows from row `begin`.
  MatrixView row_block(std::int64_t begin, std::int64_t count) const {
    return {at(begin, 0), dtype, count, cols, stride};
  }
  /// `count` columns from column `begin`, same rows.
  MatrixView col_block(std::int64_t begin, std::int64_t count) const {
    return {at(0, begin), dtype, rows, count, stride};
  }
  /// Row `index` as elements. Requires: T is the element type.
  template <Element T>
  Stored<T>* row(std::int64_t index) const {
    return static_cast<Stored<T>*>(first) + index * stride;
  }

  /// A view to write to is also one to read from, as T* converts to const T*.
  template <class Const>
    requires(std::same_as<Const, const void> && !std::is_const_v<Void>)
  operator MatrixView<Const>() const {  // NOLINT(google-explicit-constructor)
    return {first, dtype, rows, cols, stride};
  }
};

using Matrix = MatrixView<void>;
using ConstMatrix = MatrixView<const void>;

/// The memory of a dense view.
inline std::span<std::byte> bytes_of(const Matrix& dense) {
  return {dense.at(0, 0), static_cast<std::size_t>(dense.rows * dense.cols * size_of(dense.dtype))};
}

/// A dense view of `rows` x `cols` elements at the start of `storage`, which grows to that size where it is smaller. It
/// never shrinks, since growing again would fill it with zeros.
inline Matrix scratch_of(DType dtype, std::int64_t rows, std::int64_t cols, std::vector<std::byte>& storage) {
  const auto size = static_cast<std::size_t>(rows * cols * size_of(dtype));
  if (storage.size() < size) storage.resize(size);
  return {storage.data(), dtype, rows, cols, cols};
}
/// The same of the shape and type of `like`.
inline Matrix scratch_like(const Matrix& like, std::vector<std::byte>& storage) {
  return scratch_of(like.dtype, like.rows, like.cols, storage);
}

/// A dense view of `rows` x `cols` elements.
template <Element T>
Matrix matrix_of(T* first, std::int64_t rows, std::int64_t cols) {
  return {first, kDTypeOf<T>, rows, cols, cols};
}
template <Element T>
ConstMatrix matrix_of(const T* first, std::int64_t rows, std::int64_t cols) {
  return {first, kDTypeOf<T>, rows, cols, cols};
}

/// A dense column as one row.
inline Matrix as_row(const Matrix& column) { return {column.first, column.dtype, 1, column.rows, column.rows}; }

/// Row `row` of a dense or strided view. Requires: T is the element type.
template <Element T>
std::span<const T> row_span(const ConstMatrix& matrix, std::int64_t row) {
  return {matrix.row<T>(row), static_cast<std::size_t>(matrix.cols)};
}

}  // namespace orrery::executor
