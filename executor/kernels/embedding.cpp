// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/embedding.h"

#include "executor/kernels/element.h"
#include "executor/kernels/simd_math.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace orrery::executor {
namespace {

void check_tokens(std::span<const std::int32_t> tokens, std::int64_t rows, std::int64_t vocabulary) {
  CHECK(static_cast<std::int64_t>(tokens.size()) == rows, tokens.size(), rows);
  for (const std::int32_t token : tokens) CHECK(token >= 0 && token < vocabulary, token, vocabulary);
}

template <class T>
float largest_of(const T* logits, std::int64_t size) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (std::int64_t i = 0; i < size; ++i) largest = std::max(largest, static_cast<float>(logits[i]));
  return largest;
}

/// Sum of e^(logit - largest).
template <class T>
float sum_exp(const T* logits, float largest, std::int64_t size) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < size; ++i) sum += vector_exp(static_cast<float>(logits[i]) - largest);
  return sum;
}

template <class In, class Out>
void loss_gradient_row(const In* logits, std::int32_t target, float scale, std::int64_t size, Out* dlogits) {
  const float largest = largest_of(logits, size);
  const float factor = scale / sum_exp(logits, largest, size);
  const float target_share = vector_exp(static_cast<float>(logits[target]) - largest) * factor;
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) {
    dlogits[i] = vector_exp(static_cast<float>(logits[i]) - largest) * factor;
  }
  dlogits[target] = target_share - scale;
}

}  // namespace

void embedding_forward(ConstMatrix table, std::span<const std::int32_t> tokens, Matrix out) {
  check_tokens(tokens, out.rows, table.rows);
  CHECK(table.cols == out.cols && table.dtype == out.dtype, table.cols, out.cols, name_of(out.dtype));
  const auto bytes = static_cast<std::size_t>(table.cols * size_of(table.dtype));
  for (std::int64_t row = 0; row < out.rows; ++row) {
    std::memcpy(out.at(row, 0), table.at(tokens[static_cast<std::size_t>(row)], 0), bytes);
  }
}

void embedding_backward(ConstMatrix dout, std::span<const std::int32_t> tokens, Matrix dtable) {
  check_tokens(tokens, dout.rows, dtable.rows);
  CHECK(dtable.cols == dout.cols && dtable.dtype == DType::f32, dtable.cols, dout.cols, name_of(dtable.dtype));
  with_element(dout.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < dout.rows; ++row) {
      const T* gradient = dout.row<T>(row);
      float* sum = dtable.row<float>(tokens[static_cast<std::size_t>(row)]);
#pragma omp simd
      for (std::int64_t i = 0; i < dout.cols; ++i) sum[i] += static_cast<float>(gradient[i]);
    }
  });
}

double cross_entropy_forward(ConstMatrix logits, std::span<const std::int32_t> targets) {
  check_tokens(targets, logits.rows, logits.cols);
  double loss = 0.0;
  with_element(logits.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < logits.rows; ++row) {
      const T* values = logits.row<T>(row);
      const float largest = largest_of(values, logits.cols);
      const float target = static_cast<float>(values[targets[static_cast<std::size_t>(row)]]);
      loss += std::log(static_cast<double>(sum_exp(values, largest, logits.cols))) +
              (static_cast<double>(largest) - static_cast<double>(target));
    }
  });
  return loss;
}

void cross_entropy_backward(ConstMatrix logits, std::span<const std::int32_t> targets, float scale, Matrix dlogits) {
  check_tokens(targets, logits.rows, logits.cols);
  CHECK(dlogits.rows == logits.rows && dlogits.cols == logits.cols, dlogits.rows, dlogits.cols, logits.cols);
  CHECK(dlogits.first != logits.first || dlogits.dtype == logits.dtype, name_of(dlogits.dtype));
  with_element(logits.dtype, [&]<class In>(In) {
    with_element(dlogits.dtype, [&]<class Out>(Out) {
      for (std::int64_t row = 0; row < logits.rows; ++row) {
        loss_gradient_row(logits.row<In>(row), targets[static_cast<std::size_t>(row)], scale, logits.cols,
                          dlogits.row<Out>(row));
      }
    });
  });
}

}  // namespace orrery::executor
