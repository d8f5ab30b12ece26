// SPDX-License-Identifier: Apache-2.0
// Gradient buckets that are exchanged while the step runs (executor/runtime/gradient_buckets.h): whatever their number,
// every element is summed over the same ranks in the same order as without them, so no bit changes. Buckets here end
// with every unit of the model, or with every few.
#include "program/lower_in_buckets.h"
#include "tests/unit/executor/runtime/whole_run.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;

struct Counts {
  std::int64_t dense = 0, expert = 0;
};

/// The most buckets that a rank has.
Counts num_buckets(const StepProgram& program) {
  Counts most;
  for (const RankClass& rank_class : program.classes) {
    Counts counts;
    for (const Op& op : rank_class.ops) {
      if (op.key.bucket < 0 || op.key.pass != Pass::sync) continue;
      counts.dense += op.key.op == OpCode::dp_grad_rs || op.key.op == OpCode::dp_grad_ar ? 1 : 0;
      counts.expert += op.key.op == OpCode::edp_grad_rs || op.key.op == OpCode::edp_grad_ar ? 1 : 0;
    }
    most.dense = std::max(most.dense, counts.dense);
    most.expert = std::max(most.expert, counts.expert);
  }
  return most;
}

Strategy layout_of(const Model& model, int zero, std::int64_t pp = 1, std::int64_t ep = 2) {
  Strategy s = testing::strategy_of(model, pp, ep);
  s.zero_dense = s.zero_expert = zero;
  return s;
}

/// Trains without overlapped buckets, and with buckets of both sizes, on `world` ranks.
void expect_no_bit_changes(const Model& model, Strategy s, std::int64_t world, const Counts& at_least) {
  const WholeRun plain = run_whole(lower(model, s, kBatch, world), settings_of(3));
  s.overlap.dp_buckets = true;
  for (const std::int64_t least : {1, 5'000}) {
    SCOPED_TRACE(least);
    const StepProgram program = lower_in_buckets(model, s, kBatch, world, least);
    ASSERT_EQ(cpu_unsupported(program), std::vector<std::string>{});
    if (least == 1) {
      EXPECT_GE(num_buckets(program).dense, at_least.dense);
      EXPECT_GE(num_buckets(program).expert, at_least.expert);
    } else {
      EXPECT_LT(num_buckets(program).dense, num_buckets(lower_in_buckets(model, s, kBatch, world, 1)).dense);
    }
    expect_same_bits(plain, run_whole(program, settings_of(3)));
    expect_accounts(program, settings_of(1));
  }
}

TEST(BucketEquality, WithExpertParallelRanksAndBothStagesOfZero) {
  for (const int zero : {0, 1}) {
    SCOPED_TRACE(zero);
    expect_no_bit_changes(rich_model(), layout_of(rich_model(), zero), 4, {.dense = 6, .expert = 3});
  }
}

TEST(BucketEquality, WhereRanksDoNotDivideWeights) {
  Model model = small_model();
  model.hidden = 30;
  model.vocab = 67;
  expect_no_bit_changes(model, layout_of(model, 1, 1, 1), 8, {.dense = 6, .expert = 3});
}

TEST(BucketEquality, OnThePipelinesOfEverySchedule) {
  const Model model = small_model();
  for (const Schedule schedule : {Schedule::gpipe, Schedule::one_f_one_b, Schedule::interleaved, Schedule::zb_h1,
                                  Schedule::zbv, Schedule::dualpipe, Schedule::dualpipev}) {
    SCOPED_TRACE(name_of(schedule));
    Strategy s = layout_of(model, 1, 2);
    s.schedule = schedule;
    const bool two = schedule == Schedule::interleaved || schedule == Schedule::zbv || schedule == Schedule::dualpipev;
    s.vpp = two ? 2 : 1;
    s.stages = even_stages(model.num_layers(), s.num_stages());
    // DualPipe wants at least twice as many micro-batches as stages.
    const bool in_pairs = schedule == Schedule::dualpipe || schedule == Schedule::dualpipev;
    const Counts at_least{.dense = 3, .expert = in_pairs ? 0 : 2};
    expect_no_bit_changes(model, s, in_pairs ? 4 : 8, at_least);
  }
}

TEST(BucketEquality, OfTiedEmbeddingsAndPredictionModules) {
  Model tied = small_model(), deepseek = deepseek_model();
  tied.tied_embeddings = true;
  for (const std::int64_t pp : {1, 2}) {
    SCOPED_TRACE(pp);
    expect_no_bit_changes(tied, layout_of(tied, 1, pp), 4 * pp, {.dense = 3, .expert = 1});
    expect_no_bit_changes(deepseek, layout_of(deepseek, 1, pp), 4 * pp, {.dense = 3, .expert = 2});
    deepseek.tied_embeddings = true;
    expect_no_bit_changes(deepseek, layout_of(deepseek, 1, pp), 4 * pp, {.dense = 3, .expert = 2});
    deepseek.tied_embeddings = false;
  }
}

TEST(BucketEquality, UnderTensorParallelismHybridShardingAndMuon) {
  const Model model = rich_model();
  Strategy s = layout_of(model, 1);
  s.tp = 2;
  s.sp = true;
  expect_no_bit_changes(model, s, 8, {.dense = 6, .expert = 3});
  s = layout_of(model, 1);
  s.num_optimizer_instances = 2;
  expect_no_bit_changes(model, s, 8, {.dense = 6, .expert = 0});
  s = layout_of(model, 1);
  s.optimizer = OptimizerKind::muon;
  expect_no_bit_changes(model, s, 4, {.dense = 6, .expert = 3});
}

TEST(BucketEquality, InTheTypesInWhichGradientsTravel) {
  const Model model = small_model();
  for (const auto& [kept, wire] :
       {std::pair{DType::f32, DType::bf16}, {DType::bf16, DType::bf16}, {DType::i64, DType::i64}}) {
    for (const int zero : {0, 1}) {
      SCOPED_TRACE(name_of(kept));
      Strategy s = layout_of(model, zero);
      s.grad_dtype = kept;
      s.grad_wire_dtype = wire;
      expect_no_bit_changes(model, s, 4, {.dense = 6, .expert = 3});
    }
  }
}

}  // namespace
}  // namespace orrery::executor
