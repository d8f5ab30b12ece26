// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/cpu_interpreter.h"

#include "base/errors.h"
#include "base/files.h"
#include "base/sha256.h"
#include "executor/launch/launcher.h"
#include "program/hf_config.h"
#include "tests/unit/executor/runtime/thread_ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using ::testing::HasSubstr;

constexpr const char* kModelFile = ORRERY_SOURCE_DIR "/catalog/models/moe-tiny-cpu.json";

Plan small_plan(std::int64_t pp, std::int64_t ep, std::int64_t num_ranks) {
  Plan plan;
  const std::string model = read_file(kModelFile);
  plan.model_source = {.path = "moe-tiny-cpu.json", .sha256 = sha256_hex(model), .content = model};
  plan.model = read_model(kModelFile);
  NodeGroup group;
  group.name = "cpu";
  group.devices_per_node = num_ranks;
  group.device.name = "cpu";
  group.device.kind = DeviceKind::cpu;
  group.scale_up.kind = ScaleUpKind::shared_memory;
  plan.cluster.name = "this";
  plan.cluster.groups = {group};
  const std::string cluster = orrery::to_json(plan.cluster);
  plan.cluster_source = {.path = "this.json", .sha256 = sha256_hex(cluster), .content = cluster};
  plan.calibration_source = {.path = "this-calibration.json", .sha256 = sha256_hex("")};
  plan.batch = {.seq = 32, .global_batch = 4};
  plan.strategy.pp = pp;
  plan.strategy.ep = ep;
  plan.strategy.precision = DType::f32;
  plan.strategy.stages = even_stages(plan.model.num_layers(), pp);
  return plan;
}

CpuInterpreter interpreter_of(const Plan& plan, TrainingSettings settings = {}) {
  return CpuInterpreter(plan, ORRERY_BINARY_DIR "/orrery-rank", std::move(settings));
}

