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

void embedding_forward(ConstMatrix table, const VocabularyPart& part, std::span<const std::int32_t> tokens,
                       Matrix out) {
  check_tokens(tokens, out.rows, part.total);
  CHECK(table.rows == part.size, table.rows, part.size);
  CHECK(table.cols == out.cols && table.dtype == out.dtype, table.cols, out.cols, name_of(out.dtype));
  const auto bytes = static_cast<std::size_t>(table.cols * size_of(table.dtype));
  for (std::int64_t row = 0; row < out.rows; ++row) {
    const std::int32_t token = tokens[static_cast<std::size_t>(row)];
    if (part.has(token)) {
      std::memcpy(out.at(row, 0), table.at(token - part.first, 0), bytes);
    } else {
      std::memset(out.at(row, 0), 0, bytes);
    }
  }
}

void embedding_backward(ConstMatrix dout, const VocabularyPart& part, std::span<const std::int32_t> tokens,
                        Matrix dtable) {
  check_tokens(tokens, dout.rows, part.total);
  CHECK(dtable.rows == part.size, dtable.rows, part.size);
  CHECK(dtable.cols == dout.cols && dtable.dtype == DType::f32, dtable.cols, dout.cols, name_of(dtable.dtype));
  with_element(dout.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < dout.rows; ++row) {
      const std::int32_t token = tokens[static_cast<std::size_t>(row)];
      if (!part.has(token)) continue;
      const T* gradient = dout.row<T>(row);
      float* sum = dtable.row<float>(token - part.first);
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

void largest_logits(ConstMatrix logits, Matrix largest) {
  CHECK(largest.rows == logits.rows && largest.cols == 1 && largest.dtype == DType::f32, largest.rows, logits.rows);
  with_element(logits.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < logits.rows; ++row) {
      *largest.row<float>(row) = largest_of(logits.row<T>(row), logits.cols);
    }
  });
}

void shift_logits(ConstMatrix logits, ConstMatrix largest, Matrix shifted) {
  CHECK(shifted.rows == logits.rows && shifted.cols == logits.cols && shifted.dtype == DType::f32, shifted.rows);
  with_element(logits.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < logits.rows; ++row) {
      const T* values = logits.row<T>(row);
      const float most = *largest.row<float>(row);
      float* out = shifted.row<float>(row);
#pragma omp simd
      for (std::int64_t i = 0; i < logits.cols; ++i) out[i] = static_cast<float>(values[i]) - most;
    }
  });
}

void cross_entropy_part(ConstMatrix shifted, const VocabularyPart& part, std::span<const std::int32_t> targets,
                        std::span<float> sums) {
  CHECK(sums.size() == 2 * targets.size() && shifted.cols == part.size, sums.size(), shifted.cols, part.size);
  for (std::size_t row = 0; row < targets.size(); ++row) {
    const float* values = shifted.row<float>(static_cast<std::int64_t>(row));
    sums[2 * row] = sum_exp(values, 0.0F, shifted.cols);
    sums[2 * row + 1] = part.has(targets[row]) ? values[targets[row] - part.first] : 0.0F;
  }
}

double cross_entropy_finish(std::span<const float> sums, Matrix shifted) {
  CHECK(static_cast<std::int64_t>(sums.size()) == 2 * shifted.rows, sums.size(), shifted.rows);
  double loss = 0.0;
  for (std::int64_t row = 0; row < shifted.rows; ++row) {
    const auto at = static_cast<std::size_t>(2 * row);
    const double log_sum = std::log(static_cast<double>(sums[at]));
    loss += log_sum - static_cast<double>(sums[at + 1]);
    float* values = shifted.row<float>(row);
    const auto shift = static_cast<float>(log_sum);
#pragma omp simd
    for (std::int64_t i = 0; i < shifted.cols; ++i) values[i] -= shift;
  }
  return loss;
}

void cross_entropy_backward_part(ConstMatrix log_softmax, const VocabularyPart& part,
                                 std::span<const std::int32_t> targets, float scale, Matrix dlogits) {
  CHECK(dlogits.rows == log_softmax.rows && dlogits.cols == log_softmax.cols, dlogits.rows, dlogits.cols);
  with_element(dlogits.dtype, [&]<class Out>(Out) {
    for (std::int64_t row = 0; row < dlogits.rows; ++row) {
      const float* values = log_softmax.row<float>(row);
      Out* out = dlogits.row<Out>(row);
#pragma omp simd
      for (std::int64_t i = 0; i < dlogits.cols; ++i) out[i] = vector_exp(values[i]) * scale;
      const std::int32_t target = targets[static_cast<std::size_t>(row)];
      if (!part.has(target)) continue;
      const std::int64_t at = target - part.first;
      out[at] = vector_exp(values[at]) * scale - scale;
    }
  });
}

}  // namespace orrery::executor
