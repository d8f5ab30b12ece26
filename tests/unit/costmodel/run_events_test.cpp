// SPDX-License-Identifier: Apache-2.0
#include "base/errors.h"
#include "costmodel/op_times.h"
#include "tests/conformance/programs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using testing::NanosecondPerByte;
using testing::ProgramBuilder;
using testing::small_cluster;

/// Times of a program on one node of four devices.
OpTimes times_of(const ProgramBuilder& builder, OverlapRule overlap = {}) {
  const Cluster cluster = small_cluster(1, 4);
  return run_events(time_program(builder.program(), NanosecondPerByte(cluster, overlap), cluster, {}, {}), true);
}

TEST(RunEvents, TakesOpsOfOneQueueOneAfterTheOther) {
  ProgramBuilder builder;
  builder.compute(0, microseconds(3));
  builder.compute(0, microseconds(4));
  const OpTimes times = times_of(builder);
  EXPECT_DOUBLE_EQ(times.makespan.in(unit::microsecond), 7);
  EXPECT_DOUBLE_EQ(times.ranks[0].ready[1].in(unit::microsecond), 3);
  EXPECT_DOUBLE_EQ(times.ranks[0].start[1].in(unit::microsecond), 3);
  EXPECT_DOUBLE_EQ(times.ranks[0].end[1].in(unit::microsecond), 7);
}

TEST(RunEvents, WaitsForDependenciesAcrossQueues) {
  ProgramBuilder builder(1, 4);
  const OpIndex first = builder.compute(0, microseconds(3));
  const OpIndex reduce = builder.all_reduce(0, Queue::dp, Group::dp, 100000, {first});  // 1 us + 1.5 us
  builder.compute(0, microseconds(4), {reduce});
  const OpTimes times = times_of(builder);
  EXPECT_DOUBLE_EQ(times.ranks[0].end[reduce].in(unit::microsecond), 5.5);
  EXPECT_DOUBLE_EQ(times.makespan.in(unit::microsecond), 9.5);
}

TEST(RunEvents, StartsACommunicationWhenTheLastPeerIsThere) {
  ProgramBuilder builder(2, 1);
  const OpIndex early = builder.compute(0, microseconds(2));
  const OpIndex send = builder.send_next(0, 100000, {early});
  const OpIndex late = builder.compute(1, microseconds(9));
  const OpIndex receive = builder.recv_prev(1, 100000, {late});
  const OpTimes times = times_of(builder);
  EXPECT_DOUBLE_EQ(times.ranks[0].ready[send].in(unit::microsecond), 2);
  EXPECT_DOUBLE_EQ(times.ranks[0].start[send].in(unit::microsecond), 9);
  EXPECT_EQ(times.ranks[0].last_peer[send], 1);
  EXPECT_DOUBLE_EQ(times.ranks[1].start[receive].in(unit::microsecond), 9);
  EXPECT_EQ(times.ranks[1].last_peer[receive], -1);  // it was the last itself
  EXPECT_DOUBLE_EQ(times.makespan.in(unit::microsecond), 11.0);
}

/// Compute of 10 us beside a communication of 4 us (1 us latency, 300 kB at 100 GB/s).
ProgramBuilder overlapping(Seconds compute) {
  ProgramBuilder builder(2, 1);
  builder.compute(0, compute);
  builder.send_next(0, 300000);
  builder.recv_prev(1, 300000);
  return builder;
}

// Source of the golden: t = y + Tc - y / (1 + sc) for sc = 0.19, sn = 0, Tc = 10, Tn = 4 (docs/design/overlap.md).
TEST(RunEvents, SlowsComputeWhileACommunicationRuns) {
  const OpTimes times = times_of(overlapping(microseconds(10)), {.compute_slowdown = 0.19});
  EXPECT_NEAR(times.ranks[0].end[0].in(unit::microsecond), 10.639, 5e-4);
  EXPECT_DOUBLE_EQ(times.ranks[0].end[1].in(unit::microsecond), 4.0);
}