TEST(CpuInterpreter, ProcessesTrainAsThreadsDo) {
  const Plan plan = small_plan(1, 2, 2);
  const StepProgram program = lower(plan.model, plan.strategy, plan.batch, 2);
  TrainingSettings settings;
  settings.num_steps = 3;
  const Trace trace = interpreter_of(plan, settings).run(program, {});
  const std::vector<double> losses = testing::losses(program, settings);
  ASSERT_EQ(trace.steps.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(trace.steps[i].loss, losses[i]);
  EXPECT_EQ(static_cast<std::int64_t>(trace.spans.size()), std::int64_t{3} * 2 * program.num_ops());
  EXPECT_EQ(trace.header.num_ranks, 2);
  EXPECT_EQ(trace.header.threads_per_rank, threads_per_rank(static_cast<int>(std::thread::hardware_concurrency()), 2));
}

TEST(CpuInterpreter, ProcessesTrainAsThreadsDoOnManyDimensionsAtOnce) {
  Plan plan = small_plan(2, 2, 4);
  Strategy& s = plan.strategy;
  s.schedule = Schedule::zbv;
  s.vpp = 2;
  s.stages = even_stages(plan.model.num_layers(), 4);
  s.zero_dense = 3;
  s.overlap.delayed_wgrad = true;
  s.dispatcher = Dispatcher::two_level;
  const StepProgram program = lower(plan.model, s, plan.batch, 4);
  TrainingSettings settings;
  settings.num_steps = 2;
  const Trace trace = interpreter_of(plan, settings).run(program, {});
  const std::vector<double> losses = testing::losses(program, settings);
  ASSERT_EQ(trace.steps.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(trace.steps[i].loss, losses[i]);
  EXPECT_THAT(trace.header.notes, ::testing::Contains(HasSubstr("one after the other")));
}

TEST(CpuInterpreter, WhatAReportNeedsIsAsMuchOfALongRunAsOfAShortOne) {
  const Plan plan = small_plan(1, 2, 2);
  const StepProgram program = lower(plan.model, plan.strategy, plan.batch, 2);
  const auto trained = [&](std::int64_t num_steps, bool complete) {
    return interpreter_of(plan, {.num_steps = num_steps}).run(program, {.complete = complete});
  };
  const Trace shorter = trained(12, false), longer = trained(24, false), all = trained(12, true);
  const auto num_ops = static_cast<std::size_t>(program.num_ops());
  EXPECT_EQ(shorter.spans.size(), num_ops * 2 * 10);
  EXPECT_EQ(longer.spans.size(), shorter.spans.size());
  EXPECT_EQ(longer.loads.size(), shorter.loads.size());
  EXPECT_EQ(longer.spans.step().front(), 14);
  EXPECT_EQ(longer.steps.size(), 24U);
  EXPECT_EQ(all.spans.size(), num_ops * 2 * 12);
  EXPECT_EQ(all.loads.size() * 10, shorter.loads.size() * 12);
}

TEST(CpuInterpreter, TheLogHasWhatTheTraceHas) {
  const Plan plan = small_plan(1, 2, 2);
  const StepProgram program = lower(plan.model, plan.strategy, plan.batch, 2);
  RunLog log;
  const CpuInterpreter interpreter(plan, ORRERY_BINARY_DIR "/orrery-rank", {.num_steps = 3}, nullptr, &log);
  const Trace trace = interpreter.run(program, {});
  ASSERT_EQ(log.steps().size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(log.steps()[i].step, trace.steps[i].step);
    EXPECT_EQ(log.steps()[i].loss, trace.steps[i].loss);
    EXPECT_EQ(log.steps()[i].time, trace.steps[i].time);
  }
  ASSERT_TRUE(log.loaded() && log.first_step());
  EXPECT_LT(log.started(), *log.loaded());
  EXPECT_LT(*log.loaded(), *log.first_step());
  // It may hear late that the ranks were loaded, while they train already.
  EXPECT_GE(seconds(std::chrono::duration<double>(*log.first_step() - log.started()).count()), trace.steps[0].time);
}

TEST(CpuInterpreter, ARunThatFailsLeavesItsStepsInTheLog) {
  const Plan plan = small_plan(1, 2, 2);
  const StepProgram program = lower(plan.model, plan.strategy, plan.batch, 2);
  RunLog log;
  TrainingSettings settings{.num_steps = 5, .adamw = {.learning_rate = 1e30F}};
  const CpuInterpreter interpreter(plan, ORRERY_BINARY_DIR "/orrery-rank", settings, nullptr, &log);
  try {
    interpreter.run(program, {});
    FAIL();
  } catch (const RanksFailed& failed) {
    EXPECT_THAT(failed.what(), HasSubstr("expected a finite loss, got "));
    EXPECT_THAT(failed.lost(), ::testing::IsEmpty());
  }
  EXPECT_EQ(log.steps().size(), 1U);
}

TEST(CpuInterpreter, RoutingMatricesHaveARowForEachRank) {
  const Plan plan = small_plan(1, 2, 2);
  const StepProgram program = lower(plan.model, plan.strategy, plan.batch, 2);
  const Trace trace = interpreter_of(plan).run(program, {});
  ASSERT_EQ(trace.loads.size(), 4U * 2U);  // layers times micro-batches
  for (const LoadRecord& load : trace.loads) {
    EXPECT_EQ(load.routing.group, 2);
    for (std::int64_t rank = 0; rank < 2; ++rank) {
      double pairs = 0.0;
      for (std::int64_t e = 0; e < 8; ++e) pairs += load.routing.at(rank, e);
      EXPECT_EQ(pairs, 32.0 * 2.0);
    }
  }
}

TEST(CpuInterpreter, SaysWhatItCannotRun) {
  const Plan plan = small_plan(1, 1, 1);
  Model model = plan.model;
  model.activation = Activation::gelu;
  const auto reasons = interpreter_of(plan).unsupported(lower(model, plan.strategy, plan.batch, 1));
  ASSERT_EQ(reasons.size(), 1U);
  EXPECT_EQ(reasons[0].reason, "the CPU executor has SwiGLU only");
}

TEST(CpuInterpreter, IsNotEnabledWithoutItsExecutable) {
  EXPECT_FALSE(CpuInterpreter(small_plan(1, 1, 1), "/no/such/orrery-rank", {}).enabled());
  EXPECT_TRUE(interpreter_of(small_plan(1, 1, 1)).enabled());
}

TEST(CpuInterpreter, ABadCorpusIsTheUsersErrorOnEveryRankAndReportedOnce) {
  const Plan plan = small_plan(1, 2, 2);
  TrainingSettings settings;
  settings.corpus = kModelFile;  // shorter than a sequence it is not; the vocabulary holds all bytes
  settings.num_steps = 1;
  const StepProgram program = lower(plan.model, plan.strategy, plan.batch, 2);
  EXPECT_EQ(interpreter_of(plan, settings).run(program, {}).steps.size(), 1U);
  settings.corpus = "no/such/corpus.txt";
  try {
    interpreter_of(plan, settings).run(program, {});
    FAIL();
  } catch (const std::exception& error) {
    EXPECT_THAT(error.what(), HasSubstr("no/such/corpus.txt"));
  }
}

}  // namespace
}  // namespace orrery::executor
