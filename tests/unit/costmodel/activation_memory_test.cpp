// SPDX-License-Identifier: Apache-2.0
#include "costmodel/activation_memory.h"

#include "program/hf_config.h"
#include "tests/unit/program/reading.h"
#include "tests/unit/program/small_models.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using Modules = std::set<RecomputeModule>;

/// Saved bytes of a layer for one token.
double saved(const Model& model, const Strategy& strategy, LayerKind kind, const Modules& recompute = {},
             double rho = 1.0) {
  MemoryModel parameters;
  parameters.rho = rho;
  const BatchShape batch{.seq = 4096, .global_batch = 1};
  const TableSizes sizes(model, strategy, batch, parameters);
  return layer_activations(sizes, kind, recompute).saved / sizes.tokens;
}

Model deepseek_v3() { return read_model(testing::repository_path("catalog/models/deepseek-v3.json").string()); }

// Goldens: MLA 201,344 and MoE 255,232 bytes per token and layer, to which the program adds the probabilities that
// travel with the rows (8 x 4 bytes); recomputing MLA's up-projections leaves 70,272.
TEST(ActivationMemory, GivesThePublishedBytesPerTokenOfDeepSeekV3) {
  const Model model = deepseek_v3();
  Strategy strategy;
  strategy.ep = 8;
  EXPECT_EQ(saved(model, strategy, LayerKind::moe), 201344.0 + 255232.0 + 32.0);
  EXPECT_EQ(saved(model, strategy, LayerKind::moe, {RecomputeModule::mla_up_proj}), 70272.0 + 255232.0 + 32.0);
  EXPECT_EQ(saved(model, strategy, LayerKind::moe, {RecomputeModule::full}), 2.0 * 7168.0);
}

TEST(ActivationMemory, GrowsWithTheRowsThatArrive) {
  const Model model = deepseek_v3();
  Strategy strategy;
  strategy.ep = 8;
  EXPECT_EQ(saved(model, strategy, LayerKind::moe, {}, 1.5) - saved(model, strategy, LayerKind::moe),
            0.5 * 8 * (2 * 7168 + 4 + 6 * 2048));
}

// A search makes the pieces of stages once, for the sharding that it asks about first.
TEST(ActivationMemory, IsTheSameWithPiecesOfAnotherSharding) {
  constexpr std::int64_t kNumDevices = 16, kMicroBatches = 8;
  const Model model = testing::small_moe(8);
  const BatchShape batch{.seq = 64, .global_batch = 64};
  Strategy first = testing::small_strategy(model, 2);
  first.ep = 2;
  const Mesh mesh(first, kNumDevices);
  const MemoryModel parameters;
  ActivationPeaks made_first(model, first, batch, mesh, parameters);
  std::vector<StageLayout> stages = {first.stages[0]};
  for (const Modules& recompute : {Modules{}, Modules{RecomputeModule::moe_act}, Modules{RecomputeModule::full}}) {
    stages[0].recompute = recompute;
    made_first.of_rank(first, kMicroBatches, 0, stages);
    std::set<double> different;
    for (const int dense : {0, 2, 3}) {
      for (const int expert : {1, 2, 3}) {
        for (const bool offload : {false, true}) {
          Strategy other = first;
          other.zero_dense = dense;
          other.zero_expert = expert;
          other.offload_activations = offload;
          ActivationPeaks shared(made_first, other, mesh), own(model, other, batch, mesh, parameters);
          const ActivationPeak a = shared.of_rank(other, kMicroBatches, 0, stages);
          const ActivationPeak b = own.of_rank(other, kMicroBatches, 0, stages);
          EXPECT_EQ(a.saved, b.saved) << dense << expert << offload;
          EXPECT_EQ(a.transients, b.transients) << dense << expert << offload;
          different.insert(a.saved + a.transients);
        }
      }
    }
    EXPECT_GT(different.size(), 6);
  }
}

