// SPDX-License-Identifier: Apache-2.0
// The one place that sees both: what the cost model says that ranks need, and what they have.
#include "costmodel/memory.h"
#include "tests/unit/executor/runtime/thread_ranks.h"

#include <mutex>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using executor::testing::deepseek_model;
using executor::testing::kBatch;
using executor::testing::rich_model;

/// The largest peak of an execution in which every expert gets as much.
double measured_peak(const StepProgram& program) {
  executor::TrainingSettings settings = executor::testing::settings_of(1);
  settings.balanced_routing = true;
  std::mutex mutex;
  double most = 0.0;
  executor::testing::on_all_ranks(program, settings, [&](executor::RankRuntime& runtime, int) {
    const double mine = runtime.run_step().record.peak_memory.in(unit::byte);
    const std::lock_guard lock(mutex);
    most = std::max(most, mine);
  });
  return most;
}

void expect_predicted(const Model& model, const Strategy& strategy, std::int64_t ranks) {
  const StepProgram program = lower(model, strategy, kBatch, ranks);
  EXPECT_EQ(measured_peak(program), costmodel::peak_memory(program).in(unit::byte));
}

TEST(ExecutionMemory, IsThatOfTheCostModelToTheByte) {
  for (const int zero : {0, 1, 2, 3}) {
    for (const DType precision : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(zero);
      Strategy s = executor::testing::strategy_of(rich_model(), 2, 2);
      s.zero_dense = s.zero_expert = zero;
      s.precision = precision;
      expect_predicted(rich_model(), s, 8);
    }
  }
}

TEST(ExecutionMemory, WithOffloadAndGradientsInBf16) {
  Strategy s = executor::testing::strategy_of(rich_model(), 1, 2);
  s.zero_dense = s.zero_expert = 1;
  s.offload_optimizer = s.offload_activations = true;
  expect_predicted(rich_model(), s, 4);
  s.offload_optimizer = false;
  s.grad_dtype = s.grad_wire_dtype = DType::bf16;
  expect_predicted(rich_model(), s, 4);
  s.grad_dtype = DType::f32;
  expect_predicted(rich_model(), s, 4);
}

TEST(ExecutionMemory, WithGradientsInWholeNumbers) {
  for (const int zero : {0, 1, 2, 3}) {
    SCOPED_TRACE(zero);
    Strategy s = executor::testing::strategy_of(rich_model(), 2, 2);
    s.zero_dense = s.zero_expert = zero;
    s.grad_dtype = s.grad_wire_dtype = DType::i64;
    expect_predicted(rich_model(), s, 8);
  }
}

TEST(ExecutionMemory, OfLatentAttentionPredictionAndTensorParallelism) {
  const Model model = deepseek_model();
  Strategy s = executor::testing::strategy_of(model, 2, 2);
  s.tp = s.etp = 2;
  s.sp = true;
  s.zero_dense = 1;
  expect_predicted(model, s, 8);
  s.schedule = Schedule::dualpipe;
  expect_predicted(model, s, 8);
}

}  // namespace
}  // namespace orrery