TEST(RunEvents, SlowsAnOpByItsOwnSlowdownWhereItHasOne) {
  const Cluster cluster = small_cluster(1, 4);
  const ProgramBuilder builder = overlapping(microseconds(10));
  TimedProgram timed =
      time_program(builder.program(), NanosecondPerByte(cluster, {.compute_slowdown = 0.19}), cluster, {}, {});
  timed.ranks[0].slowdown = {1.0F, 0.0F};
  // Half speed while 4 us are sent, then 8 us more.
  EXPECT_DOUBLE_EQ(run_events(timed, true).ranks[0].end[0].in(unit::microsecond), 12.0);
}

TEST(RunEvents, SlowsAnOpMoreBesideAnExchangeOfTokensWhereThatHoldsMore) {
  const Cluster cluster = small_cluster(1, 4);
  const ProgramBuilder builder = overlapping(microseconds(10));
  TimedProgram timed =
      time_program(builder.program(), NanosecondPerByte(cluster, {.compute_slowdown = 1.0}), cluster, {}, {});
  const auto end = [&] { return run_events(timed, true).ranks[0].end[0].in(unit::microsecond); };
  timed.ranks[0].slowdown_by_exchange = {3.0F, 0.0F};
  EXPECT_DOUBLE_EQ(end(), 12.0);  // what is sent is none: half speed for 4 us
  timed.meetings[0].exchange = true;
  EXPECT_DOUBLE_EQ(end(), 13.0);  // a quarter
  timed.ranks[0].slowdown_by_exchange = {};
  EXPECT_DOUBLE_EQ(end(), 12.0);
}

TEST(RunEvents, SlowsACommunicationWhileAnyParticipantComputes) {
  // Both slowed by half until 3 us of compute end at 4.5 us: 3 of 4 us are sent, the last one at full speed.
  const OpTimes times = times_of(overlapping(microseconds(3)), {.compute_slowdown = 0.5, .comm_slowdown = 0.5});
  EXPECT_DOUBLE_EQ(times.ranks[0].end[0].in(unit::microsecond), 4.5);
  EXPECT_DOUBLE_EQ(times.ranks[1].end[0].in(unit::microsecond), 5.5);
}

TEST(RunEvents, DoesNotSlowComputeForACommunicationThatStillWaits) {
  ProgramBuilder builder(2, 1);
  builder.compute(0, microseconds(5));
  builder.send_next(0, 300000);
  const OpIndex busy = builder.compute(1, microseconds(20));
  builder.recv_prev(1, 300000, {busy});
  const OpTimes times = times_of(builder, {.compute_slowdown = 0.5});
  EXPECT_DOUBLE_EQ(times.ranks[0].end[0].in(unit::microsecond), 5);
}

TEST(RunEvents, GivesTheMakespanWithoutKeepingTimes) {
  const Cluster cluster = small_cluster(1, 4);
  const ProgramBuilder builder = overlapping(microseconds(10));
  const NanosecondPerByte model(cluster, {.compute_slowdown = 0.19});
  const TimedProgram timed = time_program(builder.program(), model, cluster, {}, {});
  const OpTimes without = run_events(timed, false);
  EXPECT_TRUE(without.ranks.empty());
  EXPECT_EQ(without.makespan, run_events(timed, true).makespan);
}

TEST(RunEvents, NamesTheOpsThatWaitInADeadlock) {
  ProgramBuilder builder(2, 1);
  builder.send_next(0, 100);
  builder.compute(1, microseconds(1));  // stage 1 never receives
  try {
    times_of(builder);
    FAIL() << "a deadlock was not noticed";
  } catch (const InternalError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("rank 0 step/mb0/stage0/layer0/fwd/pp.send_act; "));
  }
}

}  // namespace
}  // namespace orrery::costmodel
