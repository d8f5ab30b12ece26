// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/elementwise.h"
#include "executor/kernels/initialize.h"
#include "executor/kernels/matrix.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

// What the kernel tests share: matrices that own their memory, and gradients by central differences of a slow f64
// version of the kernel under test.

namespace orrery::executor {

using Doubles = std::vector<double>;

class Values {
 public:
  Values(std::int64_t rows, std::int64_t cols, DType dtype = DType::f32)
      : memory_(static_cast<std::size_t>(rows * cols * size_of(dtype))), rows_(rows), cols_(cols), dtype_(dtype) {}

  static Values random(std::int64_t rows, std::int64_t cols, const std::string& name, DType dtype = DType::f32) {
    Values values(rows, cols, dtype);
    initialize_normal(1, name, 0, 1.0F, values.view());
    return values;
  }

  static Values of(const Doubles& doubles, std::int64_t rows, DType dtype = DType::f32) {
    std::vector<float> floats(doubles.begin(), doubles.end());
    Values values(rows, static_cast<std::int64_t>(doubles.size()) / rows, dtype);
    convert(matrix_of(floats.data(), rows, values.cols_), values.view());
    return values;
  }

  Matrix view() { return {memory_.data(), dtype_, rows_, cols_, cols_}; }
  ConstMatrix view() const { return {memory_.data(), dtype_, rows_, cols_, cols_}; }
  operator Matrix() { return view(); }             // NOLINT(google-explicit-constructor): kernels take views
  operator ConstMatrix() const { return view(); }  // NOLINT(google-explicit-constructor)

  std::vector<float> floats() const {
    std::vector<float> wide(static_cast<std::size_t>(rows_ * cols_));
    convert(view(), matrix_of(wide.data(), rows_, cols_));
    return wide;
  }
  Doubles doubles() const {
    const std::vector<float> wide = floats();
    return {wide.begin(), wide.end()};
  }
  const std::vector<std::byte>& bytes() const { return memory_; }

 private:
  std::vector<std::byte> memory_;
  std::int64_t rows_, cols_;
  DType dtype_;
};

/// Largest difference of two lists, relative to the largest value of the second where that is above 1.
inline double difference(const Doubles& got, const Doubles& want) {
  if (got.size() != want.size()) return INFINITY;
  double largest = 0.0;
  double scale = 1.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (!std::isfinite(got[i])) return INFINITY;
    largest = std::max(largest, std::abs(got[i] - want[i]));
    scale = std::max(scale, std::abs(want[i]));
  }
  return largest / scale;
}

inline double dot(const Doubles& a, const Doubles& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// Gradient of `loss` at x by central differences.
inline Doubles numeric_gradient(const std::function<double(const Doubles&)>& loss, Doubles x) {
  constexpr double kStep = 1e-5;
  Doubles gradient(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double at = x[i];
    x[i] = at + kStep;
    const double above = loss(x);
    x[i] = at - kStep;
    gradient[i] = (above - loss(x)) / (2.0 * kStep);
    x[i] = at;
  }
  return gradient;
}

}  // namespace orrery::executor
