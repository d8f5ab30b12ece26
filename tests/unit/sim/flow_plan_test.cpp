// SPDX-License-Identifier: Apache-2.0
#include "sim/flow_plan.h"

#include "sim/sends.h"
#include "tests/unit/sim/hand_timed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using costmodel::PathClass;
using orrery::testing::HandTimed;
using orrery::testing::over;
using orrery::testing::small_cluster;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const BytesPerSecond kRate = bytes_per_second(1e9);

bool uses(const FlowPlan& plan, PathClass path) { return plan.used[static_cast<std::size_t>(path)]; }

struct Flow {
  int from = 0, to = 0;
  Bytes size;
  BytesPerSecond cap;
  double weight = 1.0;
};

std::vector<Flow> flows_of_first(HandTimed& program, const Cluster& cluster) {
  const FlowPlan plan = plan_flows(program.timed(), cluster, Fidelity::l1);
  SendMaker maker(program.timed(), plan);
  const Sends& sends = maker.of(0);
  std::vector<Flow> flows;
  for (const Sends::Entry& entry : sends.entries) {
    for (const Part& part : sends.parts_of(entry)) {
      flows.push_back({.from = static_cast<int>(entry.send.from),
                       .to = static_cast<int>(part.to),
                       .size = part.size,
                       .cap = entry.send.cap,
                       .weight = entry.send.weight});
    }
  }
  return flows;
}

/// Of as many members, each with a megabyte at 1 GB/s.
MATCHER_P3(is_flow, from, to, members, "") {
  return arg.from == from && arg.to == to && arg.size == bytes(members * 1e6) &&
         arg.cap == bytes_per_second(members * 1e9) && arg.weight == members;
}

TEST(FlowPlan, LoadsBothDirectionsOfEachNodeWithWhatItSends) {
  HandTimed program(5, {0, 1, 2, 4, 5});  // two on node 0, one on node 1, two on node 2
  program.collective({0, 1, 2, 3, 4}, over(PathClass::rail, bytes(1e6), kRate));
  EXPECT_THAT(flows_of_first(program, small_cluster(3, 2)),
              ElementsAre(is_flow(0, 0, 2), is_flow(1, 1, 1), is_flow(2, 2, 2)));
}

TEST(FlowPlan, ShowsPairsWhereGroupsMeetOnCablesAndNobodyAskedForLess) {
  Cluster cluster = small_cluster(4, 1);
  Fidelities asked;
  EXPECT_FALSE(prefer_pairs(asked, cluster));
  EXPECT_EQ(asked, Fidelities());
  cluster.fabric = {.kind = FabricKind::torus, .dimensions = {4}};
  EXPECT_TRUE(prefer_pairs(asked, cluster));
  EXPECT_EQ(asked, Fidelities(Fidelity::l2));
  for (Fidelities said : {Fidelities(Fidelity::l0), Fidelities(Fidelity::l1, {{OpCode::moe_dispatch, Fidelity::l3}})}) {
    const Fidelities before = said;
    EXPECT_FALSE(prefer_pairs(said, cluster));
    EXPECT_EQ(said, before);
  }
}

TEST(FlowPlan, LeavesWhatStaysBelowALeafOutOfUplinksThatCanBeFull) {
  HandTimed program(4);  // a ring through two leaves of two nodes: every second hop leaves one
  program.collective({0, 1, 2, 3}, over(PathClass::spine, bytes(1e6), kRate));
  Cluster cluster = small_cluster(4, 1);
  EXPECT_FALSE(uses(plan_flows(program.timed(), cluster, Fidelity::l1), PathClass::rail));
  cluster.fabric.oversubscription = 2.0;
  const FlowPlan plan = plan_flows(program.timed(), cluster, Fidelity::l1);
  EXPECT_TRUE(uses(plan, PathClass::rail));
  SendMaker maker(program.timed(), plan);
  const Sends& sends = maker.of(0);
  ASSERT_EQ(sends.entries.size(), 4);
  for (const Sends::Entry& entry : sends.entries) {
    const auto parts = sends.parts_of(entry);
    ASSERT_EQ(parts.size(), 2);
    EXPECT_EQ(entry.send.at_once, 3);
    EXPECT_EQ(parts[0].path, PathClass::rail);
    EXPECT_EQ(parts[1].path, PathClass::spine);
    for (const Part& part : parts) {
      EXPECT_EQ(part.size, bytes(0.5e6));
      EXPECT_EQ(part.weight, 0.5);
    }
  }
}

TEST(FlowPlan, NeedsEveryRankForPairsBelowUplinksThatCanBeFull) {
  Cluster cluster = small_cluster(4, 2);  // two nodes below a leaf
  const Fidelities pairs(Fidelity::l1, {{OpCode::moe_dispatch, Fidelity::l3}});
  EXPECT_FALSE(need_every_rank(pairs, cluster, false));
  EXPECT_TRUE(need_every_rank(pairs, cluster, true));
  cluster.fabric.oversubscription = 2.0;
  EXPECT_TRUE(need_every_rank(pairs, cluster, false));
  EXPECT_FALSE(need_every_rank(Fidelity::l1, cluster, true));
  cluster.fabric.nodes_per_leaf = 1;
  EXPECT_FALSE(need_every_rank(pairs, cluster, false));
}

