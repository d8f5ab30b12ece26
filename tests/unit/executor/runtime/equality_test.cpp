// SPDX-License-Identifier: Apache-2.0
// What may change no bit of the result (docs/design/equality.md), and how close the rest is.
#include "tests/unit/executor/runtime/whole_run.h"

#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <tuple>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::kBatch;
using testing::on_all_ranks;
using testing::rich_model;
using testing::settings_of;
using testing::small_model;
using testing::strategy_of;

using Bits = std::vector<std::byte>;

/// Everything that one forward and backward computed in the layers: tensors cut into sequences, and gradients of
/// experts.
struct Computed {
  std::map<std::tuple<TensorRole, std::int64_t, std::int64_t>, Bits> rows;  // by role, layer, global sequence
  std::map<std::string, Bits> expert_gradients;
};

Computed compute_once(const StepProgram& program) {
  Computed out;
  std::mutex mutex;
  TrainingSettings settings = settings_of(1);
  on_all_ranks(program, settings, [&](RankRuntime& runtime, int) {
    const Coords coords = runtime.state().view.coords;
    const std::int64_t per_micro_batch = program.strategy.micro_batch;
    const std::int64_t first = coords.dp * program.num_micro_batches * per_micro_batch;
    runtime.observe([&](const OpCall& call) {
      if (call.op.key.layer < 0 || call.op.key.micro_batch < 0) return;
      for (const TensorUse& use : call.uses) {
        const Tensor& tensor = program.class_of(RankId(0)).tensors[use.tensor()];
        if (use.access() != Access::create || tensor.rows.kind != Rows::Kind::fixed) continue;
        const auto all = std::as_bytes(runtime.state().tensors.elements<std::uint8_t>(use.tensor()));
        const std::size_t size = all.size() / static_cast<std::size_t>(per_micro_batch);
        const std::lock_guard lock(mutex);
        for (std::int64_t i = 0; i < per_micro_batch; ++i) {
          const auto part = all.subspan(static_cast<std::size_t>(i) * size, size);
          const std::int64_t sequence = first + call.op.key.micro_batch * per_micro_batch + i;
          out.rows[{tensor.role, tensor.layer, sequence}].assign(part.begin(), part.end());
        }
      }
    });
    runtime.run_step();
    const std::lock_guard lock(mutex);
    std::map<std::pair<WeightRole, std::int64_t>, std::int64_t> row;
    for (const Parameter& p :
         stage_parameters(program.model, program.strategy.stages[0], program.strategy.ep, coords.ep)) {
      if (!p.is_expert()) continue;
      const Matrix all = runtime.state().weights.gradient(p.role, p.layer);
      std::int64_t& at = row[{p.role, p.layer}];
      const Matrix own = all.row_block(at, p.rows);
      out.expert_gradients[name_of(p)].assign(own.at(0, 0), own.at(0, 0) + p.size() * 4);
      at += p.rows;
    }
  });
  return out;
}

TEST(Equality, ExpertParallelRanksChangeNoBitOfForwardInputGradientsAndExpertGradients) {
  for (const Model& model : {small_model(), rich_model()}) {
    // The same 4 sequences as one micro-batch of one rank, of 2 and of 4.
    const BatchShape batch{.seq = 16, .global_batch = 4};
    const Computed one = compute_once(lower(model, strategy_of(model, 1, 1, 4), batch, 1));
    ASSERT_FALSE(one.expert_gradients.empty());
    for (const std::int64_t ep : {2, 4}) {
      const Computed many = compute_once(lower(model, strategy_of(model, 1, ep, 4 / ep), batch, ep));
      EXPECT_EQ(many.rows.size(), one.rows.size());
      for (const auto& [place, bits] : one.rows) {
        EXPECT_TRUE(many.rows.at(place) == bits)
            << name_of(std::get<0>(place)) << " of layer " << std::get<1>(place) << ", EP " << ep;
      }
      for (const auto& [name, bits] : one.expert_gradients) {
        EXPECT_TRUE(many.expert_gradients.at(name) == bits) << name << ", EP " << ep;
      }
    }
  }
}

void expect_equal_weights(const Model& model, const Strategy& a, std::int64_t ranks_a, const Strategy& b,
                          std::int64_t ranks_b) {
  testing::expect_same_bits(testing::run_whole(lower(model, a, kBatch, ranks_a), settings_of(3)),
                            testing::run_whole(lower(model, b, kBatch, ranks_b), settings_of(3)));
}

TEST(Equality, UnevenStagesChangeNoBit) {
  const Model model = small_model();
  Strategy strategy = strategy_of(model, 2);
  strategy.stages = {{.first_layer = 0, .num_layers = 1, .embedding = true},
                     {.first_layer = 1, .num_layers = 3, .head = true}};
  expect_equal_weights(model, strategy_of(model), 1, strategy, 2);
}

TEST(Equality, RecomputationChangesNoBit) {
  const Model model = rich_model();
  for (const RecomputeModule module :
       {RecomputeModule::layernorm, RecomputeModule::core_attn, RecomputeModule::mlp, RecomputeModule::moe,
        RecomputeModule::moe_act, RecomputeModule::shared_experts, RecomputeModule::full}) {
    for (const std::int64_t ep : {1, 2}) {
      Strategy strategy = strategy_of(model, 1, ep);
      const Strategy plain = strategy;
      strategy.stages[0].recompute = {module};
      SCOPED_TRACE(name_of(module));
      expect_equal_weights(model, plain, ep, strategy, ep);
    }
  }
}

TEST(Equality, DataParallelRanksReassociateSumsOnly) {
  const Model model = small_model();
  const TrainingSettings settings = settings_of(5);
  const std::vector<double> one = testing::losses(lower(model, strategy_of(model), kBatch, 1), settings);
  for (const std::int64_t ep : {1, 2, 4}) {
    const std::vector<double> four = testing::losses(lower(model, strategy_of(model, 1, ep), kBatch, 4), settings);
    for (std::size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(four[i], one[i], 1e-5 * one[i]) << "EP " << ep;
  }
}

TEST(Equality, GradientNormDoesNotDependOnTheLayoutOfTheStates) {
  const Model model = small_model();
  Strategy strategy = strategy_of(model, 1, 2);
  const auto norm = [&] {
    double value = 0.0;
    on_all_ranks(lower(model, strategy, kBatch, 4), settings_of(1), [&](RankRuntime& runtime, int rank) {
      const double mine = runtime.run_step().record.grad_norm;
      if (rank == 0) value = mine;
    });
    return value;
  };
  const double plain = norm();
  strategy.zero_dense = strategy.zero_expert = 1;
  EXPECT_EQ(norm(), plain);
  strategy.pp = 2;
  strategy.stages = even_stages(4, 2);
  strategy.ep = 1;
  EXPECT_NEAR(norm(), plain, 1e-5 * plain);
}

}  // namespace
}  // namespace orrery::executor
