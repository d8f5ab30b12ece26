// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/router.h"

#include "executor/kernels/element.h"
#include "executor/kernels/elementwise.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

namespace orrery::executor {
namespace {

/// Keeps the sum of the k probabilities away from zero, as DeepSeek's and Megatron's routers do.
constexpr float kTinySum = 1e-20F;

void softmax(float temperature, std::span<float> row) {
  const float largest = *std::max_element(row.begin(), row.end());
  float sum = 0.0F;
  for (float& value : row) {
    value = std::exp((value - largest) / temperature);
    sum += value;
  }
  for (float& value : row) value /= sum;
}

/// Excludes the experts of all but the best groups: what is left of their scores is -infinity.
void limit_to_groups(const RouterShape& shape, std::span<float> left) {
  if (shape.num_groups == 1) return;
  constexpr float kExcluded = -std::numeric_limits<float>::infinity();
  const std::size_t size = left.size() / static_cast<std::size_t>(shape.num_groups);
  const std::size_t num_best = shape.score == RouterScore::sigmoid ? std::min<std::size_t>(2, size) : 1;
  std::vector<float> worth, sorted(size);
  for (std::size_t first = 0; first < left.size(); first += size) {
    std::copy_n(left.begin() + static_cast<std::ptrdiff_t>(first), size, sorted.begin());
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    worth.push_back(num_best == 2 ? sorted[0] + sorted[1] : sorted[0]);
  }
  std::vector<std::size_t> order(worth.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return worth[a] > worth[b]; });
  for (std::size_t i = static_cast<std::size_t>(shape.top_k_groups); i < order.size(); ++i) {
    std::fill_n(left.begin() + static_cast<std::ptrdiff_t>(order[i] * size), size, kExcluded);
  }
}

}  // namespace

void router_scores(const Gemm& gemm, const RouterShape& shape, ConstMatrix x, ConstMatrix w,
                   std::span<const float> bias, std::int64_t block, Matrix scores) {
  CHECK(block > 0 && x.rows % block == 0, x.rows, block);
  CHECK(scores.rows == x.rows && scores.cols == shape.num_experts, scores.rows, scores.cols, x.rows);
  CHECK(w.dtype == DType::f32 && scores.dtype == DType::f32, name_of(w.dtype), name_of(scores.dtype));
  thread_local std::vector<float> storage;
  for (std::int64_t begin = 0; begin < x.rows; begin += block) {
    linear_forward(gemm, widened(x.row_block(begin, block), storage), w, scores.row_block(begin, block));
  }
  for (std::int64_t token = 0; token < scores.rows; ++token) {
    const std::span<float> row(scores.row<float>(token), static_cast<std::size_t>(scores.cols));
    for (std::size_t i = 0; i < bias.size(); ++i) row[i] += bias[i];
    if (shape.score == RouterScore::softmax) {
      softmax(shape.temperature, row);
    } else {
      for (float& value : row) value = 1.0F / (1.0F + std::exp(-value / shape.temperature));
    }
  }
}

void router_choose(const RouterShape& shape, ConstMatrix scores, std::span<const float> selection_bias,
                   std::span<std::int32_t> chosen, std::span<float> probability) {
  const auto num_experts = static_cast<std::size_t>(shape.num_experts);
  const auto top_k = static_cast<std::size_t>(shape.top_k);
  CHECK(top_k >= 1 && top_k <= num_experts && scores.cols == shape.num_experts, shape.top_k, shape.num_experts);
  CHECK(chosen.size() == static_cast<std::size_t>(scores.rows) * top_k, chosen.size(), scores.rows, top_k);
  CHECK(selection_bias.empty() || selection_bias.size() == num_experts, selection_bias.size(), num_experts);
  thread_local std::vector<float> left;  // scores of the experts not chosen yet
  for (std::int64_t token = 0; token < scores.rows; ++token) {
    const std::span<const float> score = row_span<float>(scores, token);
    left.assign(score.begin(), score.end());
    for (std::size_t i = 0; i < selection_bias.size(); ++i) left[i] += selection_bias[i];
    limit_to_groups(shape, left);
    const std::size_t first = static_cast<std::size_t>(token) * top_k;
    for (std::size_t j = 0; j < top_k; ++j) {
      const auto best = std::max_element(left.begin(), left.end());  // the first of equals: the lowest index
      const auto expert = static_cast<std::size_t>(best - left.begin());
      *best = -std::numeric_limits<float>::infinity();
      chosen[first + j] = static_cast<std::int32_t>(expert);
    }
  }
  router_probabilities(shape, scores, chosen, probability);
}

