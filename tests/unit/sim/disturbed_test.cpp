// SPDX-License-Identifier: Apache-2.0
// Steps that are disturbed, on SimGrid: links that change under communications, and what the report of a step says that
// cannot end.
#include "base/errors.h"
#include "sim/engine.h"
#include "sim/link_changes.h"
#include "tests/conformance/programs.h"

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using orrery::testing::NanosecondPerByte;
using orrery::testing::ProgramBuilder;
using orrery::testing::small_cluster;
using ::testing::HasSubstr;

/// A message of 1 MB from node 0 to node 1 (5 us and 40 us), then 100 us of compute.
ProgramBuilder message() {
  ProgramBuilder builder(2, 1);
  builder.send_next(0, 1000000);
  builder.compute(1, microseconds(100), {builder.recv_prev(1, 1000000)});
  return builder;
}

double step(const ProgramBuilder& builder, const Disturbances& disturbances, Fidelity fidelity = Fidelity::l1,
            const Cluster& cluster = small_cluster(2, 1)) {
  const auto timed =
      time_program(builder.program(), NanosecondPerByte(cluster), cluster, {}, {.disturbances = disturbances});
  return run_on_simgrid(timed, cluster, fidelity, false).makespan.in(unit::microsecond);
}

TEST(Disturbed, ASlowLinkHoldsUpWhatIsOnIt) {
  for (const Fidelity fidelity : {Fidelity::l1, Fidelity::l3}) {
    EXPECT_NEAR(step(message(), {}, fidelity), 145.0, 1e-6);
    EXPECT_NEAR(step(message(), {.links = {{.node = 1, .left = 0.5}}}, fidelity), 185.0, 1e-6);
    // At half speed from 25 us, when half has arrived, to 35 us: a quarter is left for 10 us.
    EXPECT_NEAR(
        step(message(), {.links = {{.node = 0, .left = 0.5, .when = {microseconds(25), microseconds(35)}}}}, fidelity),
        150.0, 1e-6);
  }
}

TEST(Disturbed, AnUplinkThatNeverBindsCanWhenItIsSlow) {
  // Uplinks of 50 GB/s below NICs of 25; a quarter of them is left. Stage 1 is below the other leaf.
  const std::vector<DeviceIndex> places = {DeviceIndex(0), DeviceIndex(2)};
  const Cluster cluster = small_cluster(4, 1);
  const ProgramBuilder builder = message();
  const Disturbances slow{.links = {{.link = LinkClass::uplink, .node = 0, .left = 0.25}}};
  for (const auto& [disturbances, expected] : {std::pair{Disturbances(), 145.0}, std::pair{slow, 185.0}}) {
    const auto timed =
        time_program(builder.program(), NanosecondPerByte(cluster), cluster, places, {.disturbances = disturbances});
    EXPECT_NEAR(run_on_simgrid(timed, cluster, Fidelity::l1, false).makespan.in(unit::microsecond), expected, 1e-6);
  }
}

/// Two ranks on each of two nodes; both of the first send 1 MB to the second, over two NICs of 25 GB/s.
ProgramBuilder two_messages() {
  ProgramBuilder builder(2, 2);
  builder.send_next(0, 1000000);
  builder.recv_prev(1, 1000000);
  return builder;
}

TEST(Disturbed, WhatANicCarriedThatIsDownTakesAnotherOfTheNode) {
  const Cluster cluster = small_cluster(2, 2);
  for (const Fidelity fidelity : {Fidelity::l1, Fidelity::l2, Fidelity::l3}) {
    EXPECT_NEAR(step(two_messages(), {}, fidelity, cluster), 45.0, 1e-6);
    EXPECT_NEAR(step(two_messages(), {.links = {{.node = 0, .nic = 1}}}, fidelity, cluster), 85.0, 1e-6);
    // From 25 us on, when half has gone, until 45 us, when another quarter has.
    EXPECT_NEAR(step(two_messages(), {.links = {{.node = 1, .when = {microseconds(25), microseconds(45)}, .nic = 0}}},
                     fidelity, cluster),
                55.0, 1e-6);
    // Without another there is no way.
    EXPECT_THROW(step(two_messages(), {.links = {{.node = 0, .nic = 0}, {.node = 0, .nic = 1}}}, fidelity, cluster),
                 BackendError);
  }
}

