// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/bias.h"

#include "executor/kernels/element.h"

namespace orrery::executor {
namespace {

template <class T>
void add_row(const T* bias, float factor, std::int64_t size, T* y) {
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) y[i] = static_cast<float>(y[i]) + factor * static_cast<float>(bias[i]);
}

template <class T>
void sum_row(const T* dy, float factor, std::int64_t size, float* dbias) {
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) dbias[i] += factor * static_cast<float>(dy[i]);
}

float factor_of(std::span<const float> factors, std::int64_t row) {
  return factors.empty() ? 1.0F : factors[static_cast<std::size_t>(row)];
}

template <class Work>
void for_each_row(std::span<const std::int64_t> offsets, Work&& work) {
  for (std::size_t expert = 0; expert + 1 < offsets.size(); ++expert) {
    for (std::int64_t row = offsets[expert]; row < offsets[expert + 1]; ++row) {
      work(static_cast<std::int64_t>(expert), row);
    }
  }
}

}  // namespace

void add_bias(ConstMatrix bias, Matrix y) {
  CHECK(bias.rows == 1 && bias.cols == y.cols && bias.dtype == y.dtype, bias.rows, bias.cols, y.cols);
  with_element(y.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < y.rows; ++row) add_row(bias.row<T>(0), 1.0F, y.cols, y.row<T>(row));
  });
}

void bias_backward(ConstMatrix dy, std::span<float> dbias) {
  CHECK(static_cast<std::int64_t>(dbias.size()) == dy.cols, dbias.size(), dy.cols);
  with_element(dy.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < dy.rows; ++row) sum_row(dy.row<T>(row), 1.0F, dy.cols, dbias.data());
  });
}

void add_grouped_bias(ConstMatrix biases, std::span<const std::int64_t> offsets, std::span<const float> factors,
                      Matrix y) {
  CHECK(static_cast<std::int64_t>(offsets.size()) == biases.rows + 1 && offsets.back() == y.rows, offsets.size(),
        biases.rows, y.rows);
  CHECK(biases.cols == y.cols && biases.dtype == y.dtype, biases.cols, y.cols);
  with_element(y.dtype, [&]<class T>(T) {
    for_each_row(offsets, [&](std::int64_t expert, std::int64_t row) {
      add_row(biases.row<T>(expert), factor_of(factors, row), y.cols, y.row<T>(row));
    });
  });
}

void grouped_bias_backward(ConstMatrix dy, std::span<const std::int64_t> offsets, std::span<const float> factors,
                           Matrix dbiases) {
  CHECK(static_cast<std::int64_t>(offsets.size()) == dbiases.rows + 1 && offsets.back() == dy.rows, offsets.size(),
        dbiases.rows, dy.rows);
  CHECK(dbiases.cols == dy.cols && dbiases.dtype == DType::f32, dbiases.cols, dy.cols);
  with_element(dy.dtype, [&]<class T>(T) {
    for_each_row(offsets, [&](std::int64_t expert, std::int64_t row) {
      sum_row(dy.row<T>(row), factor_of(factors, row), dy.cols, dbiases.row<float>(expert));
    });
  });
}

}  // namespace orrery::executor
