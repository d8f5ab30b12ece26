// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/adamw.h"

#include "tests/unit/executor/kernels/values.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

constexpr std::int64_t kSize = 103;
const AdamWSettings kSettings{
    .learning_rate = 0.01F, .beta1 = 0.9F, .beta2 = 0.95F, .epsilon = 1e-8F, .weight_decay = 0.1F};

struct State {
  std::vector<float> first_moment = std::vector<float>(kSize);
  std::vector<float> second_moment = std::vector<float>(kSize);
  std::vector<float> master = Values::random(1, kSize, "master").floats();
  Values model = Values(1, kSize, DType::bf16);

  /// Updates the elements begin .. begin + count.
  void update(std::int64_t step, const std::vector<float>& gradient, std::size_t begin, std::size_t count) {
    const auto part = [&](std::vector<float>& all) { return std::span(all).subspan(begin, count); };
    adamw_update(kSettings, step, 0.5F, std::span(gradient).subspan(begin, count), part(first_moment),
                 part(second_moment), part(master),
                 model.view().col_block(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(count)));
  }
};

std::vector<float> gradient_of(std::int64_t step) {
  return Values::random(1, kSize, "gradient" + std::to_string(step)).floats();
}

TEST(AdamW, FollowsTheAlgorithmOfThePaper) {
  State state;
  Doubles w(state.master.begin(), state.master.end()), m(kSize), v(kSize);
  for (std::int64_t step = 1; step <= 4; ++step) {
    const std::vector<float> gradient = gradient_of(step);
    state.update(step, gradient, 0, kSize);
    for (std::size_t i = 0; i < kSize; ++i) {
      const double g = 0.5 * gradient[i];
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.95 * v[i] + 0.05 * g * g;
      const double m_hat = m[i] / (1.0 - std::pow(0.9, static_cast<double>(step)));
      const double v_hat = v[i] / (1.0 - std::pow(0.95, static_cast<double>(step)));
      w[i] -= 0.01 * (m_hat / (std::sqrt(v_hat) + 1e-8) + 0.1 * w[i]);
    }
  }
  EXPECT_LT(difference({state.master.begin(), state.master.end()}, w), 1e-6);
  EXPECT_LT(difference({state.first_moment.begin(), state.first_moment.end()}, m), 1e-6);
  EXPECT_LT(difference({state.second_moment.begin(), state.second_moment.end()}, v), 1e-6);
}

TEST(AdamW, ModelIsTheRoundedMaster) {
  State state;
  state.update(1, gradient_of(1), 0, kSize);
  Values rounded(1, kSize, DType::bf16);
  convert(matrix_of(state.master.data(), 1, kSize), rounded);
  EXPECT_EQ(state.model.bytes(), rounded.bytes());
}

TEST(AdamW, FirstStepMovesByTheLearningRateAgainstTheGradient) {
  std::vector<float> m(1), v(1), w = {2.0F};
  AdamWSettings settings = kSettings;
  settings.weight_decay = 0.0F;
  Values model(1, 1);
  adamw_update(settings, 1, 1.0F, std::vector<float>{-3.0F}, m, v, w, model);
  EXPECT_NEAR(w[0], 2.01F, 1e-6F);
  EXPECT_EQ(model.floats(), w);
}

TEST(AdamW, GivesTheSameBitsWhereverShardsAreCut) {
  State whole;
  whole.update(1, gradient_of(1), 0, kSize);
  for (std::size_t cut = 1; cut < kSize; ++cut) {
    State shards;
    shards.update(1, gradient_of(1), 0, cut);
    shards.update(1, gradient_of(1), cut, kSize - cut);
    EXPECT_EQ(shards.master, whole.master) << cut;
    EXPECT_EQ(shards.second_moment, whole.second_moment) << cut;
    EXPECT_EQ(shards.model.bytes(), whole.model.bytes()) << cut;
  }
}

}  // namespace
}  // namespace orrery::executor
