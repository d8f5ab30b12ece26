// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/swiglu.h"

#include "executor/kernels/element.h"
#include "executor/kernels/simd_math.h"

#include <algorithm>

namespace orrery::executor {
namespace {

float sigmoid(float x) { return 1.0F / (1.0F + vector_exp(-x)); }

template <class T>
void forward_row(const T* gate_up, float probability, std::int64_t width, T* out) {
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) {
    const float gate = static_cast<float>(gate_up[i]);
    const float up = static_cast<float>(gate_up[width + i]);
    out[i] = gate * sigmoid(gate) * up * probability;
  }
}

/// Returns the gradient of the probability: the sum of dout * silu(gate) * up.
template <class T>
float backward_row(const T* gate_up, float probability, const T* dout, std::int64_t width, T* dgate_up) {
  float dprobability = 0.0F;
#pragma omp simd reduction(+ : dprobability)
  for (std::int64_t i = 0; i < width; ++i) {
    const float gate = static_cast<float>(gate_up[i]);
    const float up = static_cast<float>(gate_up[width + i]);
    const float gradient = static_cast<float>(dout[i]);
    const float slope = sigmoid(gate);
    const float silu = gate * slope;
    dprobability += gradient * silu * up;
    dgate_up[i] = gradient * probability * up * (slope + silu * (1.0F - slope));
    dgate_up[width + i] = gradient * probability * silu;
  }
  return dprobability;
}

template <class T>
void clamped_forward_row(const ClampedSwiglu& by, const T* gate_up, float probability, std::int64_t width, T* out) {
  const float alpha = by.alpha, limit = by.limit;
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) {
    const float gate = std::min(static_cast<float>(gate_up[i]), limit);
    const float up = std::max(std::min(static_cast<float>(gate_up[width + i]), limit), -limit);
    out[i] = gate * sigmoid(alpha * gate) * (up + 1.0F) * probability;
  }
}

template <class T>
float clamped_backward_row(const ClampedSwiglu& by, const T* gate_up, float probability, const T* dout,
                           std::int64_t width, T* dgate_up) {
  const float alpha = by.alpha, limit = by.limit;
  float dprobability = 0.0F;
#pragma omp simd reduction(+ : dprobability)
  for (std::int64_t i = 0; i < width; ++i) {
    const float whole_gate = static_cast<float>(gate_up[i]), whole_up = static_cast<float>(gate_up[width + i]);
    const float gate = std::min(whole_gate, limit), up = std::max(std::min(whole_up, limit), -limit);
    const float gradient = static_cast<float>(dout[i]);
    const float slope = sigmoid(alpha * gate);
    const float swish = gate * slope;
    const float dgate = gradient * probability * (up + 1.0F) * (slope + alpha * swish * (1.0F - slope));
    dprobability += gradient * swish * (up + 1.0F);
    dgate_up[i] = whole_gate <= limit ? dgate : 0.0F;
    dgate_up[width + i] = whole_up == up ? gradient * probability * swish : 0.0F;
  }
  return dprobability;
}

void check_shapes(ConstMatrix gate_up, std::span<const float> probability, ConstMatrix out) {
  CHECK(gate_up.rows == out.rows && gate_up.cols == 2 * out.cols, gate_up.rows, gate_up.cols, out.rows, out.cols);
  CHECK(gate_up.dtype == out.dtype, name_of(gate_up.dtype), name_of(out.dtype));
  CHECK(probability.empty() || static_cast<std::int64_t>(probability.size()) == out.rows, probability.size(), out.rows);
}

/// Calls `row(gate_up, probability, out)` for each row, of the element type.
template <class Row>
void forward_rows(ConstMatrix gate_up, std::span<const float> probability, Matrix out, Row&& forward) {
  check_shapes(gate_up, probability, out);
  with_element(out.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < out.rows; ++row) {
      const float scale = probability.empty() ? 1.0F : probability[static_cast<std::size_t>(row)];
      forward(gate_up.row<T>(row), scale, out.row<T>(row));
    }
  });
}

/// The same with `row(gate_up, probability, dout, dgate_up)`, which returns the gradient of the probability.
template <class Row>
void backward_rows(ConstMatrix gate_up, std::span<const float> probability, ConstMatrix dout, Matrix dgate_up,
                   std::span<float> dprobability, Row&& backward) {
  check_shapes(gate_up, probability, dout);
  check_shapes(dgate_up, probability, dout);
  CHECK(dprobability.size() == probability.size(), dprobability.size(), probability.size());
  with_element(dout.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < dout.rows; ++row) {
      const auto index = static_cast<std::size_t>(row);
      const float scale = probability.empty() ? 1.0F : probability[index];
      const float gradient = backward(gate_up.row<T>(row), scale, dout.row<T>(row), dgate_up.row<T>(row));
      if (!dprobability.empty()) dprobability[index] = gradient;
    }
  });
}

}  // namespace

void swiglu_forward(ConstMatrix gate_up, std::span<const float> probability, Matrix out) {
  forward_rows(gate_up, probability, out,
               [&](const auto* row, float scale, auto* target) { forward_row(row, scale, out.cols, target); });
}

void swiglu_backward(ConstMatrix gate_up, std::span<const float> probability, ConstMatrix dout, Matrix dgate_up,
                     std::span<float> dprobability) {
  backward_rows(gate_up, probability, dout, dgate_up, dprobability,
                [&](const auto* row, float scale, const auto* gradient, auto* target) {
                  return backward_row(row, scale, gradient, dout.cols, target);
                });
}

void ClampedSwiglu::forward(ConstMatrix gate_up, std::span<const float> probability, Matrix out) const {
  forward_rows(gate_up, probability, out, [&](const auto* row, float scale, auto* target) {
    clamped_forward_row(*this, row, scale, out.cols, target);
  });
}

void ClampedSwiglu::backward(ConstMatrix gate_up, std::span<const float> probability, ConstMatrix dout, Matrix dgate_up,
                             std::span<float> dprobability) const {
  backward_rows(gate_up, probability, dout, dgate_up, dprobability,
                [&](const auto* row, float scale, const auto* gradient, auto* target) {
                  return clamped_backward_row(*this, row, scale, gradient, dout.cols, target);
                });
}

}  // namespace orrery::executor
