// SPDX-License-Identifier: Apache-2.0
#include "sim/engine.h"

#include "base/errors.h"
#include "tests/unit/sim/hand_timed.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using costmodel::PathClass;
using testing::HandTimed;
using testing::over;
using testing::small_cluster;

const BytesPerSecond kNic = bytes_per_second(25e9);    // of one device of small_cluster
const BytesPerSecond kPort = bytes_per_second(100e9);  // the same within its node

/// Equal up to 1e-12 of the longer.
::testing::AssertionResult same(Seconds actual, Seconds expected) {
  const double scale = std::max(std::abs(actual.in(unit::second)), std::abs(expected.in(unit::second)));
  if (std::abs((actual - expected).in(unit::second)) <= 1e-12 * scale) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << actual.in(unit::microsecond) << " us instead of "
                                       << expected.in(unit::microsecond) << " us";
}

Seconds makespan(const costmodel::TimedProgram& timed, const Cluster& cluster, Fidelity fidelity) {
  return run_on_simgrid(timed, cluster, fidelity, false).makespan;
}

TEST(Engine, RunsTheOpsOfAQueueOneAfterTheOther) {
  HandTimed program(1);
  program.compute(0, microseconds(3));
  program.compute(0, microseconds(4));
  const costmodel::OpTimes times = run_on_simgrid(program.timed(), small_cluster(1, 1), Fidelity::l1, true);
  EXPECT_TRUE(same(times.makespan, microseconds(7)));
  EXPECT_TRUE(same(times.ranks[0].ready[1], microseconds(3)));
  EXPECT_TRUE(same(times.ranks[0].start[1], microseconds(3)));
  EXPECT_TRUE(same(times.ranks[0].end[1], microseconds(7)));
  EXPECT_EQ(times.ranks[0].last_peer[1], -1);
}

TEST(Engine, RunsNothingInNoTime) {
  HandTimed program(1);
  EXPECT_EQ(makespan(program.timed(), small_cluster(1, 1), Fidelity::l1), Seconds::zero());
}

TEST(Engine, StartsACollectiveWhenTheLastMemberArrives) {
  HandTimed program(2);
  const OpIndex early = program.compute(0, microseconds(2));
  const OpIndex late = program.compute(1, microseconds(5));
  const auto ops =
      program.collective({0, 1}, over(PathClass::node, bytes(1e6), kPort, microseconds(1)), {{early}, {late}});
  const costmodel::OpTimes times = run_on_simgrid(program.timed(), small_cluster(1, 2), Fidelity::l1, true);
  EXPECT_TRUE(same(times.makespan, microseconds(5 + 1 + 10)));
  EXPECT_TRUE(same(times.ranks[0].ready[ops[0]], microseconds(2)));
  EXPECT_TRUE(same(times.ranks[0].start[ops[0]], microseconds(5)));
  EXPECT_EQ(times.ranks[0].last_peer[ops[0]], 1);
  EXPECT_EQ(times.ranks[1].last_peer[ops[1]], -1);
}

TEST(Engine, TakesTheLatencyAloneForACommunicationWithoutBytes) {
  HandTimed program(2);
  program.collective({0, 1}, over(PathClass::rail, Bytes::zero(), kNic, microseconds(7)));
  EXPECT_TRUE(same(makespan(program.timed(), small_cluster(2, 1), Fidelity::l1), microseconds(7)));
}

TEST(Engine, EndsACollectiveWithItsSlowestLeg) {
  costmodel::CommTime time = over(PathClass::node, bytes(3e6), kPort, microseconds(1));
  time.legs[1] = {.path = PathClass::rail, .bytes = bytes(1e6), .bandwidth = kNic};
  time.num_legs = 2;
  HandTimed program(4);
  program.collective({0, 1, 2, 3}, time);
  EXPECT_TRUE(same(makespan(program.timed(), small_cluster(2, 2), Fidelity::l1), microseconds(1 + 40)));
}

TEST(Engine, IsTheClosedFormForACommunicationThatIsAlone) {
  // Three members, two of them on one node: the nodes carry different loads at different rates.
  for (const PathClass path : {PathClass::node, PathClass::rail, PathClass::spine}) {
    HandTimed program(3);
    program.collective({0, 1, 2}, over(path, bytes(1e6), kNic, microseconds(2)));
    const Cluster cluster = small_cluster(2, 2);
    const Seconds closed = makespan(program.timed(), cluster, Fidelity::l0);
    EXPECT_TRUE(same(closed, microseconds(42)));
    EXPECT_TRUE(same(makespan(program.timed(), cluster, Fidelity::l1), closed));
  }
}

TEST(Engine, SharesANicBetweenTwoMessagesOfANode) {
  // Each could have the whole 50 GB/s of node 0; together they have 25 GB/s each.
  HandTimed program(4, {0, 1, 2, 4});
  program.message(0, 2, over(PathClass::rail, bytes(1e6), 2.0 * kNic));
  program.message(1, 3, over(PathClass::rail, bytes(1e6), 2.0 * kNic));
  const Cluster cluster = small_cluster(3, 2);
  EXPECT_TRUE(same(makespan(program.timed(), cluster, Fidelity::l1), microseconds(40)));
  EXPECT_TRUE(same(makespan(program.timed(), cluster, Fidelity::l0), microseconds(20)));
}

