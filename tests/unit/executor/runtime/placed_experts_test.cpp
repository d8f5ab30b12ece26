// SPDX-License-Identifier: Apache-2.0
// Experts on other ranks of their EP group: the same training. See docs/design/equality.md.
#include "tests/unit/executor/runtime/whole_run.h"

#include <mutex>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;

/// Another order in every layer with experts, prediction modules included; none keeps expert 0 where it was.
ExpertPlacement shuffled(const Model& model) {
  ExpertPlacement placement;
  for (std::int64_t layer = 0; layer < model.num_layers() + model.num_mtp_modules; ++layer) {
    if (model.kind(layer) != LayerKind::moe) continue;
    std::vector<std::int32_t>& experts = placement.layers[layer];
    for (std::int32_t i = 0; i < 8; ++i) experts.push_back(static_cast<std::int32_t>((3 * i + layer) % 8));
  }
  return placement;
}

StepProgram program_of(const Model& model, const Strategy& strategy, bool is_placed) {
  StepProgram program = lower(model, strategy, kBatch, 4);
  if (is_placed) program.experts = shuffled(model);
  return program;
}

TEST(PlacedExperts, TrainTheSameToTheLastBit) {
  for (const Model& model : {rich_model(), deepseek_model(), gpt_oss_model()}) {
    for (const std::int64_t ep : {2, 4}) {
      SCOPED_TRACE(model.family + " " + std::to_string(ep));
      Strategy s = testing::strategy_of(model, 1, ep);
      s.stages[0].recompute = {RecomputeModule::moe};
      const StepProgram placed = program_of(model, s, true);
      expect_same_bits(run_whole(program_of(model, s, false), settings_of(3)), run_whole(placed, settings_of(3)));
      expect_accounts(placed, settings_of(1));
    }
  }
}

TEST(PlacedExperts, AreSummedElsewhereByOtherDispatchersAndShardedAsWell) {
  const Model model = rich_model();
  for (const Dispatcher dispatcher : {Dispatcher::all_gather, Dispatcher::two_level}) {
    for (const int zero : {0, 3}) {
      SCOPED_TRACE(10 * zero + static_cast<int>(dispatcher));
      Strategy s = testing::strategy_of(model, 1, 2);
      s.dispatcher = dispatcher;
      s.zero_expert = zero;
      const StepProgram placed = program_of(model, s, true);
      expect_close(run_whole(program_of(model, s, false), settings_of(2)), run_whole(placed, settings_of(2)));
      expect_accounts(placed, settings_of(1));
    }
  }
}

/// What the ranks recorded in one step, by layer: pairs of each expert.
std::map<std::int64_t, std::vector<double>> recorded_pairs(const StepProgram& program) {
  std::map<std::int64_t, std::vector<double>> pairs;
  std::mutex mutex;
  on_all_ranks(program, settings_of(1), [&](RankRuntime& runtime, int) {
    const RankRuntime::Step step = runtime.run_step();
    const std::lock_guard lock(mutex);
    for (const LoadRecord& record : step.loads) {
      std::vector<double>& sum = pairs[record.layer];
      sum.resize(record.routing.pairs.size());
      for (std::size_t e = 0; e < sum.size(); ++e) sum[e] += record.routing.pairs[e];
    }
  });
  return pairs;
}

TEST(PlacedExperts, LoadsSpeakOfExpertsWhereverTheyAre) {
  const Model model = rich_model();
  const Strategy s = testing::strategy_of(model, 1, 4);
  const auto want = recorded_pairs(program_of(model, s, false));
  EXPECT_EQ(want.size(), 3U);
  EXPECT_NE(want.at(1), std::vector<double>(8, want.at(1)[0]));  // else another order would not show
  EXPECT_EQ(recorded_pairs(program_of(model, s, true)), want);
}

}  // namespace
}  // namespace orrery::executor
