// SPDX-License-Identifier: Apache-2.0
// Tensor parallelism divides sums over products, so it agrees with one rank but for the last bits:
// docs/design/equality.md.
#include "tests/unit/executor/runtime/whole_run.h"

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;

Model dense_model() {
  Model model = small_model();
  model.moe.reset();
  model.layers = {LayerKind::dense, LayerKind::dense};
  return model;
}

/// Compares with one rank, and checks bytes and memory.
void expect_as_one_rank(const Model& model, const Strategy& strategy, std::int64_t ranks) {
  Strategy plain = testing::strategy_of(model);
  plain.micro_batch = strategy.micro_batch;
  const WholeRun one = run_whole(lower(model, plain, kBatch, 1), settings_of(2));
  const StepProgram program = lower(model, strategy, kBatch, ranks);
  expect_close(one, run_whole(program, settings_of(2)));
  expect_accounts(program, settings_of(1));
}

Strategy tensor_parallel(const Model& model, std::int64_t tp, bool sp) {
  Strategy s = testing::strategy_of(model);
  s.tp = tp;
  s.sp = sp;
  return s;
}

TEST(TensorParallelEquality, WithoutSequenceParallelism) {
  const Model model = dense_model();
  expect_as_one_rank(model, tensor_parallel(model, 2, false), 2);
  Model normed = model;
  std::get<GroupedQueryAttention>(normed.attention).qk_norm = true;
  expect_as_one_rank(normed, tensor_parallel(normed, 2, false), 4);  // with two data-parallel groups
}

TEST(TensorParallelEquality, WithSequenceParallelism) {
  for (const Model& model : {dense_model(), small_model(), rich_model()}) {
    expect_as_one_rank(model, tensor_parallel(model, 2, true), 2);
    Strategy s = tensor_parallel(model, 2, true);
    s.micro_batch = 2;
    s.zero_dense = 1;
    expect_as_one_rank(model, s, 4);
  }
}

TEST(TensorParallelEquality, InSlices) {
  const Model model = rich_model();
  Strategy s = tensor_parallel(model, 2, true);
  s.overlap.tp = true;
  s.micro_batch = 2;
  expect_as_one_rank(model, s, 2);
}

TEST(TensorParallelEquality, WithExpertsOverOtherGroupsAndStages) {
  const Model model = rich_model();
  for (const std::int64_t ep : {1, 2, 4}) {
    Strategy s = tensor_parallel(model, 2, true);
    s.ep = ep;
    expect_as_one_rank(model, s, 4);
  }
  Strategy s = tensor_parallel(model, 2, true);
  s.pp = 2;
  s.ep = 2;
  s.schedule = Schedule::zb_h1;
  s.stages = even_stages(model.num_layers(), 2);
  expect_as_one_rank(model, s, 8);
}

TEST(TensorParallelEquality, WithMoreRanksThanKeyValueHeads) {
  for (const Model& model : {small_model(), qwen2_moe_model()}) {  // two heads; without and with a bias of theirs
    for (const int zero : {0, 1, 2}) {
      SCOPED_TRACE(zero);
      Strategy s = tensor_parallel(model, 4, true);
      s.zero_dense = zero;
      expect_as_one_rank(model, s, 8);
    }
  }
}

TEST(TensorParallelEquality, OfExperts) {
  const Model model = rich_model();
  Strategy s = testing::strategy_of(model);
  s.etp = 2;
  expect_as_one_rank(model, s, 2);
  s.ep = 2;
  expect_as_one_rank(model, s, 4);
  s.tp = 2;
  s.sp = true;
  expect_as_one_rank(model, s, 4);
}

}  // namespace
}  // namespace orrery::executor
