// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/muon.h"

#include "base/check.h"
#include "executor/kernels/elementwise.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace orrery::executor {
namespace {

constexpr int kIterations = 5;
// Of the quintic a x + b x^3 + c x^5, tuned for a steep start at zero. Source: Jordan et al. (2024).
constexpr float kA = 3.4445F, kB = -4.7750F, kC = 2.0315F;

void check_f32(ConstMatrix matrix) { CHECK(matrix.dtype == DType::f32, name_of(matrix.dtype)); }

}  // namespace

void muon_momentum(const MuonSettings& settings, float gradient_scale, std::span<const float> gradient,
                   std::span<float> momentum) {
  CHECK(gradient.size() == momentum.size(), gradient.size(), momentum.size());
  for (std::size_t i = 0; i < momentum.size(); ++i) {
    momentum[i] = settings.momentum * momentum[i] + gradient_scale * gradient[i];
  }
}

void orthogonalize(const Gemm& gemm, ConstMatrix x, Matrix out) {
  check_f32(x);
  check_f32(out);
  CHECK(x.rows == out.rows && x.cols == out.cols, x.rows, x.cols, out.rows, out.cols);
  // The products of the smaller side: a wide matrix is worked on as it is, a tall one transposed.
  const bool is_tall = x.rows > x.cols;
  const std::int64_t m = std::min(x.rows, x.cols), n = std::max(x.rows, x.cols);
  std::vector<float> wide(static_cast<std::size_t>(m * n)), next(wide.size());
  std::vector<float> square(static_cast<std::size_t>(m * m)), mixed(square.size());
  const auto element = [&](std::int64_t i, std::int64_t j) -> float& {
    return wide[static_cast<std::size_t>(i * n + j)];
  };
  double sum = 0.0;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      const float value = is_tall ? x.row<float>(j)[i] : x.row<float>(i)[j];
      element(i, j) = value;
      sum += static_cast<double>(value) * static_cast<double>(value);
    }
  }
  const auto scale = static_cast<float>(1.0 / (std::sqrt(sum) + 1e-7));  // no singular value is above 1 then
  for (float& value : wide) value *= scale;
  const Matrix a = matrix_of(wide.data(), m, n), b = matrix_of(next.data(), m, n);
  const Matrix gram = matrix_of(square.data(), m, m), polynomial = matrix_of(mixed.data(), m, m);
  for (int i = 0; i < kIterations; ++i) {
    gemm.run({.a = a, .b = a, .c = gram, .transpose_b = true});
    gemm.run({.a = gram, .b = gram, .c = polynomial});
    for (std::size_t j = 0; j < square.size(); ++j) mixed[j] = kB * square[j] + kC * mixed[j];
    gemm.run({.a = polynomial, .b = a, .c = b});
    for (std::size_t j = 0; j < wide.size(); ++j) wide[j] = kA * wide[j] + next[j];
  }
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      (is_tall ? out.row<float>(j)[i] : out.row<float>(i)[j]) = element(i, j);
    }
  }
}

void muon_update(const MuonSettings& settings, ConstMatrix direction, Matrix master, Matrix model) {
  check_f32(direction);
  check_f32(master);
  const float step = 0.2F * std::sqrt(static_cast<float>(std::max(direction.rows, direction.cols)));
  for (std::int64_t row = 0; row < master.rows; ++row) {
    const float* towards = direction.row<float>(row);
    float* values = master.row<float>(row);
    for (std::int64_t i = 0; i < master.cols; ++i) {
      values[i] -= settings.learning_rate * (step * towards[i] + settings.weight_decay * values[i]);
    }
  }
  if (model.first != master.first) convert(master, model);
}

}  // namespace orrery::executor
