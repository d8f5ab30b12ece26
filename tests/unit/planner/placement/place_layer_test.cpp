// SPDX-License-Identifier: Apache-2.0
// Placements of one layer against all that there are, and what the two wishes make of each other.
#include "planner/placement/place_layer.h"

#include "base/rng.h"
#include "planner/placement/grouped_greedy.h"
#include "tests/unit/planner/placement/exact_packing.h"

#include <set>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

/// Loads that are far from equal: exponents of normal variates, whole numbers.
LayerLoad random_load(std::uint64_t seed, std::int64_t num_nodes, std::int64_t num_experts) {
  const CounterRng rng(7, seed);
  LayerLoad load{.num_nodes = num_nodes, .num_experts = num_experts, .pairs = {}};
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(num_nodes * num_experts); ++i) {
    load.pairs.push_back(std::round(100.0 * std::exp(rng.normal(i))));
  }
  return load;
}

std::vector<double> loads_of(const LayerLoad& load) {
  std::vector<double> loads;
  for (std::int64_t e = 0; e < load.num_experts; ++e) loads.push_back(load.of(e));
  return loads;
}

TEST(PlaceLayer, IsCloseToTheBestThereIs) {
  struct {
    std::int64_t num_experts, num_ranks;
  } cases[] = {{8, 2}, {8, 4}, {9, 3}, {12, 2}, {12, 3}, {12, 4}, {12, 6}};
  double sum = 0.0, largest = 0.0, sum_of_greedy = 0.0, largest_of_greedy = 0.0;
  int num_cases = 0, num_exact = 0;
  for (const auto& c : cases) {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
      const LayerLoad load = random_load(seed, 1, c.num_experts);
      const PlacementShape shape{
          .num_experts = c.num_experts, .num_positions = c.num_experts, .num_ranks = c.num_ranks};
      const double best = testing::ExactPacking(loads_of(load), static_cast<std::size_t>(c.num_ranks)).fullest() *
                          static_cast<double>(c.num_ranks) / load.total();
      const double gap = PlacedLayer(load, shape, place_layer(load, shape, 0.0)).fullest() / best - 1.0;
      const double of_greedy = PlacedLayer(load, shape, grouped_greedy(loads_of(load), shape)).fullest() / best - 1.0;
      EXPECT_GE(gap, -1e-12);
      EXPECT_LE(gap, of_greedy + 1e-12);
      sum += gap, largest = std::max(largest, gap), ++num_cases;
      sum_of_greedy += of_greedy, largest_of_greedy = std::max(largest_of_greedy, of_greedy);
      if (gap < 1e-9) ++num_exact;
    }
  }
  // What was measured, which the design page states; the greedy alone is off by 0.65 % in the mean, 10.3 % at most.
  EXPECT_EQ(num_cases, 280);
  EXPECT_GE(num_exact, 255);
  EXPECT_LE(sum / num_cases, 0.0007);
  EXPECT_LE(largest, 0.03);
  EXPECT_NEAR(sum_of_greedy / num_cases, 0.0065, 5e-5);
  EXPECT_NEAR(largest_of_greedy, 0.1033, 5e-5);
}

/// Node n sends most pairs to the experts that are n modulo the nodes.
LayerLoad load_with_homes(std::int64_t num_nodes, std::int64_t num_experts) {
  LayerLoad load{.num_nodes = num_nodes, .num_experts = num_experts, .pairs = {}};
  for (std::int64_t node = 0; node < num_nodes; ++node) {
    for (std::int64_t e = 0; e < num_experts; ++e) {
      load.pairs.push_back(static_cast<double>((e % num_nodes == node ? 80 : 10) + e));
    }
  }
  return load;
}

TEST(PlaceLayer, MoreWeightOnNodesNeverSendsMorePairsAway) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const LayerLoad load = random_load(seed, 4, 32);
    const PlacementShape shape{.num_experts = 32, .num_positions = 32, .num_ranks = 8, .num_nodes = 4};
    double crossing = 1.0;
    for (const double weight : {0.0, 0.5, 4.0}) {
      const PlacedLayer placed(load, shape, place_layer(load, shape, weight));
      EXPECT_LE(placed.crossing(), crossing + 0.02) << seed << " " << weight;
      crossing = placed.crossing();
    }
    const PlacedLayer balanced(load, shape, place_layer(load, shape, 0.0));
    const PlacedLayer inside(load, shape, place_layer(load, shape, 4.0));
    EXPECT_LT(inside.crossing(), balanced.crossing() - 0.05);
  }
}

