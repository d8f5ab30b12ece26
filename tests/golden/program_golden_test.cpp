// SPDX-License-Identifier: Apache-2.0
#include "program/hf_config.h"
#include "program/lower.h"
#include "program/program_text.h"
#include "tests/golden/golden.h"
#include "tests/unit/program/small_models.h"

#include <string>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::small_mla;
using testing::small_moe;
using testing::small_strategy;
using testing::staged_strategy;

void expect_golden(const std::string& name, const std::string& text) {
  testing::expect_golden("programs/" + name, text);
}

TEST(GoldenProgram, OneRank) {
  const Model model = small_moe(2);
  expect_golden("one_rank.txt", to_text(lower(model, small_strategy(model), {.seq = 8, .global_batch = 1}, 1)));
}

TEST(GoldenProgram, PipelineWithExpertParallelRanksAndShardedStates) {
  const Model model = small_moe(2);
  Strategy strategy = small_strategy(model, 2, 2);
  strategy.zero_dense = strategy.zero_expert = 1;
  expect_golden("pp2_ep2_zero1.txt", to_text(lower(model, strategy, {.seq = 8, .global_batch = 8}, 8)));
}

TEST(GoldenProgram, TensorAndContextParallelRanksWithAWindow) {
  Model model = small_moe(2);
  model.moe.reset();
  model.layers.assign(2, LayerKind::dense);
  model.spans = {{}, {.window = 4}};
  Strategy strategy = small_strategy(model);
  strategy.tp = strategy.cp = 2;
  strategy.sp = true;
  strategy.cp_kind = ContextParallel::all_gather;
  expect_golden("tp2_cp2_window.txt", to_text(lower(model, strategy, {.seq = 16, .global_batch = 1}, 4)));
}

TEST(GoldenProgram, LatentAttentionInARingWithExpertsDividedTwice) {
  const Model model = small_mla();
  Strategy strategy = small_strategy(model, 1, 2);
  strategy.cp = 2;
  strategy.etp = 2;
  strategy.precision = DType::fp8;
  strategy.fp8_recipe = Fp8Recipe::tensorwise;
  expect_golden("mla_ring_ep2_etp2_fp8.txt", to_text(lower(model, strategy, {.seq = 16, .global_batch = 2}, 4)));
}

TEST(GoldenProgram, ShardedWeightsWithAPredictionModuleAndOffload) {
  Model model = small_moe(2);
  model.num_mtp_modules = 1;
  Strategy strategy = small_strategy(model, 1, 2);
  strategy.mtp = Mtp::on;
  strategy.stages = with_mtp(strategy.stages, 1);
  strategy.zero_dense = strategy.zero_expert = 3;
  strategy.dispatcher = Dispatcher::two_level;
  strategy.offload_activations = strategy.offload_optimizer = true;
  expect_golden("zero3_mtp_offload.txt", to_text(lower(model, strategy, {.seq = 8, .global_batch = 4}, 4)));
}

TEST(GoldenProgram, VWithSplitBackwards) {
  Model model = small_moe(4);
  model.moe.reset();
  model.layers.assign(4, LayerKind::dense);
  expect_golden("pp2_zbv.txt",
                to_text(lower(model, staged_strategy(model, Schedule::zbv, 2, 2), {.seq = 8, .global_batch = 2}, 2)));
}

TEST(GoldenProgram, OverlappedPairs) {
  Model model = small_moe(2);
  model.layers.assign(2, LayerKind::moe);
  expect_golden("pp2_ep2_dualpipe.txt", to_text(lower(model, staged_strategy(model, Schedule::dualpipe, 2, 1, 2),
                                                      {.seq = 8, .global_batch = 8}, 4)));
}

TEST(GoldenProgram, LatentAttentionWithRecomputation) {
  Model model = small_mla();
  model.layers.resize(2);
  Strategy strategy = small_strategy(model, 1, 2);
  strategy.stages[0].recompute = {RecomputeModule::layernorm, RecomputeModule::mla_up_proj, RecomputeModule::moe_act};
  expect_golden("mla_recompute.txt", to_text(lower(model, strategy, {.seq = 8, .global_batch = 2}, 2)));
}

TEST(GoldenProgram, DeepSeekV3IsTheSameToTheLastOp) {
  // Too long to keep as text: its hash stands for it.
  const Model model = read_model(ORRERY_SOURCE_DIR "/catalog/models/deepseek-v3.json");
  Strategy strategy;
  strategy.pp = 16;
  strategy.ep = 64;
  strategy.zero_dense = strategy.zero_expert = 1;
  strategy.stages = even_stages(model.num_layers(), strategy.pp);
  const StepProgram program = lower(model, strategy, {.seq = 4096, .global_batch = 15360}, 2048);
  expect_golden("deepseek_v3.txt", std::to_string(program.num_ops()) + " ops\n" + hash_of(program) + "\n");
}

}  // namespace
}  // namespace orrery
