// SPDX-License-Identifier: Apache-2.0
// The one place that sees both: what the cost model says that ranks need, and what they have.
#include "cli/recorded_load.h"
#include "costmodel/memory.h"
#include "costmodel/memory_record.h"
#include "executor/runtime/cpu_interpreter.h"
#include "tests/unit/executor/runtime/thread_ranks.h"

#include <mutex>
#include <utility>
#include <vector>

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

/// On 8 ranks, with PP 2 and EP 2, in f32 and bf16.
void on_every_stage_of_zero(void (*expect)(const Model&, const Strategy&, std::int64_t)) {
  for (const int zero : {0, 1, 2, 3}) {
    for (const DType precision : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(zero);
      Strategy s = executor::testing::strategy_of(rich_model(), 2, 2);
      s.zero_dense = s.zero_expert = zero;
      s.precision = precision;
      expect(rich_model(), s, 8);
    }
  }
}

TEST(ExecutionMemory, IsThatOfTheCostModelToTheByte) { on_every_stage_of_zero(expect_predicted); }

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

/// What each rank recorded of its memory, and what routers sent, in a step under the model's own routers.
Trace train_one_step(const StepProgram& program) {
  std::mutex mutex;
  std::vector<Trace> traces(static_cast<std::size_t>(program.mesh.world()));
  executor::testing::on_all_ranks(program, executor::testing::settings_of(1),
                                  [&](executor::RankRuntime& runtime, int rank) {
                                    executor::RankRuntime::Step step = runtime.run_step();
                                    const std::lock_guard lock(mutex);
                                    traces[static_cast<std::size_t>(rank)] = {.header = {},
                                                                              .spans = {},
                                                                              .steps = {step.record},
                                                                              .power = {},
                                                                              .loads = std::move(step.loads),
                                                                              .memory = {runtime.memory()}};
                                  });
  return executor::merge_rank_traces(std::move(traces), program.mesh);
}

/// Expects of every rank what is predicted of it, cause by cause, and that routers were not balanced.
void expect_predicted_by_cause(const Model& model, const Strategy& strategy, std::int64_t num_ranks) {
  const StepProgram program = lower(model, strategy, kBatch, num_ranks);
  const Trace trace = train_one_step(program);
  std::vector<RankId> ranks;
  for (std::int32_t rank = 0; rank < num_ranks; ++rank) ranks.emplace_back(rank);
  const std::vector<MemoryRecord> predicted = costmodel::memory_records(program, ranks, cli::recorded_load(trace));
  const std::vector<MemoryRecord> balanced = costmodel::memory_records(program, ranks, BalancedLoad{});
  ASSERT_EQ(trace.memory.size(), ranks.size());
  int num_unbalanced = 0;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    SCOPED_TRACE(rank);
    const MemoryRecord& measured = trace.memory[rank];
    EXPECT_EQ(measured.rank, static_cast<std::int32_t>(rank));
    EXPECT_EQ(measured.weights, predicted[rank].weights);
    EXPECT_EQ(measured.gradients, predicted[rank].gradients);
    EXPECT_EQ(measured.optimizer, predicted[rank].optimizer);
    EXPECT_GT(measured.tensors.size(), 10U);
    EXPECT_EQ(measured.tensors, predicted[rank].tensors);
    num_unbalanced += measured.tensors == balanced[rank].tensors ? 0 : 1;
  }
  EXPECT_GT(num_unbalanced, 0);
}

TEST(ExecutionMemory, OfEachRankByCauseUnderRecordedLoads) { on_every_stage_of_zero(expect_predicted_by_cause); }

TEST(ExecutionMemory, OfEachRankByCauseInEveryDimensionAndSchedule) {
  Strategy s = executor::testing::strategy_of(deepseek_model(), 2, 2);
  s.tp = s.etp = 2;
  s.sp = true;
  s.zero_dense = 1;
  for (const Schedule schedule : {Schedule::one_f_one_b, Schedule::zb_h1, Schedule::dualpipe}) {
    SCOPED_TRACE(static_cast<int>(schedule));
    s.schedule = schedule;
    expect_predicted_by_cause(deepseek_model(), s, 8);
  }
  s = executor::testing::strategy_of(rich_model(), 1, 4);
  for (const Dispatcher dispatcher : {Dispatcher::all_to_all, Dispatcher::all_gather, Dispatcher::two_level}) {
    s.dispatcher = dispatcher;
    expect_predicted_by_cause(rich_model(), s, 4);
  }
  s.cp = 2;
  s.stages[0].recompute = {RecomputeModule::moe};
  for (const Dispatcher dispatcher : {Dispatcher::all_to_all, Dispatcher::two_level}) {
    s.dispatcher = dispatcher;
    expect_predicted_by_cause(rich_model(), s, 4);
  }
}

}  // namespace
}  // namespace orrery
