// SPDX-License-Identifier: Apache-2.0
// Context parallelism sums attention over parts of the keys: docs/design/equality.md.
#include "tests/unit/executor/runtime/whole_run.h"

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;

void expect_as_one_rank(const Model& model, const Strategy& strategy, std::int64_t ranks) {
  const WholeRun one = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(2));
  const StepProgram program = lower(model, strategy, kBatch, ranks);
  expect_close(one, run_whole(program, settings_of(2)));
  expect_accounts(program, settings_of(1));
}

TEST(ZigzagPositions, EveryRankHasAnEarlyAndALateChunk) {
  EXPECT_EQ(zigzag_positions(8, 1, 0), (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(zigzag_positions(8, 2, 0), (std::vector<std::int64_t>{0, 1, 6, 7}));
  EXPECT_EQ(zigzag_positions(8, 2, 1), (std::vector<std::int64_t>{2, 3, 4, 5}));
}

TEST(ContextParallelEquality, OfEveryKind) {
  for (const ContextParallel kind : {ContextParallel::ring, ContextParallel::all_gather, ContextParallel::ulysses}) {
    for (const Model& model : {rich_model(), deepseek_model()}) {
      SCOPED_TRACE(std::to_string(static_cast<int>(kind)) + model.family);
      Strategy s = testing::strategy_of(model, 1, 2);
      s.cp = 2;
      s.cp_kind = kind;
      expect_as_one_rank(model, s, 2);
      s.micro_batch = 2;
      s.zero_dense = 1;
      expect_as_one_rank(model, s, 4);
    }
  }
}

TEST(ContextParallelEquality, OfFourRanks) {
  const Model model = deepseek_model();  // four heads
  for (const ContextParallel kind : {ContextParallel::ring, ContextParallel::all_gather, ContextParallel::ulysses}) {
    SCOPED_TRACE(static_cast<int>(kind));
    Strategy s = testing::strategy_of(model);
    s.cp = 4;
    s.cp_kind = kind;
    expect_as_one_rank(model, s, 4);
  }
}

TEST(ContextParallelEquality, WithWindowsAndSinks) {
  for (const ContextParallel kind : {ContextParallel::all_gather, ContextParallel::ulysses}) {
    SCOPED_TRACE(static_cast<int>(kind));
    Strategy s = testing::strategy_of(gpt_oss_model());
    s.cp = 2;
    s.cp_kind = kind;
    expect_as_one_rank(gpt_oss_model(), s, 2);
  }
  Model model = gpt_oss_model();  // a ring has no windows
  model.spans.clear();
  Strategy s = testing::strategy_of(model);
  s.cp = 2;
  expect_as_one_rank(model, s, 2);
}

TEST(ContextParallelEquality, TogetherWithTensorParallelismAndRecomputation) {
  const Model model = rich_model();
  for (const ContextParallel kind : {ContextParallel::ring, ContextParallel::all_gather}) {
    Strategy s = testing::strategy_of(model, 1, 2);
    s.cp = s.tp = 2;
    s.sp = true;
    s.cp_kind = kind;
    s.stages[0].recompute = {RecomputeModule::core_attn};
    expect_as_one_rank(model, s, 8);
  }
}

}  // namespace
}  // namespace orrery::executor
