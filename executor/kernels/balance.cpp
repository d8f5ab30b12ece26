// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/balance.h"

#include "base/check.h"
#include "base/rng.h"

#include <numeric>
#include <vector>

namespace orrery::executor {
namespace {

/// What a score is divided by before it enters P_i.
double normalizer_of(const RouterShape& shape, std::span<const float> score) {
  return shape.score == RouterScore::softmax ? 1.0 : std::accumulate(score.begin(), score.end(), 0.0);
}

/// Calls work(first row, end, slope of the loss in each mean P_i) for each sequence: scale * num_experts * f_i.
template <class Work>
void for_each_sequence(const RouterShape& shape, ConstMatrix scores, const SequenceCounts& of, double scale,
                       Work&& work) {
  CHECK(of.rows > 0 && scores.rows % of.rows == 0, scores.rows, of.rows);
  const auto num_experts = static_cast<std::size_t>(shape.num_experts);
  CHECK(of.counts.size() == static_cast<std::size_t>(scores.rows / of.rows) * num_experts, of.counts.size());
  std::vector<double> slopes(num_experts);
  const auto choices = static_cast<double>(of.tokens * shape.top_k);
  for (std::int64_t begin = 0; begin < scores.rows; begin += of.rows) {
    const std::size_t first = static_cast<std::size_t>(begin / of.rows) * num_experts;
    for (std::size_t i = 0; i < num_experts; ++i) {
      slopes[i] = scale * static_cast<double>(shape.num_experts * of.counts[first + i]) / choices;
    }
    work(begin, begin + of.rows, slopes);
  }
}

}  // namespace

SequenceCounts count_by_sequence(const RouterShape& shape, std::span<const std::int32_t> chosen, std::int64_t rows) {
  const auto choices = static_cast<std::size_t>(rows * shape.top_k);
  CHECK(choices > 0 && chosen.size() % choices == 0, chosen.size(), rows);
  const auto num_experts = static_cast<std::size_t>(shape.num_experts);
  SequenceCounts out{.rows = rows, .tokens = rows, .counts = {}};
  out.counts.resize(chosen.size() / choices * num_experts);
  for (std::size_t i = 0; i < chosen.size() / choices; ++i) {
    count_chosen(chosen.subspan(i * choices, choices), std::span(out.counts).subspan(i * num_experts, num_experts));
  }
  return out;
}

double auxiliary_loss(const RouterShape& shape, ConstMatrix scores, const SequenceCounts& counts, double scale) {
  double loss = 0.0;
  const auto tokens = static_cast<double>(counts.tokens);
  for_each_sequence(shape, scores, counts, scale,
                    [&](std::int64_t begin, std::int64_t end, const std::vector<double>& slopes) {
                      for (std::int64_t token = begin; token < end; ++token) {
                        const std::span<const float> score = row_span<float>(scores, token);
                        loss += std::inner_product(score.begin(), score.end(), slopes.begin(), 0.0) /
                                (normalizer_of(shape, score) * tokens);
                      }
                    });
  return loss;
}

void auxiliary_loss_backward(const RouterShape& shape, ConstMatrix scores, const SequenceCounts& counts, double scale,
                             std::span<float> dscores) {
  CHECK(static_cast<std::int64_t>(dscores.size()) == scores.rows * scores.cols, dscores.size(), scores.rows);
  const auto tokens = static_cast<double>(counts.tokens);
  for_each_sequence(
      shape, scores, counts, scale, [&](std::int64_t begin, std::int64_t end, const std::vector<double>& slopes) {
        for (std::int64_t token = begin; token < end; ++token) {
          const std::span<const float> score = row_span<float>(scores, token);
          const double normalizer = normalizer_of(shape, score);
          // A score that is divided by the sum of all scores also lowers the others.
          const double shared = shape.score == RouterScore::softmax
                                    ? 0.0
                                    : std::inner_product(score.begin(), score.end(), slopes.begin(), 0.0) / normalizer;
          const std::span<float> gradient =
              dscores.subspan(static_cast<std::size_t>(token) * score.size(), score.size());
          for (std::size_t i = 0; i < score.size(); ++i) {
            gradient[i] += static_cast<float>((slopes[i] - shared) / (normalizer * tokens));
          }
        }
      });
}

void choose_balanced(std::int64_t num_experts, std::int64_t top_k, std::uint64_t stream,
                     std::span<std::int32_t> chosen) {
  CHECK(top_k >= 1 && top_k <= num_experts && chosen.size() % static_cast<std::size_t>(top_k) == 0, top_k, num_experts);
  std::vector<std::int64_t> order(chosen.size() / static_cast<std::size_t>(top_k));
  std::iota(order.begin(), order.end(), 0);
  const CounterRng rng(1, stream);
  for (std::size_t i = order.size(); i-- > 1;) std::swap(order[i], order[rng.below(i, i + 1)]);
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const std::int64_t place = order[i / static_cast<std::size_t>(top_k)] * top_k;
    chosen[i] = static_cast<std::int32_t>((place + static_cast<std::int64_t>(i) % top_k) % num_experts);
  }
}

void count_chosen(std::span<const std::int32_t> chosen, std::span<std::int64_t> counts) {
  for (const std::int32_t expert : chosen) ++counts[static_cast<std::size_t>(expert)];
}

void update_selection_bias(std::span<const std::int64_t> counts, float rate, std::span<float> bias) {
  CHECK(counts.size() == bias.size(), counts.size(), bias.size());
  const std::int64_t total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  const auto num_experts = static_cast<std::int64_t>(counts.size());
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const std::int64_t missing = total - counts[i] * num_experts;  // (mean - count) * num_experts, exact
    bias[i] += rate * static_cast<float>((missing > 0) - (missing < 0));
  }
}

}  // namespace orrery::executor
