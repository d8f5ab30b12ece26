// SPDX-License-Identifier: Apache-2.0
// What is sharded, and where it is summed: ZeRO 1 to 3, hybrid sharding, types of gradients, offload. See
// docs/design/equality.md.
#include "base/errors.h"
#include "tests/unit/executor/runtime/whole_run.h"

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;

Strategy sharded(const Model& model, int dense, int expert, std::int64_t ep = 1) {
  Strategy s = testing::strategy_of(model, 1, ep);
  s.zero_dense = dense;
  s.zero_expert = expert;
  return s;
}

TEST(ShardingEquality, OptimizerStatesChangeNoBit) {
  const Model model = rich_model();
  for (const std::int64_t ep : {1, 2}) {
    const WholeRun plain = run_whole(lower(model, sharded(model, 0, 0, ep), kBatch, 4), settings_of(3));
    const StepProgram program = lower(model, sharded(model, 1, 1, ep), kBatch, 4);
    expect_same_bits(plain, run_whole(program, settings_of(3)));
    expect_accounts(program, settings_of(1));
  }
}

// Sums over ranks of each micro-batch are added, and not the micro-batches of each rank.
TEST(ShardingEquality, GradientsByUnitReassociateSums) {
  const Model model = rich_model();
  const WholeRun one = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(2));
  for (const auto& [dense, expert] : {std::pair{2, 0}, {0, 2}, {2, 2}, {3, 0}, {0, 3}, {3, 3}, {3, 1}}) {
    SCOPED_TRACE(dense * 10 + expert);
    const StepProgram program = lower(model, sharded(model, dense, expert, 2), kBatch, 4);
    expect_close(one, run_whole(program, settings_of(2)));
    expect_accounts(program, settings_of(1));
  }
}

// One micro-batch of each rank: the same terms in the same order.
TEST(ShardingEquality, WithOneMicroBatchGradientsAndWeightsChangeNoBit) {
  const Model model = rich_model();
  const auto program_of = [&](int zero) {
    Strategy s = sharded(model, zero, zero, 2);
    s.micro_batch = 2;
    return lower(model, s, kBatch, 4);
  };
  const WholeRun plain = run_whole(program_of(0), settings_of(3));
  for (const int zero : {1, 2, 3}) expect_same_bits(plain, run_whole(program_of(zero), settings_of(3)));
}

TEST(ShardingEquality, UnitsOfAPipelineUnderSplitBackwards) {
  Model model = small_model();
  const WholeRun one = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(2));
  model.tied_embeddings = true;
  const WholeRun tied = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(2));
  for (const Schedule schedule : {Schedule::one_f_one_b, Schedule::zb_h1, Schedule::zbv}) {
    for (const int zero : {2, 3}) {
      SCOPED_TRACE(name_of(schedule));
      for (const bool is_tied : {false, true}) {
        model.tied_embeddings = is_tied;
        Strategy s = sharded(model, zero, zero);
        s.pp = 2;
        s.schedule = schedule;
        s.vpp = schedule == Schedule::zbv ? 2 : 1;
        s.stages = even_stages(model.num_layers(), s.num_stages());
        const StepProgram program = lower(model, s, kBatch, 4);
        expect_close(is_tied ? tied : one, run_whole(program, settings_of(2)));
        expect_accounts(program, settings_of(1));
      }
    }
  }
}

TEST(ShardingEquality, TogetherWithTensorParallelism) {
  const Model model = rich_model();
  const WholeRun one = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(2));
  for (const int zero : {1, 2, 3}) {
    SCOPED_TRACE(zero);
    Strategy s = sharded(model, zero, zero, 2);
    s.tp = 2;
    s.sp = true;
    const StepProgram program = lower(model, s, kBatch, 8);
    expect_close(one, run_whole(program, settings_of(2)));
    expect_accounts(program, settings_of(1));
  }
}

TEST(ShardingEquality, HybridShardsAreRepeatedOverInstances) {
  const Model model = rich_model();
  const WholeRun one = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(2));
  for (const auto& [dense, expert] : {std::pair{1, 1}, {1, 0}, {0, 1}, {2, 2}, {3, 3}}) {
    SCOPED_TRACE(dense * 10 + expert);
    Strategy s = sharded(model, dense, expert, 2);
    s.num_optimizer_instances = 2;
    const StepProgram program = lower(model, s, kBatch, 8);
    expect_close(one, run_whole(program, settings_of(2)));
    expect_accounts(program, settings_of(1));
  }
}

