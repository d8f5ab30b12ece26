// SPDX-License-Identifier: Apache-2.0
// The greedy against the cases that its authors print.
#include "planner/placement/grouped_greedy.h"

#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using Experts = std::vector<std::int32_t>;

/// 12 experts in 4 groups, 16 positions on 8 GPUs of 2 nodes: loads of two layers, and the expert that the README's
/// example prints for each position. Source: https://github.com/deepseek-ai/EPLB, README.md at d52c72d5.
constexpr PlacementShape kReadme{
    .num_experts = 12, .num_positions = 16, .num_ranks = 8, .num_nodes = 2, .num_groups = 4};
const std::vector<double> kLoads[] = {{90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86},
                                      {20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27}};
const Experts kPlaced[] = {{5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1},
                           {7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1}};

/// Of the fullest rank over the mean, the load of an expert divided evenly among its copies.
double fullest_over_mean(const std::vector<double>& loads, const Experts& placed, std::int64_t num_ranks) {
  std::vector<double> of_rank(static_cast<std::size_t>(num_ranks), 0.0);
  const std::size_t per_rank = placed.size() / of_rank.size();
  for (std::size_t at = 0; at < placed.size(); ++at) {
    const auto copies = static_cast<double>(std::count(placed.begin(), placed.end(), placed[at]));
    of_rank[at / per_rank] += loads[static_cast<std::size_t>(placed[at])] / copies;
  }
  const double total = std::accumulate(loads.begin(), loads.end(), 0.0);
  return *std::max_element(of_rank.begin(), of_rank.end()) * static_cast<double>(num_ranks) / total;
}

TEST(GroupedGreedy, GivesWhatItsAuthorsPrint) {
  for (std::size_t layer = 0; layer < 2; ++layer) EXPECT_EQ(grouped_greedy(kLoads[layer], kReadme), kPlaced[layer]);
  EXPECT_NEAR(fullest_over_mean(kLoads[0], grouped_greedy(kLoads[0], kReadme), 8), 1.208, 5e-4);
  EXPECT_NEAR(fullest_over_mean(kLoads[1], grouped_greedy(kLoads[1], kReadme), 8), 1.242, 5e-4);
}

TEST(GroupedGreedy, KeepsGroupsWholeOnNodes) {
  for (const std::vector<double>& loads : kLoads) {
    const Experts placed = grouped_greedy(loads, kReadme);
    for (std::int32_t group = 0; group < 4; ++group) {
      std::vector<bool> on_node(2, false);
      for (std::size_t at = 0; at < placed.size(); ++at) {
        if (placed[at] / 3 == group) on_node[at / 8] = true;
      }
      EXPECT_NE(on_node[0], on_node[1]) << group;
    }
  }
}

TEST(GroupedGreedy, WithoutGroupsBalancesBetter) {
  PlacementShape free = kReadme;
  free.num_groups = 1;
  for (const std::vector<double>& loads : kLoads) {
    EXPECT_LT(fullest_over_mean(loads, grouped_greedy(loads, free), 8),
              fullest_over_mean(loads, grouped_greedy(loads, kReadme), 8));
  }
}

TEST(GroupedGreedy, PacksHeaviestFirstWhereThereIsRoom) {
  EXPECT_EQ(pack(std::vector<double>{1, 9, 2, 8}, 2), (std::vector<std::int64_t>{0, 0, 1, 1}));
  // The third goes to the lighter bin, the fourth where room is left.
  EXPECT_EQ(pack(std::vector<double>{9, 1, 1, 1}, 2), (std::vector<std::int64_t>{0, 1, 1, 0}));
  EXPECT_EQ(pack(std::vector<double>{3, 1, 2}, 3), (std::vector<std::int64_t>{0, 1, 2}));
}

TEST(GroupedGreedy, GivesCopiesWhereTheyHelpMost) {
  EXPECT_EQ(copies_of(std::vector<double>{10, 6, 1}, 3), (std::vector<std::int64_t>{1, 1, 1}));
  EXPECT_EQ(copies_of(std::vector<double>{10, 6, 1}, 5), (std::vector<std::int64_t>{2, 2, 1}));
  EXPECT_EQ(copies_of(std::vector<double>{10, 6, 1}, 6), (std::vector<std::int64_t>{3, 2, 1}));
}

}  // namespace
}  // namespace orrery::planner
