// SPDX-License-Identifier: Apache-2.0
// Where pairs go, counted by hand, and what an exchange changes, against counting anew.
#include "planner/placement/placed_layer.h"

#include "base/rng.h"

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

/// Three experts; node 0 sends 10, 20, 30 pairs to them, node 1 sends 40, 50, 60.
const LayerLoad kLoad{.num_nodes = 2, .num_experts = 3, .pairs = {10, 20, 30, 40, 50, 60}};

TEST(PlacedLayer, SendsPairsToTheirOwnNodeFirst) {
  // Expert 0 has a copy on each node, expert 1 both on node 0, expert 2 one on each.
  const PlacementShape shape{.num_experts = 3, .num_positions = 6, .num_ranks = 6, .num_nodes = 2};
  const PlacedLayer placed(kLoad, shape, {0, 1, 1, 2, 0, 2});
  EXPECT_EQ(placed.rank_loads(), (std::vector<double>{10, 35, 35, 45, 40, 45}));
  EXPECT_DOUBLE_EQ(placed.crossing(), (50.0 + 30.0) / 210.0);
  EXPECT_DOUBLE_EQ(placed.fullest(), 45.0 * 6 / 210.0);
  EXPECT_EQ(placed.fullest_rank(), 3);
}

TEST(PlacedLayer, WithoutCopiesAPairLeavesItsNodeOrNot) {
  const PlacementShape shape{.num_experts = 3, .num_positions = 3, .num_ranks = 3, .num_nodes = 1};
  const LayerLoad one{.num_nodes = 1, .num_experts = 3, .pairs = {1, 2, 3}};
  EXPECT_EQ(PlacedLayer(one, shape, {2, 0, 1}).rank_loads(), (std::vector<double>{3, 1, 2}));
  EXPECT_EQ(PlacedLayer(one, shape, {2, 0, 1}).crossing(), 0.0);
}

TEST(PlacedLayer, AnExchangeIsWhatCountingAnewFinds) {
  const CounterRng rng(3, 1);
  LayerLoad load{.num_nodes = 4, .num_experts = 12, .pairs = {}};
  for (std::uint64_t i = 0; i < 48; ++i) load.pairs.push_back(static_cast<double>(rng.below(i, 100) + 1));
  const PlacementShape shape{.num_experts = 12, .num_positions = 16, .num_ranks = 8, .num_nodes = 4};
  PlacedLayer placed(load, shape, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 0});
  for (std::uint64_t i = 0; i < 200; ++i) {
    const auto a = static_cast<std::int64_t>(rng.below(1000 + i, 16)),
               b = static_cast<std::int64_t>(rng.below(2000 + i, 16));
    const double change = placed.crossing_change(a, b), before = placed.crossing();
    const std::int32_t x = placed.experts()[static_cast<std::size_t>(a)],
                       y = placed.experts()[static_cast<std::size_t>(b)];
    placed.swap(a, b);
    const PlacedLayer anew(load, shape, placed.experts());
    EXPECT_NEAR(placed.crossing(), anew.crossing(), 1e-12);
    for (std::size_t rank = 0; rank < 8; ++rank) EXPECT_NEAR(placed.rank_loads()[rank], anew.rank_loads()[rank], 1e-9);
    const bool are_alone = placed.num_copies(x) == 1 && placed.num_copies(y) == 1;
    EXPECT_NEAR(are_alone ? placed.crossing() - before : change, change, 1e-12);
  }
}

TEST(PlacedLayer, CountsTheNodesThatATokenCanReach) {
  const LayerLoad load{.num_nodes = 2, .num_experts = 4, .pairs = {1, 1, 1, 1, 1, 1, 1, 1}};
  const PlacementShape shape{.num_experts = 4, .num_positions = 4, .num_ranks = 2, .num_nodes = 2};
  EXPECT_EQ(PlacedLayer(load, shape, {0, 1, 2, 3}).most_nodes(2, 1, 2), 1);
  EXPECT_EQ(PlacedLayer(load, shape, {0, 2, 1, 3}).most_nodes(2, 1, 2), 2);
  EXPECT_EQ(PlacedLayer(load, shape, {0, 2, 1, 3}).most_nodes(2, 1, 1), 1);
  EXPECT_EQ(PlacedLayer(load, shape, {0, 1, 2, 3}).most_nodes(1, 1, 4), 2);
}

}  // namespace
}  // namespace orrery::planner