void router_probabilities(const RouterShape& shape, ConstMatrix scores, std::span<const std::int32_t> chosen,
                          std::span<float> probability) {
  const auto top_k = static_cast<std::size_t>(shape.top_k);
  CHECK(probability.size() == chosen.size(), probability.size(), chosen.size());
  CHECK(chosen.size() == static_cast<std::size_t>(scores.rows) * top_k, chosen.size(), scores.rows, top_k);
  for (std::int64_t token = 0; token < scores.rows; ++token) {
    const std::span<const float> score = row_span<float>(scores, token);
    const std::size_t first = static_cast<std::size_t>(token) * top_k;
    float sum = 0.0F;
    for (std::size_t j = 0; j < top_k; ++j) {
      probability[first + j] = score[static_cast<std::size_t>(chosen[first + j])];
      sum += probability[first + j];
    }
    const float factor = shape.routed_scaling_factor / (shape.normalize_top_k ? sum + kTinySum : 1.0F);
    for (std::size_t j = 0; j < top_k; ++j) probability[first + j] *= factor;
  }
}

void router_backward(const RouterShape& shape, ConstMatrix scores, std::span<const std::int32_t> chosen,
                     std::span<const float> dprobability, std::span<const float> dscores, Matrix dlogits) {
  const auto num_experts = static_cast<std::size_t>(shape.num_experts);
  const auto top_k = static_cast<std::size_t>(shape.top_k);
  const auto num_tokens = static_cast<std::size_t>(scores.rows);
  CHECK(chosen.size() == num_tokens * top_k && dprobability.size() == chosen.size(), chosen.size(), dprobability.size(),
        num_tokens);
  CHECK(dscores.empty() || dscores.size() == num_tokens * num_experts, dscores.size(), num_tokens);
  CHECK(dlogits.rows == scores.rows && dlogits.cols == scores.cols, dlogits.rows, dlogits.cols);
  for (std::size_t token = 0; token < num_tokens; ++token) {
    const std::span<const float> score = row_span<float>(scores, static_cast<std::int64_t>(token));
    const std::span<float> gradient(dlogits.row<float>(static_cast<std::int64_t>(token)), num_experts);
    const auto choice = chosen.subspan(token * top_k, top_k);
    const auto dchoice = dprobability.subspan(token * top_k, top_k);

    // Of the scores first: probability = score * factor / (sum of the chosen scores, where normalised).
    if (dscores.empty()) {
      std::fill(gradient.begin(), gradient.end(), 0.0F);
    } else {
      std::copy_n(dscores.begin() + static_cast<std::ptrdiff_t>(token * num_experts), num_experts, gradient.begin());
    }
    float sum = 1.0F;
    float shared = 0.0F;
    if (shape.normalize_top_k) {
      sum = kTinySum;
      for (const std::int32_t expert : choice) sum += score[static_cast<std::size_t>(expert)];
      for (std::size_t j = 0; j < top_k; ++j) {
        shared += dchoice[j] * score[static_cast<std::size_t>(choice[j])] / sum;
      }
    }
    for (std::size_t j = 0; j < top_k; ++j) {
      gradient[static_cast<std::size_t>(choice[j])] += shape.routed_scaling_factor * (dchoice[j] - shared) / sum;
    }

    // Then through the softmax or the sigmoid to the logits.
    float mean = 0.0F;
    if (shape.score == RouterScore::softmax) {
      for (std::size_t i = 0; i < num_experts; ++i) mean += gradient[i] * score[i];
    }
    for (std::size_t i = 0; i < num_experts; ++i) {
      const float slope = shape.score == RouterScore::softmax ? score[i] : score[i] * (1.0F - score[i]);
      gradient[i] = slope * (gradient[i] - mean) / shape.temperature;
    }
  }
}

void router_igrad(const Gemm& gemm, ConstMatrix dlogits, ConstMatrix w, std::int64_t block, Matrix dx) {
  CHECK(block > 0 && dx.rows % block == 0 && dlogits.rows == dx.rows, dx.rows, dlogits.rows, block);
  thread_local std::vector<float> storage;
  storage.resize(static_cast<std::size_t>(block * dx.cols));
  for (std::int64_t begin = 0; begin < dx.rows; begin += block) {
    const Matrix out = dx.row_block(begin, block);
    const Matrix wide = dx.dtype == DType::f32 ? out : matrix_of(storage.data(), block, dx.cols);
    linear_igrad(gemm, dlogits.row_block(begin, block), w, wide);
    if (dx.dtype != DType::f32) convert(wide, out);
  }
}

void router_bias_wgrad(ConstMatrix dlogits, std::span<float> dbias) {
  CHECK(static_cast<std::int64_t>(dbias.size()) == dlogits.cols, dbias.size(), dlogits.cols);
  for (std::int64_t token = 0; token < dlogits.rows; ++token) {
    const std::span<const float> row = row_span<float>(dlogits, token);
    for (std::size_t i = 0; i < dbias.size(); ++i) dbias[i] += row[i];
  }
}

void router_wgrad(const Gemm& gemm, ConstMatrix dlogits, ConstMatrix x, Matrix dw) {
  thread_local std::vector<float> storage;
  linear_wgrad(gemm, dlogits, widened(x, storage), dw);
}

}  // namespace orrery::executor
