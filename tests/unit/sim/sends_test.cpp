// SPDX-License-Identifier: Apache-2.0
#include "sim/sends.h"

#include "tests/conformance/programs.h"
#include "tests/unit/sim/hand_timed.h"

#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using orrery::testing::NanosecondPerByte;
using orrery::testing::ProgramBuilder;
using orrery::testing::small_cluster;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

/// Bytes by "from > to", a node by its number, a device as "node.device".
std::map<std::string, double> flows_of(const ProgramBuilder& builder, const Cluster& cluster,
                                       const Fidelities& fidelities, const RunInput& input = {}) {
  const costmodel::TimedProgram timed = time_program(builder.program(), NanosecondPerByte(cluster), cluster, {}, input);
  const FlowPlan plan = plan_flows(timed, cluster, fidelities);
  SendMaker maker(timed, plan);
  const Sends& sends = maker.of(0);
  const auto name_of = [&](SiteIndex index) {
    const Site& site = plan.sites[index];
    return std::to_string(site.node) + (site.device ? "." + std::to_string(*site.device) : "");
  };
  std::map<std::string, double> flows;
  for (const Sends::Entry& entry : sends.entries) {
    for (const Part& part : sends.parts_of(entry)) {
      flows[name_of(entry.send.from) + " > " + name_of(part.to)] += part.size.in(unit::byte);
    }
  }
  return flows;
}

/// An exchange among four ranks on two nodes of two devices: each sends 3000 bytes to others, all of it counted on the
/// NICs by the cost model of the tests.
ProgramBuilder exchange() {
  ProgramBuilder builder(1, 4, 4);
  builder.dispatch(0, 4, 1000);
  return builder;
}

TEST(Sends, ArePairsOfNodesAtL2) {
  EXPECT_THAT(flows_of(exchange(), small_cluster(2, 2), Fidelity::l2, {.all_ranks = true}),
              ElementsAre(Pair("0 > 1", 6000), Pair("1 > 0", 6000)));
}

TEST(Sends, ArePairsOfDevicesAtL3) {
  EXPECT_THAT(
      flows_of(exchange(), small_cluster(2, 2), Fidelity::l3, {.all_ranks = true}),
      ElementsAre(Pair("0.0 > 1.0", 1500), Pair("0.0 > 1.1", 1500), Pair("0.1 > 1.0", 1500), Pair("0.1 > 1.1", 1500),
                  Pair("1.0 > 0.0", 1500), Pair("1.0 > 0.1", 1500), Pair("1.1 > 0.0", 1500), Pair("1.1 > 0.1", 1500)));
}

TEST(Sends, StayOnTheNodeThatStandsForAll) {
  EXPECT_THAT(flows_of(exchange(), small_cluster(2, 2), Fidelity::l2), ElementsAre(Pair("0 > 0", 6000)));
  EXPECT_THAT(
      flows_of(exchange(), small_cluster(2, 2), Fidelity::l3),
      ElementsAre(Pair("0.0 > 0.0", 1500), Pair("0.0 > 0.1", 1500), Pair("0.1 > 0.0", 1500), Pair("0.1 > 0.1", 1500)));
}

TEST(Sends, OfTwoGroupsOnANodeAreThoseOfBoth) {
  ProgramBuilder builder(1, 8, 4);  // nodes of four devices; each exchange is between two devices of either node
  builder.dispatch(0, 4, 1000);
  const Cluster cluster = small_cluster(4, 2);
  EXPECT_THAT(flows_of(builder, cluster, Fidelity::l2), ElementsAre(Pair("0 > 0", 6000)));
}

TEST(Sends, GoToTheReceiverFromEachDeviceThatTheSenderStandsFor) {
  ProgramBuilder builder(2, 2);
  builder.send_next(0, 5000);
  builder.recv_prev(1, 5000);
  EXPECT_THAT(flows_of(builder, small_cluster(2, 2), Fidelity::l3),
              ElementsAre(Pair("0.0 > 1.0", 5000), Pair("0.1 > 1.1", 5000)));
  EXPECT_THAT(flows_of(builder, small_cluster(2, 2), Fidelity::l2), ElementsAre(Pair("0 > 1", 10000)));
}

TEST(Sends, FollowTheRouter) {
  // Rank 3 has the experts that all want: the NIC of rank 3 carries what the cost model says, the others less.
  RoutingMatrix routing{.group = 4, .num_experts = 8, .pairs = std::vector<double>(32, 0.0)};
  for (std::size_t source = 0; source < 4; ++source) {
    routing.pairs[source * 8 + 7] = 3.0;
    routing.pairs[source * 8 + 2] = 1.0;
  }
  auto load = std::make_shared<RecordedLoad>();
  load->matrices[{0, 0, 0}] = routing;
  const RunInput input{.load = std::shared_ptr<const RecordedLoad>(load)};
  const auto dispatched = flows_of(exchange(), small_cluster(2, 2), Fidelity::l3, input);
  // The cost model of the tests counts what the busiest sender sends: 4000 bytes, which stand for what rank 3 takes in.
  EXPECT_THAT(dispatched, ElementsAre(Pair("0.0 > 1.1", 2000), Pair("0.1 > 1.1", 2000), Pair("1.0 > 0.1", 667),
                                      Pair("1.1 > 0.1", 667)));
  // On the way back that is rank 3, with 9000.
  ProgramBuilder back(1, 4, 4);
  back.combine(0, 4, 1000);
  EXPECT_THAT(
      flows_of(back, small_cluster(2, 2), Fidelity::l3, input),
      ElementsAre(Pair("0.1 > 1.0", 1500), Pair("0.1 > 1.1", 1500), Pair("1.1 > 0.0", 4500), Pair("1.1 > 0.1", 4500)));
}

TEST(FlowPlan, RunsWhatCannotBeShownInPairsAtL1) {
  // A group of two ranks of different nodes at different places: its node cannot stand for the other one.
  ProgramBuilder builder(1, 4, 2);
  builder.dispatch(0, 4, 1000);
  const Cluster cluster = small_cluster(2, 4);
  const std::vector<DeviceIndex> devices = {DeviceIndex(0), DeviceIndex(5), DeviceIndex(1), DeviceIndex(6)};
  const auto timed = time_program(builder.program(), NanosecondPerByte(cluster), cluster, devices, {});
  EXPECT_THAT(plan_flows(timed, cluster, Fidelity::l3).fidelity, ElementsAre(Fidelity::l1));
  const auto full = time_program(builder.program(), NanosecondPerByte(cluster), cluster, devices, {.all_ranks = true});
  EXPECT_THAT(plan_flows(full, cluster, Fidelity::l3).fidelity, ElementsAre(Fidelity::l3, Fidelity::l3));
}

TEST(FlowPlan, TakesTheFidelityOfEachOp) {
  ProgramBuilder builder(1, 4, 4);
  builder.dispatch(0, 4, 1000);
  builder.all_reduce(0, Queue::dp, Group::dp, 4000);
  const Cluster cluster = small_cluster(2, 2);
  const auto timed = time_program(builder.program(), NanosecondPerByte(cluster), cluster, {}, {});
  const FlowPlan plan = plan_flows(timed, cluster, Fidelities(Fidelity::l0, {{OpCode::moe_dispatch, Fidelity::l3}}));
  EXPECT_THAT(plan.fidelity, ElementsAre(Fidelity::l3, Fidelity::l0));
}

}  // namespace
}  // namespace orrery::sim