TEST(Engine, KeepsTheTwoDirectionsOfANicApart) {
  HandTimed program(2);
  program.message(0, 1, over(PathClass::rail, bytes(1e6), kNic));
  program.message(1, 0, over(PathClass::rail, bytes(1e6), kNic));
  EXPECT_TRUE(same(makespan(program.timed(), small_cluster(2, 1), Fidelity::l1), microseconds(40)));
}

TEST(Engine, SharesALinkFairlyAgainWhenAFlowJoinsOrLeaves) {
  // Three messages of 1, 1 and 0.5 MB leave a node of 75 GB/s, each able to take all of it; the last is 10 us late.
  // Two at 37.5 GB/s for 10 us: 0.375 MB each. Three at 25 GB/s: after 20 us the late one is done, the others have
  // 0.125 MB left, and take 0.125 MB / 37.5 GB/s = 3.33 us for it.
  HandTimed program(6, {0, 1, 2, 3, 6, 9});
  const OpIndex wait = program.compute(2, microseconds(10));
  program.message(0, 3, over(PathClass::rail, bytes(1e6), 3.0 * kNic));
  program.message(1, 4, over(PathClass::rail, bytes(1e6), 3.0 * kNic));
  const auto late = program.message(2, 5, over(PathClass::rail, bytes(0.5e6), 3.0 * kNic), {wait});
  const costmodel::OpTimes times = run_on_simgrid(program.timed(), small_cluster(4, 3), Fidelity::l1, true);
  EXPECT_TRUE(same(times.makespan, microseconds(30 + 10.0 / 3)));
  EXPECT_TRUE(same(times.ranks[2].end[late.first], microseconds(30)));
  EXPECT_TRUE(same(times.ranks[5].end[late.second], microseconds(30)));
}

TEST(Engine, SharesTheNicOfAHotReceiver) {
  HandTimed program(4);
  for (const std::uint32_t sender : {1U, 2U, 3U})
    program.collective({sender, 0}, over(PathClass::rail, bytes(1e6), kNic), {}, Queue::dp);
  // As collectives these run one after the other on rank 0's queue: nothing to share.
  EXPECT_TRUE(same(makespan(program.timed(), small_cluster(4, 1), Fidelity::l1), microseconds(120)));

  // Three ranks of node 0 receive from three nodes at full speed of its 75 GB/s.
  HandTimed incast(6, {0, 1, 2, 3, 6, 9});
  for (const std::uint32_t receiver : {0U, 1U, 2U})
    incast.message(receiver + 3, receiver, over(PathClass::rail, bytes(1e6), 3.0 * kNic));
  EXPECT_TRUE(same(makespan(incast.timed(), small_cluster(4, 3), Fidelity::l1), microseconds(40)));
}

TEST(Engine, NarrowsTheWayAcrossTheSpineAndNotBelowALeaf) {
  Cluster cluster = small_cluster(4, 1);
  cluster.fabric.oversubscription = 2.0;
  HandTimed below(2);
  below.message(0, 1, over(PathClass::rail, bytes(1e6), kNic));
  EXPECT_TRUE(same(makespan(below.timed(), cluster, Fidelity::l1), microseconds(40)));
  HandTimed across(2, {0, 2});
  across.message(0, 1, over(PathClass::spine, bytes(1e6), kNic));
  EXPECT_TRUE(same(makespan(across.timed(), cluster, Fidelity::l1), microseconds(40)));  // has the uplinks to itself
  HandTimed both(4, {0, 2, 1, 3});
  both.message(0, 1, over(PathClass::spine, bytes(1e6), kNic));
  both.message(2, 3, over(PathClass::spine, bytes(1e6), kNic));
  EXPECT_TRUE(same(makespan(both.timed(), cluster, Fidelity::l1), microseconds(80)));
}

TEST(Engine, SharesTheNicBetweenRailAndSpine) {
  HandTimed program(4, {0, 1, 2, 4});
  program.message(0, 2, over(PathClass::rail, bytes(1e6), 2.0 * kNic));
  program.message(1, 3, over(PathClass::spine, bytes(1e6), 2.0 * kNic));
  EXPECT_TRUE(same(makespan(program.timed(), small_cluster(3, 2), Fidelity::l1), microseconds(40)));
}

TEST(Engine, LetsAFoldedRankCarryTheTrafficOfItsWholeNode) {
  // Two classes on one node, each standing for two of its ranks: 2 x 25 GB/s asked twice of 100 GB/s is no contention,
  // at twice the rate per rank it is.
  for (const double factor : {1.0, 2.0}) {
    HandTimed program(2, {0, 2});
    for (const std::uint32_t rank : {0U, 1U}) {
      program.rank(rank).represents = 8;
      program.rank(rank).represents_on_node = 2;
      program.collective({rank}, over(PathClass::rail, bytes(1e6), factor * kNic));
    }
    EXPECT_TRUE(same(makespan(program.timed(), small_cluster(4, 4), Fidelity::l1), microseconds(40)));
  }
}

