// SPDX-License-Identifier: Apache-2.0
// Gradients of the whole model against finite differences of its loss.
#include "base/rng.h"
#include "tests/unit/executor/runtime/thread_ranks.h"

#include <cmath>
#include <map>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::on_all_ranks;
using testing::rich_model;
using testing::settings_of;
using testing::small_model;
using testing::strategy_of;

/// Every token goes to all experts: where it chooses some, the loss jumps when a choice that is nearly a tie changes,
/// and has no derivative to compare with.
Model without_choice(Model model) {
  model.moe->num_experts = 4;
  model.moe->top_k = 4;
  return model;
}

/// Loss and, for each weight, the derivative of the loss along a random direction: from the backward pass, and from
/// the losses a small step ahead and behind.
void expect_gradients(const Model& model) {
  Strategy strategy = strategy_of(model);
  const StepProgram program = lower(model, strategy, {.seq = 16, .global_batch = 2}, 1);
  TrainingSettings settings = settings_of(1);
  settings.gemm = "reference";
  settings.adamw.learning_rate = 0.0F;
  settings.clip_norm = 0.0;
  settings.bias_update_rate = 0.0F;

  on_all_ranks(program, settings, [&](RankRuntime& runtime, int) {
    const auto loss_now = [&] {
      runtime.state().step = 0;  // the same data every time
      return runtime.run_step().record.loss;
    };
    loss_now();
    Weights& weights = runtime.state().weights;
    std::map<std::pair<WeightRole, std::int64_t>, std::vector<float>> gradients;
    std::vector<std::pair<WeightRole, std::int64_t>> places;
    for (const Parameter& p : stage_parameters(model, strategy.stages[0], 1, 0)) {
      if (p.buffer || !gradients.try_emplace({p.role, p.layer}).second) continue;
      places.emplace_back(p.role, p.layer);
      const Matrix g = weights.gradient(p.role, p.layer);
      const auto* first = static_cast<const float*>(g.first);
      gradients[{p.role, p.layer}].assign(first, first + g.rows * g.cols);
    }
    constexpr double kStep = 2e-3;
    for (const auto& [role, layer] : places) {
      const ConstMatrix weight = weights.weight(role, layer);
      const std::span<float> values(const_cast<float*>(static_cast<const float*>(weight.first)),
                                    static_cast<std::size_t>(weight.rows * weight.cols));
      const std::vector<float> before(values.begin(), values.end());
      const CounterRng rng(11, static_cast<std::uint64_t>(role) * 64 + static_cast<std::uint64_t>(layer + 1));
      const auto move = [&](double factor) {
        for (std::size_t i = 0; i < values.size(); ++i) {
          values[i] = before[i] + static_cast<float>(factor * kStep * rng.normal(i));
        }
      };
      double expected = 0.0, size = 0.0;
      const std::vector<float>& gradient = gradients[{role, layer}];
      for (std::size_t i = 0; i < values.size(); ++i) {
        expected += static_cast<double>(gradient[i]) * rng.normal(i);
        size += static_cast<double>(gradient[i]) * static_cast<double>(gradient[i]);
      }
      move(1.0);
      const double ahead = loss_now();
      move(-1.0);
      const double behind = loss_now();
      std::copy(before.begin(), before.end(), values.begin());
      // A random direction has a derivative of about the norm of the gradient; the error is compared with that.
      EXPECT_NEAR((ahead - behind) / (2 * kStep), expected, 0.02 * std::sqrt(size) + 1e-6)
          << "weight " << static_cast<int>(role) << " of layer " << layer;
      EXPECT_GT(size, 0.0) << "weight " << static_cast<int>(role) << " of layer " << layer;
    }
  });
}

TEST(Gradient, EqualsFiniteDifferencesOfTheLoss) { expect_gradients(without_choice(small_model())); }

TEST(Gradient, EqualsFiniteDifferencesWithSharedExpertAndNorms) { expect_gradients(without_choice(rich_model())); }

TEST(Gradient, EqualsFiniteDifferencesWithLatentAttentionAndPrediction) {
  Model model = without_choice(testing::deepseek_model());
  model.moe->num_groups = model.moe->top_k_groups = 1;
  expect_gradients(model);
  std::get<MultiHeadLatentAttention>(model.attention).q_lora_rank = 0;  // queries come from the hidden states
  expect_gradients(model);
}

TEST(Gradient, EqualsFiniteDifferencesWithBiasesSinksAndWindows) {
  expect_gradients(without_choice(testing::gpt_oss_model()));
}

TEST(Gradient, EqualsFiniteDifferencesWithAGatedSharedExpert) {
  expect_gradients(without_choice(testing::qwen2_moe_model()));
}

}  // namespace
}  // namespace orrery::executor