TEST(ShardingEquality, GradientsInBf16LoseBitsOfTheGradientAndNoMore) {
  const Model model = small_model();
  const WholeRun wide = run_whole(lower(model, sharded(model, 0, 0), kBatch, 4), settings_of(5));
  for (const DType kept : {DType::f32, DType::bf16}) {
    for (const int zero : {0, 1, 2, 3}) {
      SCOPED_TRACE(zero);
      Strategy s = sharded(model, zero, zero);
      s.grad_dtype = kept;
      s.grad_wire_dtype = DType::bf16;
      const StepProgram program = lower(model, s, kBatch, 4);
      expect_close(wide, run_whole(program, settings_of(5)), 0x1p-7, 4.0);  // two roundings to 8 bits
      expect_accounts(program, settings_of(1));
    }
  }
}

TEST(ShardingEquality, OffloadedStatesAndActivationsChangeNoBit) {
  const Model model = rich_model();
  for (const DType precision : {DType::f32, DType::bf16}) {
    Strategy s = sharded(model, 1, 0, 2);
    s.precision = precision;
    const WholeRun plain = run_whole(lower(model, s, kBatch, 4), settings_of(3));
    s.offload_optimizer = s.offload_activations = true;
    const StepProgram program = lower(model, s, kBatch, 4);
    expect_same_bits(plain, run_whole(program, settings_of(3)));
    expect_accounts(program, settings_of(1));
  }
}

// What a copy does not find on the host is our own mistake, and must not be read from wherever.
TEST(Offload, WhatIsNotOnTheHostAsItWasStoredIsNotLoaded) {
  const Model model = small_model();
  Strategy s = testing::strategy_of(model);
  s.offload_activations = true;
  const StepProgram program = lower(model, s, kBatch, 1);
  const auto train_after = [&](auto&& spoil) {
    on_all_ranks(program, settings_of(1), [&](RankRuntime& runtime, int) {
      runtime.observe([&](const OpCall& call) { spoil(call.rank.host); });
      runtime.run_step();
    });
  };
  train_after([](auto&) {});
  EXPECT_THROW(train_after([](auto& host) { host.clear(); }), InternalError);
  EXPECT_THROW(train_after([](auto& host) {
                 for (auto& [place, content] : host) content.resize(1);
               }),
               InternalError);
}

TEST(ShardingEquality, OverlappedBucketsChangeNoBit) {
  const Model model = rich_model();
  for (const int zero : {0, 1}) {
    Strategy s = sharded(model, zero, zero, 2);
    const WholeRun plain = run_whole(lower(model, s, kBatch, 4), settings_of(3));
    s.overlap.dp_buckets = true;
    const StepProgram program = lower(model, s, kBatch, 4);
    expect_same_bits(plain, run_whole(program, settings_of(3)));
    expect_accounts(program, settings_of(1));
  }
}

TEST(ShardingEquality, MuonsMatricesOnOneRankOrDealtChangeNoBit) {
  const Model model = rich_model();
  Strategy s = sharded(model, 0, 0, 2);
  s.optimizer = OptimizerKind::muon;
  const WholeRun plain = run_whole(lower(model, s, kBatch, 4), settings_of(3));
  EXPECT_NE(plain.losses[2], run_whole(lower(model, sharded(model, 0, 0, 2), kBatch, 4), settings_of(3)).losses[2]);
  s.offload_optimizer = true;
  expect_same_bits(plain, run_whole(lower(model, s, kBatch, 4), settings_of(3)));
  s.offload_optimizer = false;
  s.zero_dense = s.zero_expert = 1;
  expect_same_bits(plain, run_whole(lower(model, s, kBatch, 4), settings_of(3)));
  expect_accounts(lower(model, s, kBatch, 4), settings_of(1));
}

TEST(ShardingEquality, MuonOnStagesChangesNoBitAndLearns) {
  const Model model = small_model();
  Strategy s = testing::strategy_of(model);
  s.optimizer = OptimizerKind::muon;
  const WholeRun one = run_whole(lower(model, s, kBatch, 1), settings_of(20));
  EXPECT_LT(one.losses.back(), 0.97 * one.losses.front());
  s.pp = 2;
  s.stages = even_stages(model.num_layers(), 2);
  expect_same_bits(one, run_whole(lower(model, s, kBatch, 2), settings_of(20)));
}

}  // namespace
}  // namespace orrery::executor