TEST(Engine, SlowsComputeBesideCommunication) {
  // Compute of 10 us beside communication of 6 us at half speed: 3 us of work are done when the other ends.
  HandTimed program(2);
  for (const std::uint32_t rank : {0U, 1U}) program.rank(rank).overlap = {.compute_slowdown = 1.0};
  program.compute(0, microseconds(10));
  program.message(0, 1, over(PathClass::rail, bytes(125000), kNic, microseconds(1)));
  for (const Fidelity fidelity : {Fidelity::l0, Fidelity::l1}) {
    const costmodel::OpTimes times = run_on_simgrid(program.timed(), small_cluster(2, 1), fidelity, true);
    EXPECT_TRUE(same(times.makespan, microseconds(13)));
    EXPECT_TRUE(same(times.ranks[1].end[0], microseconds(6)));
  }
}

TEST(Engine, SlowsComputeMoreBesideAnExchangeOfTokensWhereThatHoldsMore) {
  // As before, at a quarter of the speed: 1.5 us of work are done when the other ends.
  HandTimed program(2);
  for (const std::uint32_t rank : {0U, 1U}) program.rank(rank).overlap = {.compute_slowdown = 1.0};
  program.compute(0, microseconds(10));
  program.message(0, 1, over(PathClass::rail, bytes(125000), kNic, microseconds(1)));
  costmodel::TimedProgram timed = program.timed();
  timed.ranks[0].slowdown_by_exchange = {3.0F, 3.0F};
  timed.meetings[0].exchange = true;
  for (const Fidelity fidelity : {Fidelity::l0, Fidelity::l1}) {
    EXPECT_TRUE(same(makespan(timed, small_cluster(2, 1), fidelity), microseconds(14.5)));
  }
}

TEST(Engine, SlowsSharedMemoryByTheComputeOfEitherEnd) {
  // 10 us of copying at 1 / 1.5 while rank 1 computes for 6 us: 4 us done, 6 us left at full speed.
  HandTimed program(2);
  for (const std::uint32_t rank : {0U, 1U}) program.rank(rank).overlap = {.comm_slowdown = 0.5};
  program.compute(1, microseconds(6));
  program.message(0, 1, over(PathClass::node, bytes(1e6), kPort));
  Cluster cluster = small_cluster(1, 2);
  cluster.groups[0].scale_up.kind = ScaleUpKind::shared_memory;
  cluster.groups[0].scale_up.per_device.reset();  // not needed: nothing flows
  EXPECT_TRUE(same(makespan(program.timed(), cluster, Fidelity::l1), microseconds(12)));
}

TEST(Engine, KeepsShortOpsExactInALongStep) {
  HandTimed program(2);
  const OpIndex first = program.compute(0, seconds(90));
  const auto sent = program.message(0, 1, over(PathClass::rail, bytes(25000), kNic), {first});
  const OpIndex last = program.compute(1, microseconds(1), {sent.second});
  const costmodel::OpTimes times = run_on_simgrid(program.timed(), small_cluster(2, 1), Fidelity::l1, true);
  EXPECT_TRUE(same(times.makespan, seconds(90.000002)));
  const Seconds message = times.ranks[0].end[sent.first] - times.ranks[0].start[sent.first];
  const Seconds compute = times.ranks[1].end[last] - times.ranks[1].start[last];
  EXPECT_NEAR(message.in(unit::microsecond), 1.0, 1e-6);
  EXPECT_NEAR(compute.in(unit::microsecond), 1.0, 1e-6);
}

TEST(Engine, SaysWhichBandwidthIsMissing) {
  HandTimed program(2);
  program.message(0, 1, over(PathClass::node, bytes(1e6), kPort));
  Cluster cluster = small_cluster(1, 2);
  cluster.groups[0].scale_up.per_device.reset();
  try {
    makespan(program.timed(), cluster, Fidelity::l1);
    FAIL() << "expected a ConfigError";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "cluster small, group small: scale_up.per_device is null; expected a bandwidth, because the program "
                 "communicates over it");
  }
  EXPECT_TRUE(same(makespan(program.timed(), cluster, Fidelity::l0), microseconds(10)));
}

TEST(Engine, ReportsAMessageThatNobodyReceivesAsABugOfOurs) {
  HandTimed program(2);
  const auto lost = program.message(0, 1, over(PathClass::rail, bytes(1e6), kNic));
  program.rank(1).meeting[lost.second] = costmodel::kNoMeeting;  // now a compute op
  EXPECT_THROW(makespan(program.timed(), small_cluster(2, 1), Fidelity::l1), InternalError);
}

}  // namespace
}  // namespace orrery::sim
