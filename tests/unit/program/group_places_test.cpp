// SPDX-License-Identifier: Apache-2.0
#include "program/group_places.h"

#include "tests/conformance/programs.h"
#include "tests/unit/program/small_models.h"

#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// Eight nodes of four devices, each with a NIC on a rail of its own, two nodes below a leaf.
Plan plan_on_rails(std::string_view order) {
  Plan plan;
  plan.model = testing::small_moe(4);
  plan.cluster = testing::small_cluster(8, 4);
  plan.batch = {.seq = 8, .global_batch = 64};
  plan.strategy = testing::small_strategy(plan.model);
  plan.strategy.ep = 2;
  plan.strategy.order = order;
  return plan;
}

/// "ep of 2: 16 in nodes, 0 below leaves, 0 across; 1 nodes, 0 rails".
std::vector<std::string> lines_of(const Plan& plan) {
  std::vector<std::string> lines;
  for (const GroupPlaces& at : group_places(plan)) {
    lines.push_back(fmt::format("{} of {}: {} in nodes, {} below leaves, {} across; {} nodes, {} rails", at.dimension,
                                at.num_ranks, at.on_node, at.on_rail, at.on_spine, at.num_domains, at.num_rails));
  }
  return lines;
}

TEST(GroupPlaces, CountGroupsByTheirWidestPath) {
  EXPECT_THAT(lines_of(plan_on_rails("tp-cp-ep-dp-pp")),
              ElementsAre("ep of 2: 16 in nodes, 0 below leaves, 0 across; 1 nodes, 0 rails",
                          "dp of 32: 0 in nodes, 0 below leaves, 1 across; 8 nodes, 4 rails",
                          "edp of 16: 0 in nodes, 0 below leaves, 2 across; 8 nodes, 2 rails"));
  EXPECT_THAT(lines_of(plan_on_rails("tp-cp-dp-ep-pp")),
              ElementsAre("ep of 2: 0 in nodes, 0 below leaves, 16 across; 2 nodes, 1 rails",
                          "dp of 32: 0 in nodes, 0 below leaves, 1 across; 8 nodes, 4 rails",
                          "edp of 16: 0 in nodes, 0 below leaves, 2 across; 4 nodes, 4 rails"));
}

TEST(GroupPlaces, CountPairsOfNeighboursInAPipeline) {
  Plan plan = plan_on_rails("tp-cp-ep-pp-dp");
  plan.strategy = testing::small_strategy(plan.model, 4, 4);
  plan.strategy.order = "tp-cp-ep-pp-dp";
  const std::vector<std::string> side_by_side = lines_of(plan);
  EXPECT_EQ(side_by_side.back(), "pp of 4: 0 in nodes, 16 below leaves, 8 across; 2 nodes, 1 rails");
  plan.strategy.order = "pp-tp-cp-ep-dp";
  EXPECT_EQ(lines_of(plan).back(), "pp of 4: 24 in nodes, 0 below leaves, 0 across; 1 nodes, 0 rails");
}

TEST(GroupPlaces, AreThoseOfTheDevicesThatAPlanLists) {
  Plan plan = plan_on_rails("tp-cp-ep-dp-pp");
  for (const int device : {0, 4, 8, 12}) plan.device_of_rank.emplace_back(device);
  EXPECT_THAT(lines_of(plan), ElementsAre("ep of 2: 0 in nodes, 2 below leaves, 0 across; 2 nodes, 1 rails",
                                          "dp of 4: 0 in nodes, 0 below leaves, 1 across; 4 nodes, 1 rails",
                                          "edp of 2: 0 in nodes, 0 below leaves, 2 across; 2 nodes, 1 rails"));
}

TEST(GroupPlaces, LeaveOutDimensionsOfOneRank) {
  Plan plan = plan_on_rails("tp-cp-ep-dp-pp");
  plan.strategy.ep = 1;
  plan.device_of_rank = {DeviceIndex(5)};
  EXPECT_THAT(group_places(plan), IsEmpty());
}

}  // namespace
}  // namespace orrery
