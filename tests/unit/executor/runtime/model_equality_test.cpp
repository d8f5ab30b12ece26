// SPDX-License-Identifier: Apache-2.0
// Model families on other layouts than one rank: docs/design/equality.md. That each is right on one rank says
// gradient_test.cpp.
#include "tests/unit/executor/runtime/whole_run.h"

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;

const std::vector<Model>& families() {
  static const std::vector<Model> all = {deepseek_model(), gpt_oss_model(), qwen2_moe_model()};
  return all;
}

TEST(ModelEquality, PipelinesChangeNoBit) {
  for (const Model& model : families()) {
    if (model.num_mtp_modules > 0) continue;  // its embedding has a copy on the last stage
    SCOPED_TRACE(model.family);
    const WholeRun one = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(2));
    for (const Schedule schedule : {Schedule::one_f_one_b, Schedule::zb_h1}) {
      Strategy s = testing::strategy_of(model, 2);
      s.schedule = schedule;
      const StepProgram program = lower(model, s, kBatch, 2);
      expect_same_bits(one, run_whole(program, settings_of(2)));
      expect_accounts(program, settings_of(1));
    }
  }
}

TEST(ModelEquality, PredictionModulesWithAndWithoutTheHeadsStage) {
  for (const bool tied : {false, true}) {
    Model model = deepseek_model();
    model.tied_embeddings = tied;
    const WholeRun one = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(2));
    for (const auto& [schedule, vpp] :
         {std::pair{Schedule::one_f_one_b, 1}, {Schedule::zb_h1, 1}, {Schedule::zbv, 2}, {Schedule::dualpipe, 1}}) {
      for (const int zero : {0, 1, 3}) {
        if (schedule == Schedule::dualpipe && zero == 3) continue;
        SCOPED_TRACE(std::string(name_of(schedule)) + " zero " + std::to_string(zero));
        Strategy s = testing::strategy_of(model);
        s.pp = 2;
        s.vpp = vpp;
        s.schedule = schedule;
        s.stages = with_mtp(even_stages(model.num_layers(), s.num_stages()), 1);
        s.zero_dense = s.zero_expert = zero;
        const StepProgram program = lower(model, s, kBatch, 4);
        ASSERT_EQ(cpu_unsupported(program), std::vector<std::string>{});
        expect_close(one, run_whole(program, settings_of(2)));
        expect_accounts(program, settings_of(1));
      }
    }
  }
}

TEST(ModelEquality, ExpertParallelRanksAndRecomputation) {
  for (const Model& model : families()) {
    SCOPED_TRACE(model.family);
    const WholeRun one = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(2));
    Strategy s = testing::strategy_of(model, 1, 2);
    const StepProgram program = lower(model, s, kBatch, 2);
    const WholeRun two = run_whole(program, settings_of(2));
    expect_close(one, two);
    expect_accounts(program, settings_of(1));
    for (const RecomputeModule module : {RecomputeModule::full, RecomputeModule::moe, RecomputeModule::core_attn,
                                         RecomputeModule::mla_up_proj, RecomputeModule::shared_experts}) {
      if (module == RecomputeModule::mla_up_proj && !model.is_mla()) continue;
      if (module == RecomputeModule::shared_experts && model.moe->shared_width == 0) continue;
      SCOPED_TRACE(name_of(module));
      s.stages[0].recompute = {module};
      const StepProgram again = lower(model, s, kBatch, 2);
      expect_same_bits(two, run_whole(again, settings_of(2)));
      expect_accounts(again, settings_of(1));
    }
  }
}

TEST(ModelEquality, TensorParallelRanks) {
  for (const Model& model : families()) {
    SCOPED_TRACE(model.family);
    const WholeRun one = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(2));
    for (const auto& [ep, etp] : {std::pair{1, 1}, {2, 1}, {1, 2}}) {
      SCOPED_TRACE(10 * ep + etp);
      Strategy s = testing::strategy_of(model, 1, ep);
      s.tp = 2;
      s.sp = true;
      s.etp = etp;
      const StepProgram program = lower(model, s, kBatch, 4);
      expect_close(one, run_whole(program, settings_of(2)));
      expect_accounts(program, settings_of(1));
    }
  }
}

TEST(ModelEquality, TensorParallelRanksWithoutSequenceParallelism) {
  for (Model model : families()) {
    SCOPED_TRACE(model.family);
    model.moe.reset();
    model.layers = {LayerKind::dense, LayerKind::dense};
    model.spans.resize(std::min<std::size_t>(model.spans.size(), 2));
    const WholeRun one = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(2));
    Strategy s = testing::strategy_of(model);
    s.tp = 2;
    const StepProgram program = lower(model, s, kBatch, 2);
    expect_close(one, run_whole(program, settings_of(2)));
    expect_accounts(program, settings_of(1));
  }
}

}  // namespace
}  // namespace orrery::executor