/// The 175B model of Korthikanti et al., arXiv 2205.05198.
Model gpt_175b() {
  Model model = testing::small_moe(2);
  model.moe.reset();
  model.layers.assign(2, LayerKind::dense);
  model.hidden = 12288;
  model.dense_width = 4 * model.hidden;
  model.attention = GroupedQueryAttention{.num_heads = 96, .num_kv_heads = 96, .head_dim = 128};
  model.gated = false;
  return model;
}

// Their 34 h per token without two dropout masks of a byte, and with flash attention: 32 h and the softmax statistics.
// Tensor parallelism leaves 10 h of it whole (ours 8 h), sequence parallelism divides all of it.
TEST(ActivationMemory, IsTheFormulaOfKorthikantiWithoutDropout) {
  const Model model = gpt_175b();
  const double h = 12288.0, statistics = 4.0 * 96.0;
  Strategy strategy;
  EXPECT_EQ(saved(model, strategy, LayerKind::dense), 32.0 * h + statistics);
  strategy.tp = 8;
  EXPECT_EQ(saved(model, strategy, LayerKind::dense), 8.0 * h + (24.0 * h + statistics) / 8);
  strategy.sp = true;
  EXPECT_EQ(saved(model, strategy, LayerKind::dense), (32.0 * h + statistics) / 8);
  EXPECT_EQ(saved(model, strategy, LayerKind::dense, {RecomputeModule::full}), 2.0 * h / 8);
  EXPECT_EQ(saved(model, strategy, LayerKind::dense, {RecomputeModule::core_attn}), 32.0 * h / 8);
}

TEST(ActivationMemory, RepeatsKeyValueHeadsWhereThereAreMoreRanks) {
  Model model = gpt_175b();
  std::get<GroupedQueryAttention>(model.attention).num_kv_heads = 2;
  Strategy strategy;
  strategy.tp = 8;
  strategy.sp = true;
  // As if there were eight.
  std::get<GroupedQueryAttention>(model.attention).num_kv_heads = 8;
  const double eight = saved(model, strategy, LayerKind::dense);
  std::get<GroupedQueryAttention>(model.attention).num_kv_heads = 2;
  EXPECT_EQ(saved(model, strategy, LayerKind::dense), eight);
}

// Rows reach every rank of an ETP group, and are not divided by TP again.
TEST(ActivationMemory, GathersRowsOverTheRanksOfAnExpert) {
  const Model model = testing::small_moe();
  Strategy strategy;
  strategy.ep = 2;
  const double one = saved(model, strategy, LayerKind::moe);
  strategy.etp = 2;
  const double rows = 2.0 * (2 * 64 + 4);  // saved twice as often; their widths are half
  EXPECT_EQ(saved(model, strategy, LayerKind::moe) - one, rows);
}

TEST(ActivationMemory, StoresOperandsInEightBits) {
  Model model = gpt_175b();
  Strategy strategy;
  strategy.precision = DType::fp8;
  const double h = 12288.0, scaled = 1.0 + 4.0 / 128;
  // norm1, norm2, the output projection's operand and fc2's input (4 h) are fp8; x, x_mid, qkv, fc1 and the
  // attention's output bf16.
  EXPECT_EQ(saved(model, strategy, LayerKind::dense), 2.0 * h * (1 + 1 + 3 + 4 + 1) + 7.0 * h * scaled + 4.0 * 96.0);
}

TEST(ActivationMemory, OfAV_HoldsEmbeddingAndHeadOnOneRank) {
  const Model model = testing::small_moe(8);
  const Strategy strategy = testing::staged_strategy(model, Schedule::zbv, 2, 2);
  const auto peaks =
      activation_peaks(model, strategy, {.seq = 64, .global_batch = 8}, Mesh(strategy, 2), MemoryModel());
  ASSERT_EQ(peaks.size(), 2u);
  // The head's softmax alone is 4 V; both stages of a rank have equally many layers.
  EXPECT_GT(peaks[0].saved + peaks[0].transients, peaks[1].saved + peaks[1].transients);
  // The first rank receives activations and gradients of the second stage's neighbour, each from the other rank.
  EXPECT_EQ(peaks[0].early_messages, 2.0 * 64 * 64 * 2);
}

}  // namespace
}  // namespace orrery::costmodel
