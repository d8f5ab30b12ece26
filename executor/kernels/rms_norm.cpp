// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/rms_norm.h"

#include "executor/kernels/element.h"

#include <cmath>

namespace orrery::executor {
namespace {

/// 1 / sqrt(mean(x^2) + epsilon) of one row.
template <class T>
float reciprocal_rms(const T* x, std::int64_t size, float epsilon) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < size; ++i) sum += static_cast<float>(x[i]) * static_cast<float>(x[i]);
  return 1.0F / std::sqrt(sum / static_cast<float>(size) + epsilon);
}

template <class T>
void forward_row(const T* x, const T* gamma, float epsilon, std::int64_t size, T* y) {
  const float scale = reciprocal_rms(x, size, epsilon);
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) {
    y[i] = static_cast<float>(x[i]) * scale * static_cast<float>(gamma[i]);
  }
}

/// With n = x * scale and g = dy * gamma: dx = scale * (g - n * mean(g n)), dgamma += dy * n.
template <class T>
void backward_row(const T* x, const T* gamma, float epsilon, const T* dy, std::int64_t size, T* dx, float* dgamma) {
  const float scale = reciprocal_rms(x, size, epsilon);
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < size; ++i) {
    sum += static_cast<float>(dy[i]) * static_cast<float>(gamma[i]) * (static_cast<float>(x[i]) * scale);
  }
  const float mean = sum / static_cast<float>(size);
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) {
    const float gradient = static_cast<float>(dy[i]);
    const float normalized = static_cast<float>(x[i]) * scale;
    dgamma[i] += gradient * normalized;
    dx[i] = scale * (gradient * static_cast<float>(gamma[i]) - normalized * mean);
  }
}

}  // namespace

void rms_norm_forward(ConstMatrix x, ConstMatrix gamma, float epsilon, Matrix y) {
  CHECK(x.rows == y.rows && x.cols == y.cols && gamma.cols == x.cols, x.rows, x.cols, y.rows, y.cols, gamma.cols);
  CHECK(gamma.dtype == x.dtype && y.dtype == x.dtype, name_of(x.dtype), name_of(gamma.dtype), name_of(y.dtype));
  with_element(x.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < x.rows; ++row) {
      forward_row(x.row<T>(row), gamma.row<T>(0), epsilon, x.cols, y.row<T>(row));
    }
  });
}

void rms_norm_backward(ConstMatrix x, ConstMatrix gamma, float epsilon, ConstMatrix dy, Matrix dx,
                       std::span<float> dgamma) {
  CHECK(x.rows == dy.rows && x.cols == dy.cols && x.rows == dx.rows && x.cols == dx.cols, x.rows, x.cols, dy.rows,
        dy.cols, dx.rows, dx.cols);
  CHECK(static_cast<std::int64_t>(dgamma.size()) == x.cols, dgamma.size(), x.cols);
  CHECK(gamma.dtype == x.dtype && dy.dtype == x.dtype && dx.dtype == x.dtype, name_of(x.dtype), name_of(dy.dtype));
  with_element(x.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < x.rows; ++row) {
      backward_row(x.row<T>(row), gamma.row<T>(0), epsilon, dy.row<T>(row), x.cols, dx.row<T>(row), dgamma.data());
    }
  });
}

}  // namespace orrery::executor
