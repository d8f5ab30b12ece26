// SPDX-License-Identifier: Apache-2.0
#include "sim/simulate.h"

#include "tests/unit/sim/hand_timed.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using costmodel::PathClass;
using orrery::testing::HandTimed;
using orrery::testing::over;
using orrery::testing::small_cluster;
using ::testing::ElementsAre;

/// 2 us of compute on rank 0, then a message of 40 us to rank 1.
HandTimed message_after_compute() {
  HandTimed program(2);
  const OpIndex compute = program.compute(0, microseconds(2));
  program.message(0, 1, over(PathClass::rail, bytes(1e6), bytes_per_second(25e9)), {compute});
  return program;
}

TEST(Simulate, WritesASpanForEachOpOfEachRank) {
  HandTimed program = message_after_compute();
  const Trace trace = simulate(program.timed(), small_cluster(2, 1), {.num_steps = 2});
  EXPECT_EQ(trace.header.interpreter, "simgrid");
  EXPECT_EQ(trace.header.program_hash, hash_of(*program.timed().program));
  EXPECT_THAT(trace.spans.step(), ElementsAre(0, 0, 0, 1, 1, 1));
  EXPECT_THAT(trace.spans.rank(), ElementsAre(0, 0, 1, 0, 0, 1));
  const Span receive = trace.spans.at(2);
  EXPECT_EQ(receive.queue, Queue::pp_recv_prev);
  EXPECT_NEAR(receive.ready.in(unit::microsecond), 0.0, 1e-9);
  EXPECT_NEAR(receive.start.in(unit::microsecond), 2.0, 1e-9);
  EXPECT_NEAR(receive.end.in(unit::microsecond), 42.0, 1e-9);
  EXPECT_EQ(receive.last_peer, 0);
}

TEST(Simulate, WritesNoSpansWhenOnlyStepsAreWanted) {
  HandTimed program = message_after_compute();
  const Trace trace = simulate(program.timed(), small_cluster(2, 1), {.steps_only = true});
  EXPECT_EQ(trace.spans.size(), 0);
  ASSERT_EQ(trace.steps.size(), 1);
  EXPECT_NEAR(trace.steps[0].time.in(unit::microsecond), 42.0, 1e-9);
  EXPECT_TRUE(std::isnan(trace.steps[0].loss));
}

TEST(Simulate, SaysHowMuchOfTheCommunicationWasFlows) {
  HandTimed program = message_after_compute();
  const Cluster cluster = small_cluster(2, 1);
  EXPECT_THAT(simulate(program.timed(), cluster, {}).header.notes,
              ElementsAre("SimGrid at L1: 1 of 1 communications as flows, the others in closed form"));
  EXPECT_THAT(simulate(program.timed(), cluster, {}, Fidelity::l0).header.notes,
              ElementsAre("SimGrid at L0: 0 of 1 communications as flows, the others in closed form"));
}

}  // namespace
}  // namespace orrery::sim
