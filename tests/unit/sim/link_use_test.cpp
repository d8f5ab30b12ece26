// SPDX-License-Identifier: Apache-2.0
#include "sim/link_use.h"

#include "sim/engine.h"
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
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

const BytesPerSecond kNic = bytes_per_second(25e9);

StepDates dates_of(const costmodel::TimedProgram& timed, const Cluster& cluster, Fidelity fidelity) {
  const SimulatedJob job{&timed, fidelity};
  return run_jobs({&job, 1}, cluster, true).dates;
}

UseOfLinks use_of(HandTimed& program, const Cluster& cluster, Fidelity fidelity = Fidelity::l1) {
  return use_of_links(program.timed(), cluster, fidelity, dates_of(program.timed(), cluster, fidelity));
}

MATCHER_P4(is_link, name, megabytes, mean, peak, "") {
  return arg.name == name && arg.size == bytes(megabytes * 1e6) && std::abs(arg.mean - mean) < 1e-9 &&
         std::abs(arg.peak - peak) < 1e-9;
}

TEST(LinkUse, OfAMessageIsOneLinkEachWay) {
  HandTimed program(2);  // 10 us of compute, then 1 MB in 40 us
  const OpIndex compute = program.compute(0, microseconds(10));
  program.message(0, 1, over(PathClass::rail, bytes(1e6), kNic), {compute});
  const UseOfLinks use = use_of(program, small_cluster(2, 1));
  EXPECT_THAT(use.links, ElementsAre(is_link("node0.nic.out", 1, 0.8, 1), is_link("node1.nic.in", 1, 0.8, 1)));
  EXPECT_NEAR(use.slice.in(unit::microsecond), 0.05, 1e-12);
  ASSERT_THAT(use.classes, ElementsAre(Field(&UseOfLinks::Class::name, "NIC")));
  ASSERT_EQ(use.classes[0].track.size(), 1000);
  EXPECT_NEAR(use.classes[0].track[199], 0.0, 1e-9);
  EXPECT_NEAR(use.classes[0].track[201], 1.0, 1e-9);
}

TEST(LinkUse, OfAWayAcrossTheSpineIsNicsAndUplinks) {
  HandTimed program(2, {0, 2});
  program.message(0, 1, over(PathClass::spine, bytes(1e6), kNic, microseconds(40)));
  Cluster cluster = small_cluster(4, 1);  // leaves of two nodes
  EXPECT_THAT(use_of(program, cluster).links,
              UnorderedElementsAre(is_link("node0.nic.out", 1, 0.5, 1), is_link("leaf0.uplink.out", 1, 0.25, 0.5),
                                   is_link("node2.nic.in", 1, 0.5, 1), is_link("leaf1.uplink.in", 1, 0.25, 0.5)));
  cluster.fabric.oversubscription = 8.0;  // 40 us of latency, then 160 us at a quarter of the NIC's rate
  EXPECT_THAT(use_of(program, cluster).links,
              ElementsAre(is_link("leaf0.uplink.out", 1, 0.8, 1), is_link("leaf1.uplink.in", 1, 0.8, 1),
                          is_link("node0.nic.out", 1, 0.2, 0.25), is_link("node2.nic.in", 1, 0.2, 0.25)));
}

TEST(LinkUse, AddsUpCommunicationsThatShareALink) {
  HandTimed program(2);  // both devices of a node, twice at once
  program.collective({0, 1}, over(PathClass::node, bytes(1e6), bytes_per_second(100e9)));
  program.collective({0, 1}, over(PathClass::node, bytes(1e6), bytes_per_second(100e9)), {}, Queue::ep);
  const UseOfLinks use = use_of(program, small_cluster(2, 2));
  EXPECT_THAT(use.links, ElementsAre(is_link("node0.scale_up.out", 4, 1, 1), is_link("node0.scale_up.in", 4, 1, 1)));
  EXPECT_THAT(use.classes.at(0).track, Each(::testing::DoubleNear(1.0, 1e-9)));
}

TEST(LinkUse, IsNeverMoreThanTheLinkHas) {
  HandTimed program(4);  // the second begins while the first is under way, on the same NICs
  const OpIndex wait = program.compute(1, microseconds(20));
  program.message(0, 2, over(PathClass::rail, bytes(2e6), kNic * 2.0));
  program.message(1, 3, over(PathClass::rail, bytes(1e6), kNic * 2.0), {wait});
  const UseOfLinks use = use_of(program, small_cluster(2, 2));
  EXPECT_THAT(use.links, Each(Field(&LinkUse::peak, ::testing::Le(1.0))));
  EXPECT_THAT(use.links, Each(Field(&LinkUse::mean, ::testing::Le(1.0 + 1e-12))));
  // 2 MB within 120 us, and beside them 1 MB within 80 us: 16.7 and 12.5 GB/s on a link of 25.
  EXPECT_NEAR(use.fullest, 29.17 / 25.0, 1e-3);
  ASSERT_THAT(use.classes, ElementsAre(Field(&UseOfLinks::Class::name, "NIC")));
  EXPECT_GT(use.classes[0].cut, 0.0);
}

TEST(LinkUse, IsOfWhatIsLeftOfALink) {
  // 1 MB at a quarter of the NIC's 25 GB/s: full for all of the 160 us that it takes.
  HandTimed program(2);
  program.message(0, 1, over(PathClass::rail, bytes(1e6), kNic));
  costmodel::TimedProgram timed = program.timed();
  timed.disturbances.links = {{.node = 0, .left = 0.25}};
  const Cluster cluster = small_cluster(2, 1);
  const auto use = [&] { return use_of_links(timed, cluster, Fidelity::l1, dates_of(timed, cluster, Fidelity::l1)); };
  EXPECT_THAT(use().links, ElementsAre(is_link("node0.nic.out", 1, 1, 1), is_link("node1.nic.in", 1, 0.25, 0.25)));
  // Half a megabyte in 20 us, then the rest at half the rate: 1 MB of the 1.5 MB that the NIC had at first.
  timed.disturbances.links = {{.node = 0, .left = 0.5, .when = {.from = microseconds(20)}}};
  EXPECT_NEAR(use().links.front().mean, 1.0, 1e-9);
}

TEST(LinkUse, OfClosedFormsIsUnknown) {
  HandTimed program(2);
  program.message(0, 1, over(PathClass::rail, bytes(1e6), kNic));
  EXPECT_THAT(use_of(program, small_cluster(2, 1), Fidelity::l0).links, IsEmpty());
}

}  // namespace
}  // namespace orrery::sim