TEST(FlowPlan, NeedsEveryRankForPairsWithRoutesOfTheirOwn) {
  Cluster cluster = small_cluster(4, 2);
  cluster.fabric.nodes_per_leaf = 1;
  EXPECT_FALSE(need_every_rank(Fidelity::l2, cluster, false));
  EXPECT_TRUE(need_every_rank(Fidelity::l2, cluster, false, true));
  EXPECT_FALSE(need_every_rank(Fidelity::l1, cluster, false, true));
  cluster.fabric = {.kind = FabricKind::torus, .dimensions = {4}};
  EXPECT_TRUE(need_every_rank(Fidelity::l2, cluster, false));
}

TEST(FlowPlan, KeepsTrafficWithinNodesOnThem) {
  HandTimed program(4);
  program.collective({0, 1, 2, 3}, over(PathClass::node, bytes(1e6), kRate));
  EXPECT_THAT(flows_of_first(program, small_cluster(2, 2)), ElementsAre(is_flow(0, 0, 2), is_flow(1, 1, 2)));
}

TEST(FlowPlan, LetsAFoldedGroupSendToItself) {
  HandTimed program(1);
  program.rank(0).represents = 64;
  program.rank(0).represents_on_node = 8;
  program.collective({0}, over(PathClass::spine, bytes(1e6), kRate));
  EXPECT_THAT(flows_of_first(program, small_cluster(8, 8)), ElementsAre(is_flow(0, 0, 8)));
}

TEST(FlowPlan, SendsAMessageToItsReceiver) {
  HandTimed program(2, {2, 0});
  program.rank(0).represents_on_node = 2;
  program.message(0, 1, over(PathClass::rail, bytes(1e6), kRate));
  EXPECT_THAT(flows_of_first(program, small_cluster(2, 2)), ElementsAre(is_flow(1, 0, 2)));
}

TEST(FlowPlan, CarriesInOneFlowWhatANodeSendsWhateverItsMembers) {
  HandTimed program(2);
  program.rank(0).represents_on_node = 4;
  program.rank(1).represents_on_node = 6;
  program.message(0, 1, over(PathClass::rail, bytes(1e6), kRate));
  program.message(1, 0, over(PathClass::rail, bytes(1e6), kRate));
  EXPECT_THAT(flows_of_first(program, small_cluster(2, 1)), ElementsAre(is_flow(0, 1, 4)));
  const FlowPlan plan = plan_flows(program.timed(), small_cluster(2, 1), Fidelity::l1);
  EXPECT_EQ(plan.sites[0].num_lanes, 2);  // one for each of its two queues
  EXPECT_EQ(plan.sites[1].num_lanes, 2);
}

TEST(FlowPlan, HasNoFlowForALegWithoutBytes) {
  HandTimed program(2);
  program.collective({0, 1}, over(PathClass::rail, Bytes::zero(), kRate));
  EXPECT_THAT(flows_of_first(program, small_cluster(2, 1)), IsEmpty());
}

TEST(FlowPlan, GivesANodeOneLaneForEachFlowOfItsRanks) {
  HandTimed program(3);  // ranks 0 and 1 on node 0
  program.collective({0, 1, 2}, over(PathClass::rail, bytes(1e6), kRate));
  program.collective({0, 1}, over(PathClass::node, bytes(1e6), kRate));
  program.collective({0, 1}, over(PathClass::node, bytes(1e6), kRate), {}, Queue::ep);
  const FlowPlan plan = plan_flows(program.timed(), small_cluster(2, 2), Fidelity::l1);
  EXPECT_THAT(plan.site_of_rank, ElementsAre(0, 0, 1));
  ASSERT_EQ(plan.sites.size(), 2);
  EXPECT_EQ(plan.sites[0].num_lanes, 4);
  EXPECT_EQ(plan.sites[1].num_lanes, 1);
  EXPECT_TRUE(uses(plan, PathClass::node));
  EXPECT_TRUE(uses(plan, PathClass::rail));
  EXPECT_FALSE(uses(plan, PathClass::spine));
}

TEST(FlowPlan, LeavesEverythingInClosedFormAtL0) {
  HandTimed program(2);
  program.collective({0, 1}, over(PathClass::rail, bytes(1e6), kRate));
  const FlowPlan plan = plan_flows(program.timed(), small_cluster(2, 1), Fidelity::l0);
  EXPECT_THAT(plan.fidelity, ElementsAre(Fidelity::l0));
  EXPECT_FALSE(uses(plan, PathClass::rail));
}

TEST(FlowPlan, LeavesSharedMemoryInClosedForm) {
  HandTimed program(4);
  program.collective({0, 1}, over(PathClass::node, bytes(1e6), kRate));
  program.collective({0, 2}, over(PathClass::rail, bytes(1e6), kRate));
  Cluster cluster = small_cluster(2, 2);
  cluster.groups[0].scale_up.kind = ScaleUpKind::shared_memory;
  EXPECT_THAT(plan_flows(program.timed(), cluster, Fidelity::l1).fidelity, ElementsAre(Fidelity::l0, Fidelity::l1));
}

TEST(FlowPlan, LeavesWhatComputeSlowsDownInClosedForm) {
  HandTimed program(3);
  program.rank(0).overlap.comm_slowdown = 0.1;
  program.collective({0, 1}, over(PathClass::rail, bytes(1e6), kRate));
  program.collective({1, 2}, over(PathClass::rail, bytes(1e6), kRate));
  EXPECT_THAT(plan_flows(program.timed(), small_cluster(3, 1), Fidelity::l1).fidelity,
              ElementsAre(Fidelity::l0, Fidelity::l1));
}

}  // namespace
}  // namespace orrery::sim
