// SPDX-License-Identifier: Apache-2.0
// Gradients of the whole model against finite differences of its loss.
#include "base/rng.h"
#include "executor/kernels/elementwise.h"
#include "executor/runtime/op_call.h"
#include "tests/unit/executor/runtime/thread_ranks.h"

#include <array>
#include <cmath>
#include <functional>
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

/// How many inputs of the experts' SwiGLU are above a limit, below its negative, and in between; of the gate's half and
/// of the other.
struct Cuts {
  std::array<std::int64_t, 2> above{}, below{}, between{};

  void add(const OpCall& call, float limit) {
    if (call.op.key.op != OpCode::moe_act || !call.is_forward()) return;
    const ConstMatrix gate_up = call.operand(0);
    const auto width = static_cast<std::size_t>(gate_up.cols / 2);
    for (std::int64_t row = 0; row < gate_up.rows; ++row) {
      const std::span<const float> values = row_span<float>(gate_up, row);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::size_t half = i / width;
        ++(values[i] > limit ? above : values[i] < -limit ? below : between)[half];
      }
    }
  }
};

using Prepare = std::function<void(RankRuntime&)>;

/// Loss and, for each weight, the derivative of the loss along a random direction: from the backward pass, and from
/// the losses a small step ahead and behind. `prepare`: called before the first step.
void expect_gradients(const Model& model, const Prepare& prepare = [](RankRuntime&) {}) {
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
    prepare(runtime);
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

TEST(Gradient, EqualsFiniteDifferencesWithSharedExpertNormsAndPartlyTurnedHeads) {
  expect_gradients(without_choice(rich_model()));
}

TEST(Gradient, EqualsFiniteDifferencesWithNormsOverAllHeads) {
  Model model = without_choice(rich_model());
  std::get<GroupedQueryAttention>(model.attention).qk_norm_kind = QkNorm::whole;
  expect_gradients(model);
}

TEST(Gradient, EqualsFiniteDifferencesWithLatentAttentionAndPrediction) {
  Model model = without_choice(testing::deepseek_model());
  model.moe->num_groups = model.moe->top_k_groups = 1;
  expect_gradients(model);
  std::get<MultiHeadLatentAttention>(model.attention).q_lora_rank = 0;  // queries come from the hidden states
  expect_gradients(model);
}

TEST(Gradient, EqualsFiniteDifferencesWithBiasesSinksAndWindows) {
  Model model = without_choice(testing::gpt_oss_model());
  model.moe->swiglu_limit = 0.0;
  expect_gradients(model);
}

/// Where a value crosses a limit within the step, the loss has no derivative to compare with either: so the first
/// biases keep the values of a column far above the limit, far below its negative, or far from both.
TEST(Gradient, EqualsFiniteDifferencesWithAClampedSwiglu) {
  Model model = without_choice(testing::gpt_oss_model());
  constexpr float kLimit = 2.0F;
  model.moe->swiglu_limit = static_cast<double>(kLimit);
  Cuts cuts;
  expect_gradients(model, [&](RankRuntime& runtime) {
    for (std::size_t layer = 0; layer < model.layers.size(); ++layer) {
      if (model.layers[layer] != LayerKind::moe) continue;
      const ConstMatrix bias =
          runtime.state().weights.weight(WeightRole::expert_fc1_bias, static_cast<std::int64_t>(layer));
      auto* first = const_cast<float*>(static_cast<const float*>(bias.first));
      for (std::int64_t i = 0; i < bias.rows * bias.cols; ++i) first[i] = 2.0F * kLimit * static_cast<float>(i % 3 - 1);
    }
    runtime.observe([&](const OpCall& call) { cuts.add(call, kLimit); });
  });
  for (const std::size_t half : {0U, 1U}) {
    EXPECT_GT(cuts.above[half], cuts.between[half] / 2) << half;
    EXPECT_GT(cuts.below[half], cuts.between[half] / 2) << half;
    EXPECT_GT(cuts.between[half], cuts.above[half] / 2) << half;
  }
}

TEST(Gradient, EqualsFiniteDifferencesWithAGatedSharedExpert) {
  expect_gradients(without_choice(testing::qwen2_moe_model()));
}

}  // namespace
}  // namespace orrery::executor
