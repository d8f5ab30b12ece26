// SPDX-License-Identifier: Apache-2.0
#include "planner/placement/place_experts.h"

#include "tests/unit/planner/message_of.h"
#include "tests/unit/planner/placement/placement_plan.h"

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using orrery::testing::message_of;
using testing::placement_plan;
using testing::skewed_load;

/// Ranks 0 and 1 of the EP group, on node 0, like the last four experts, the others the first four.
LoadModel recorded_load() {
  RoutingMatrix matrix{.group = 4, .num_experts = 8, .pairs = {}};
  for (int rank = 0; rank < 4; ++rank) {
    for (int e = 0; e < 8; ++e) matrix.pairs.push_back((e < 4) == (rank < 2) ? 2 : 10 + e);
  }
  RecordedLoad load;
  for (const std::int64_t layer : {1, 2, 3}) load.matrices[{layer, 0, 0}] = load.matrices[{layer, 1, 0}] = matrix;
  return std::make_shared<const RecordedLoad>(std::move(load));
}

TEST(PlaceExperts, StartsFromTheDefaultOrderAndBeatsIt) {
  const Plan plan = placement_plan();
  const LoadModel load = skewed_load();
  const std::vector<PlacementOption> options = placement_options({.plan = plan, .load = load});
  ASSERT_EQ(options.size(), 2U);  // with equal sources nothing keeps pairs inside, so all ways come to the same
  EXPECT_TRUE(options[0].placement.is_default());
  EXPECT_NEAR(options[0].score.fullest, 16 * 4 / 24.0, 1e-6);
  EXPECT_NEAR(options[0].score.crossing, 0.5, 1e-9);
  // 9 + 1 is the least that the rank with expert 0 can have.
  EXPECT_NEAR(options[1].score.fullest, 10 * 4 / 24.0, 1e-6);
  EXPECT_NEAR(options[1].score.worst, 10 * 4 / 24.0, 1e-6);
  EXPECT_NEAR(options[1].score.crossing, 0.5, 1e-9);
  EXPECT_EQ(options[1].placement.layers.size(), 3U);
}

TEST(PlaceExperts, WeighsFullRanksAgainstPairsThatLeaveTheirNode) {
  const Plan plan = placement_plan();
  const LoadModel load = recorded_load();
  const std::vector<PlacementOption> options = placement_options({.plan = plan, .load = load});
  ASSERT_GE(options.size(), 3U);
  for (std::size_t i = 2; i < options.size(); ++i) {
    EXPECT_GE(options[i].score.fullest, options[i - 1].score.fullest);
    EXPECT_LT(options[i].score.crossing, options[i - 1].score.crossing);
  }
  EXPECT_GT(options.front().score.crossing, 0.8);
  EXPECT_LT(options.back().score.crossing, 0.2);  // the halves have changed places
}

TEST(PlaceExperts, CopiesTakeLoadOffTheFullestRank) {
  const Plan plan = placement_plan();
  const LoadModel load = skewed_load();
  const std::vector<PlacementOption> options = placement_options({.plan = plan, .load = load, .num_copies = 4});
  ASSERT_FALSE(options.empty());
  EXPECT_LT(options.front().score.fullest, 1.3);
  for (const auto& [layer, experts] : options.front().placement.layers) EXPECT_EQ(experts.size(), 12U);
}

TEST(PlaceExperts, KeepsGroupsOnNodesWhereTokensTravelByNode) {
  Plan plan = placement_plan();
  plan.model.moe->num_groups = 4;
  plan.model.moe->top_k_groups = 1;
  // Experts 0 and 2 with 6 and 7 are on four ranks, 1 and 3 with 4 and 5, if groups do not matter.
  PopularityLoad uneven;
  for (const std::int64_t layer : {1, 2, 3}) uneven.layers[layer] = {10, 6, 10, 6, 4, 4, 1, 1};
  const LoadModel load = std::make_shared<const PopularityLoad>(uneven);
  const auto most_nodes = [&] {
    std::int64_t most = 0;
    for (const PlacementOption& option : placement_options({.plan = plan, .load = load})) {
      most = std::max(most, option.score.most_nodes);
    }
    return most;
  };
  EXPECT_EQ(most_nodes(), 2);
  plan.strategy.dispatcher = Dispatcher::two_level;
  EXPECT_EQ(most_nodes(), 1);
}

TEST(PlaceExperts, SaysWhatItCannotPlace) {
  Plan plan = placement_plan();
  const auto message = [&](std::int64_t num_copies = 0) {
    return message_of([&] { static_cast<void>(shape_of(plan, num_copies)); });
  };
  EXPECT_EQ(message(3), "redundant experts: expected a multiple of the 4 ranks of an EP group, got 3");
  plan.device_of_rank = {DeviceIndex(0), DeviceIndex(2), DeviceIndex(1), DeviceIndex(3),
                         DeviceIndex(4), DeviceIndex(6), DeviceIndex(5), DeviceIndex(7)};
  EXPECT_EQ(message(), "placement: expected EP groups whose nodes have as many ranks each, one node after the other");
  plan.strategy.ep = 1;
  EXPECT_EQ(message(), "expected a plan with expert parallelism: with EP 1 a rank has all experts");
  plan.model.moe.reset();
  EXPECT_EQ(message(), "small-moe: expected a model with experts");
}

}  // namespace
}  // namespace orrery::planner