TEST(Disturbed, TheReportSaysWhichTrafficTakesAnotherWay) {
  const Cluster cluster = small_cluster(2, 2);
  EXPECT_THAT(
      detours({.links = {{.node = 0, .when = {.from = microseconds(25)}, .nic = 1},
                         {.node = 1, .left = 0.5, .nic = 0},
                         {.link = LinkClass::uplink, .node = 0, .uplink = 0}}},
              cluster),
      ::testing::ElementsAre("NIC 1 of node 0 is down from 25.0 us on: its traffic takes the other NICs of the node, "
                             "50 % are left",
                             "uplink 0 of leaf 0 is down from 0 s on: its traffic takes the other uplinks of the "
                             "leaf, 75 % are left"));
  EXPECT_THAT(detours({.links = {{.node = 0}, {.node = 1, .nic = 0}, {.node = 1, .nic = 1}}}, cluster),
              ::testing::IsEmpty());
}

TEST(Disturbed, ALinkThatComesBackLetsTheRestThrough) {
  EXPECT_NEAR(step(message(), {.links = {{.node = 0, .when = {microseconds(25), microseconds(500)}}}}), 620.0, 1e-6);
}

TEST(Disturbed, WhatHappensAfterTheStepDoesNotMatter) {
  EXPECT_NEAR(step(message(), {.links = {{.node = 0, .when = {seconds(1), {}}}}}), 145.0, 1e-6);
}

TEST(Disturbed, TrafficOfOthersTakesItsPart) {
  EXPECT_NEAR(step(message(), {.traffic = {{.from_node = 0, .to_node = 1, .rate = bytes_per_second(5e9)}}}), 155.0,
              1e-6);
  EXPECT_NEAR(step(message(), {.traffic = {{.from_node = 1, .to_node = 0, .rate = bytes_per_second(5e9)}}}), 145.0,
              1e-6);
}

TEST(Disturbed, AStepThatCannotEndSaysWhatWaits) {
  try {
    step(message(), {.links = {{.node = 1, .when = {microseconds(10), {}}}}});
    FAIL() << "expected a BackendError";
  } catch (const BackendError& error) {
    EXPECT_THAT(error.what(), HasSubstr("nothing moves, and these links are down: node1.nic.in, node1.nic.out\n"));
    EXPECT_THAT(error.what(), HasSubstr("pp.send_act waits since 5.00 us on ranks 0, 1\n"));
    EXPECT_THAT(error.what(), HasSubstr("3 ops have not ended"));
  }
}

TEST(Disturbed, AStepThatCannotEndCountsTheRanksThatAreStoodFor) {
  // Eight ranks of which each node's first two stand for all; the uplinks are down.
  ProgramBuilder builder(1, 8);
  builder.all_reduce(0, Queue::world, Group::world, 1000000);
  Cluster cluster = small_cluster(4, 2);
  cluster.fabric.nodes_per_leaf = 1;
  Disturbances down;
  for (const std::int64_t node : {0, 1, 2, 3}) down.links.push_back({.node = node});
  const auto timed = time_program(builder.program(), NanosecondPerByte(cluster), cluster, {}, {.disturbances = down});
  ASSERT_LT(timed.ranks.size(), 8);
  try {
    run_on_simgrid(timed, cluster, Fidelity::l1, false);
    FAIL() << "expected a BackendError";
  } catch (const BackendError& error) {
    EXPECT_THAT(error.what(), HasSubstr(", each for all that do the same: 8 ranks\n"));
  }
}

TEST(Disturbed, AStragglerHoldsUpThoseWhoMeetIt) {
  // Two stages of four ranks; rank 2 takes twice as long, and the ranks that sum gradients with it wait.
  ProgramBuilder builder(2, 4);
  for (const std::int64_t stage : {0, 1}) {
    const OpIndex computed = builder.compute(stage, microseconds(50));
    builder.all_reduce(stage, Queue::dp, Group::dp, 1000000, {computed});
  }
  const Cluster cluster = small_cluster(8, 1);
  const double alone = step(builder, {}, Fidelity::l1, cluster);
  EXPECT_NEAR(step(builder, {.stragglers = {{.rank = 2, .factor = 2.0}}}, Fidelity::l1, cluster), alone + 50.0, 1e-6);
}

}  // namespace
}  // namespace orrery::sim