TEST(PlaceLayer, FindsTheHomesOfExperts) {
  const LayerLoad load = load_with_homes(4, 32);
  const PlacementShape shape{.num_experts = 32, .num_positions = 32, .num_ranks = 8, .num_nodes = 4};
  const PlacedLayer placed(load, shape, place_layer(load, shape, 100.0));
  for (std::int64_t at = 0; at < 32; ++at) {
    EXPECT_EQ(placed.experts()[static_cast<std::size_t>(at)] % 4, shape.node_of(at)) << at;
  }
}

TEST(PlaceLayer, MovesNothingWhereNothingIsGained) {
  const LayerLoad load{.num_nodes = 1, .num_experts = 6, .pairs = {5, 5, 5, 5, 5, 5}};
  const PlacementShape shape{.num_experts = 6, .num_positions = 6, .num_ranks = 3};
  EXPECT_EQ(place_layer(load, shape, 0.0), (std::vector<std::int32_t>{0, 1, 2, 3, 4, 5}));
}

TEST(PlaceLayer, CopiesGoToOtherRanksAndTakeLoadOff) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const LayerLoad load = random_load(seed, 2, 16);
    const PlacementShape shape{.num_experts = 16, .num_positions = 24, .num_ranks = 8, .num_nodes = 2};
    const PlacementShape without{.num_experts = 16, .num_positions = 16, .num_ranks = 8, .num_nodes = 2};
    const PlacedLayer placed(load, shape, place_layer(load, shape, 0.0));
    const PlacedLayer alone(load, without, place_layer(load, without, 0.0));
    EXPECT_LT(placed.fullest(), alone.fullest());
    // Copies on both nodes keep pairs inside, if that is worth something.
    EXPECT_LT(PlacedLayer(load, shape, place_layer(load, shape, 4.0)).crossing(),
              PlacedLayer(load, without, place_layer(load, without, 4.0)).crossing());
    const double total = std::accumulate(placed.rank_loads().begin(), placed.rank_loads().end(), 0.0);
    EXPECT_NEAR(total, load.total(), 1e-6 * total);
  }
}

TEST(PlaceLayer, GroupsStayWholeOnTheirNode) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const LayerLoad load = random_load(seed, 4, 32);
    const PlacementShape shape{.num_experts = 32, .num_positions = 32, .num_ranks = 8, .num_nodes = 4, .num_groups = 8};
    const PlacedLayer placed(load, shape, place_layer(load, shape, 0.0));
    EXPECT_EQ(placed.most_nodes(8, 2, 4), 2);
    EXPECT_LE(placed.fullest(), PlacedLayer(load, shape, grouped_greedy(loads_of(load), shape)).fullest() + 1e-12);
    PlacementShape free = shape;
    free.num_groups = 1;
    const PlacedLayer anywhere(load, shape, place_layer(load, free, 0.0));
    EXPECT_LE(anywhere.fullest(), placed.fullest() + 1e-9);
    EXPECT_EQ(anywhere.most_nodes(8, 2, 4), 4);
  }
}

TEST(PlaceLayer, WithCopiesMostExpertsStayWhereTheyAre) {
  const LayerLoad load = random_load(3, 4, 32);
  for (const std::int64_t groups : {1, 8}) {
    const PlacementShape shape{
        .num_experts = 32, .num_positions = 48, .num_ranks = 8, .num_nodes = 4, .num_groups = groups};
    const PlacedLayer placed(load, shape, place_layer(load, shape, 0.0));
    std::int64_t num_there = 0;
    for (std::int32_t expert = 0; expert < 32; ++expert) num_there += placed.is_on(expert, expert / 4) ? 1 : 0;
    EXPECT_GE(num_there, groups > 1 ? 0 : 16);  // whole groups may be better off on other nodes
    EXPECT_EQ(placed.most_nodes(8, 1, 32) == 1, groups > 1);
    EXPECT_LE(placed.fullest(), 1.001 * PlacedLayer(load, shape, grouped_greedy(loads_of(load), shape)).fullest());
  }
}

// DeepSeek-V3 on 2048 devices, one expert and one copy on each rank of EP 256: what docs/performance.md times.
TEST(PlaceLayer, PlacesAllLayersOfALargeModel) {
  for (std::uint64_t layer = 0; layer < 58; ++layer) {
    const LayerLoad load = random_load(layer, 32, 256);
    const PlacementShape shape{.num_experts = 256, .num_positions = 512, .num_ranks = 256, .num_nodes = 32};
    EXPECT_LT(PlacedLayer(load, shape, place_layer(load, shape, 0.0)).fullest(), 1.1) << layer;
  }
}

}  // namespace
}  // namespace orrery::planner
