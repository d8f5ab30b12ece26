// SPDX-License-Identifier: Apache-2.0
#include "costmodel/analytic_interpreter.h"

#include "program/lower.h"
#include "tests/conformance/programs.h"
#include "tests/unit/costmodel/flop_cost_model.h"
#include "tests/unit/program/small_models.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using ::testing::ElementsAre;
using testing::NanosecondPerByte;
using ::testing::Pair;
using testing::ProgramBuilder;
using testing::small_cluster;

AnalyticInterpreter interpreter_of(const Cluster& cluster) {
  return {std::make_shared<NanosecondPerByte>(cluster), cluster};
}

ProgramBuilder message_between_stages() {
  ProgramBuilder builder(2, 2);
  const OpIndex first = builder.compute(0, microseconds(2));
  builder.send_next(0, 100000, {first});
  const OpIndex receive = builder.recv_prev(1, 100000);
  builder.compute(1, microseconds(3), {receive});
  return builder;
}

TEST(AnalyticInterpreter, WritesSpansOfTheRanksThatStandForOthers) {
  const Trace trace = interpreter_of(small_cluster(1, 4)).run(message_between_stages().program(), {});
  EXPECT_EQ(trace.header.interpreter, "analytic");
  EXPECT_EQ(trace.header.num_ranks, 4);
  EXPECT_THAT(trace.header.represents, ElementsAre(Pair(0, 2), Pair(2, 2)));
  ASSERT_EQ(trace.spans.size(), 4);
  const Span receive = trace.spans.at(2);
  EXPECT_EQ(receive.rank, 2);
  EXPECT_EQ(to_string(receive.key), "step/mb0/stage1/layer0/fwd/pp.recv_act");
  EXPECT_EQ(receive.queue, Queue::pp_recv_prev);
  EXPECT_EQ(receive.ready, Seconds::zero());
  EXPECT_DOUBLE_EQ(receive.start.in(unit::microsecond), 2);
  EXPECT_DOUBLE_EQ(receive.end.in(unit::microsecond), 4.0);
  EXPECT_EQ(receive.last_peer, 0);
  EXPECT_EQ(trace.spans.at(1).bytes, bytes(100000));
}

TEST(AnalyticInterpreter, WritesOneRecordForEachStep) {
  const Trace trace = interpreter_of(small_cluster(1, 4)).run(message_between_stages().program(), {.num_steps = 3});
  ASSERT_EQ(trace.steps.size(), 3);
  EXPECT_EQ(trace.steps[2].step, 2);
  EXPECT_DOUBLE_EQ(trace.steps[2].time.in(unit::microsecond), 7.0);
  EXPECT_EQ(trace.steps[2].tokens, 2.0);
  EXPECT_TRUE(std::isnan(trace.steps[2].loss));
  EXPECT_EQ(trace.spans.size(), 12);
}

TEST(AnalyticInterpreter, LeavesSpansOutWhenOnlyStepsAreWanted) {
  const Trace trace = interpreter_of(small_cluster(1, 4)).run(message_between_stages().program(), {.steps_only = true});
  EXPECT_EQ(trace.spans.size(), 0);
  EXPECT_DOUBLE_EQ(trace.steps.at(0).time.in(unit::microsecond), 7.0);
}

TEST(AnalyticInterpreter, LeavesOutWhatOnlyFilesSay) {
  StepProgram program = message_between_stages().program();
  const AnalyticInterpreter interpreter = interpreter_of(small_cluster(1, 4));
  const Trace complete = interpreter.run(program, {});
  EXPECT_EQ(complete.header.program_hash, hash_of(program));
  EXPECT_EQ(complete.memory.size(), 2);
  for (RankClass& rank_class : program.classes) {  // as lower_order() leaves it
    rank_class.use_begin.clear();
    rank_class.uses.clear();
    rank_class.tensors.clear();
  }
  const Trace trace = interpreter.run(program, {.complete = false});
  EXPECT_EQ(trace.header.program_hash, "");
  EXPECT_TRUE(trace.memory.empty());
  EXPECT_EQ(trace.spans.end(), complete.spans.end());
  EXPECT_EQ(trace.spans.key(), complete.spans.key());
  EXPECT_EQ(trace.steps.at(0).time, complete.steps.at(0).time);
}

TEST(AnalyticInterpreter, WritesEveryRankWhenAsked) {
  const Trace trace = interpreter_of(small_cluster(1, 4)).run(message_between_stages().program(), {.all_ranks = true});
  EXPECT_EQ(trace.spans.size(), 8);
  EXPECT_EQ(trace.header.represents.size(), 4);
}

TEST(AnalyticInterpreter, RefusesAProgramThatNeedsMoreDevices) {
  const auto reasons = interpreter_of(small_cluster(1, 3)).unsupported(message_between_stages().program());
  ASSERT_EQ(reasons.size(), 1);
  EXPECT_EQ(reasons[0].reason, "analytic: expected a cluster of at least 4 devices, got 3");
}

/// Time of a data-parallel step of two ranks with two sequences each, and how long each of them waits for the other at
/// the gradients.
struct DataParallelStep {
  Seconds time;
  std::vector<Seconds> waits;
};

DataParallelStep data_parallel_step(const SequenceModel& sequences) {
  Model model = testing::small_moe(1);
  model.moe.reset();
  const StepProgram program = lower(model, testing::small_strategy(model), {.seq = 256, .global_batch = 4}, 2);
  const Cluster cluster = small_cluster(1, 2);
  const AnalyticInterpreter interpreter(std::make_shared<testing::PicosecondPerFlop>(cluster), cluster);
  const Trace trace = interpreter.run(program, {.sequences = sequences, .all_ranks = true});
  DataParallelStep step{.time = trace.steps.front().time, .waits = std::vector<Seconds>(2)};
  for (std::size_t i = 0; i < trace.spans.size(); ++i) {
    const Span span = trace.spans.at(i);
    if (span.key.op == OpCode::dp_grad_ar) step.waits.at(static_cast<std::size_t>(span.rank)) = span.start - span.ready;
  }
  return step;
}

TEST(AnalyticInterpreter, AllWaitForTheRankWithTheLongDocuments) {
  const std::vector<std::int64_t> one = {256}, many(16, 16);
  const DataParallelStep fixed = data_parallel_step(FixedLengths{});
  const DataParallelStep all_long = data_parallel_step(testing::lengths({one}));
  const DataParallelStep all_short = data_parallel_step(testing::lengths({many}));
  const DataParallelStep straggler = data_parallel_step(testing::lengths({one, one, many, many}));
  EXPECT_EQ(all_long.time, fixed.time);
  EXPECT_LT(all_short.time, all_long.time);
  // The mean of the two ranks would be faster; the step is not.
  EXPECT_EQ(straggler.time, all_long.time);
  EXPECT_EQ(straggler.waits[0], Seconds::zero());
  EXPECT_NEAR(straggler.waits[1] / (all_long.time - all_short.time), 1.0, 1e-9);
  EXPECT_EQ(all_short.waits[1], Seconds::zero());
}

}  // namespace
}  // namespace orrery::costmodel
