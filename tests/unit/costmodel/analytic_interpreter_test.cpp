// SPDX-License-Identifier: Apache-2.0
#include "costmodel/analytic_interpreter.h"

#include "tests/conformance/programs.h"

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

}  // namespace
}  // namespace orrery::costmodel
