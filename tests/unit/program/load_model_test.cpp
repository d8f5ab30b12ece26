// SPDX-License-Identifier: Apache-2.0
#include "program/load_model.h"

#include "tests/unit/program/reading.h"
#include "tests/unit/program/small_models.h"

#include <algorithm>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using testing::problems_of;

constexpr RoutingQuery kQuery{.layer = 5, .group = 4, .num_experts = 64, .pairs_per_rank = 32768};

double row_sum(const RoutingMatrix& matrix, std::int64_t source) {
  double sum = 0.0;
  for (std::int64_t expert = 0; expert < matrix.num_experts; ++expert) sum += matrix.at(source, expert);
  return sum;
}

/// Largest share of an expert over the mean share, in the first row.
double skew(const LoadModel& load, RoutingQuery query = kQuery) {
  const RoutingMatrix matrix = routing(load, query);
  const double most = *std::max_element(matrix.pairs.begin(), matrix.pairs.begin() + matrix.num_experts);
  return most * static_cast<double>(query.num_experts) / static_cast<double>(query.pairs_per_rank);
}

TEST(RoutingMatrix, AddsUpBySourceDestinationAndExpert) {
  const RoutingMatrix matrix{.group = 2, .num_experts = 4, .pairs = {1, 2, 3, 4, 10, 20, 30, 40}};
  EXPECT_EQ(matrix.sent(0, 0), 3);
  EXPECT_EQ(matrix.sent(1, 1), 70);
  EXPECT_EQ(matrix.received(0), 33);
  EXPECT_EQ(matrix.received(1), 77);
  EXPECT_THAT(matrix.per_local_expert(1), ElementsAre(33, 44));
}

TEST(BalancedLoad, GivesEveryExpertTheSame) {
  const RoutingMatrix matrix = routing(BalancedLoad{}, kQuery);
  EXPECT_EQ(matrix.pairs.size(), 4 * 64);
  EXPECT_THAT(matrix.pairs, Each(512.0));
  EXPECT_EQ(matrix.received(3), 32768);
}

TEST(BalancedLoad, MayBeFractional) {
  RoutingQuery query = kQuery;
  query.pairs_per_rank = 96;
  EXPECT_THAT(routing(BalancedLoad{}, query).pairs, Each(1.5));
}

TEST(AssumedLoads, HaveExactRowSumsWhateverTheSkew) {
  for (const LoadModel& load : std::vector<LoadModel>{BalancedLoad{}, DirichletLoad{.alpha = 100.0},
                                                      DirichletLoad{.alpha = 0.01}, ZipfLoad{.exponent = 1.5}}) {
    for (const std::int64_t pairs : {0, 1, 63, 32768, 1'000'003}) {
      RoutingQuery query = kQuery;
      query.pairs_per_rank = pairs;
      const RoutingMatrix matrix = routing(load, query);
      for (std::int64_t source = 0; source < query.group; ++source) {
        if (is_balanced(load)) {
          EXPECT_NEAR(row_sum(matrix, source), static_cast<double>(pairs), 1e-9 * static_cast<double>(pairs));
        } else {
          EXPECT_EQ(row_sum(matrix, source), static_cast<double>(pairs));
        }
      }
    }
  }
}

TEST(AssumedLoads, DependOnSeedAndLayerAndOnNothingElse) {
  for (const auto& with_seed : {+[](std::uint64_t seed) -> LoadModel { return DirichletLoad{10.0, seed}; },
                                +[](std::uint64_t seed) -> LoadModel { return ZipfLoad{1.0, seed}; }}) {
    const RoutingMatrix matrix = routing(with_seed(1), kQuery);
    RoutingQuery other_micro_batch = kQuery;
    other_micro_batch.micro_batch = 3;
    EXPECT_EQ(routing(with_seed(1), other_micro_batch).pairs, matrix.pairs);
    RoutingQuery other_layer = kQuery;
    other_layer.layer = 6;
    EXPECT_NE(routing(with_seed(1), other_layer).pairs, matrix.pairs);
    EXPECT_NE(routing(with_seed(2), kQuery).pairs, matrix.pairs);
  }
}

TEST(DirichletLoad, IsMoreSkewedForSmallAlpha) {
  EXPECT_LT(skew(DirichletLoad{.alpha = 1000.0}), skew(DirichletLoad{.alpha = 10.0}));
  EXPECT_LT(skew(DirichletLoad{.alpha = 10.0}), skew(DirichletLoad{.alpha = 0.5}));
  EXPECT_NEAR(skew(DirichletLoad{.alpha = 1e6}), 1.0, 0.02);
}

TEST(DirichletLoad, HasTheVarianceOfTheDistribution) {
  // Var of one share is (1/E)(1 - 1/E) / (E alpha + 1); averaged over layers and experts.
  constexpr double kAlpha = 4.0, kExperts = 64.0;
  double sum_of_squares = 0.0;
  constexpr int kLayers = 200;
  RoutingQuery query = kQuery;
  query.pairs_per_rank = 100'000'000;
  for (query.layer = 0; query.layer < kLayers; ++query.layer) {
    const RoutingMatrix matrix = routing(DirichletLoad{.alpha = kAlpha}, query);
    for (std::int64_t expert = 0; expert < query.num_experts; ++expert) {
      const double share = matrix.at(0, expert) / static_cast<double>(query.pairs_per_rank);
      sum_of_squares += (share - 1.0 / kExperts) * (share - 1.0 / kExperts);
    }
  }
  const double expected = (1.0 / kExperts) * (1.0 - 1.0 / kExperts) / (kExperts * kAlpha + 1.0);
  EXPECT_NEAR(sum_of_squares / (kLayers * kExperts), expected, 0.05 * expected);
}

TEST(ZipfLoad, FollowsThePowerLawInShuffledOrder) {
  RoutingMatrix matrix = routing(ZipfLoad{.exponent = 1.0}, kQuery);
  matrix.pairs.resize(64);
  EXPECT_FALSE(std::is_sorted(matrix.pairs.rbegin(), matrix.pairs.rend()));
  std::sort(matrix.pairs.rbegin(), matrix.pairs.rend());
  EXPECT_NEAR(matrix.pairs[0] / matrix.pairs[1], 2.0, 1e-3);
  EXPECT_NEAR(matrix.pairs[0] / matrix.pairs[9], 10.0, 1e-1);
}

LoadModel popularity(std::map<std::int64_t, std::vector<double>> layers) {
  return std::make_shared<const PopularityLoad>(PopularityLoad{.layers = std::move(layers)});
}

TEST(PopularityLoad, IsSentInItsProportionsByEveryRankOfAnyLayout) {
  const LoadModel load = popularity({{5, {100.0, 300.0, 0.0, 600.0}}});
  EXPECT_FALSE(is_balanced(load));
  EXPECT_FALSE(differs_by_group(load));
  const RoutingMatrix two = routing(load, {.layer = 5, .group = 2, .num_experts = 4, .pairs_per_rank = 20});
  EXPECT_THAT(two.pairs, ElementsAre(2, 6, 0, 12, 2, 6, 0, 12));
  const RoutingMatrix four =
      routing(load, {.layer = 5, .micro_batch = 9, .ep_group = 3, .group = 4, .num_experts = 4, .pairs_per_rank = 10});
  EXPECT_EQ(four.received(3), 24.0);
}

TEST(PopularityLoad, HasExactRowSums) {
  const LoadModel load = popularity({{0, {1.0, 1.0, 1.0}}});
  for (const std::int64_t pairs : {0, 1, 2, 100, 1'000'003}) {
    const RoutingMatrix matrix = routing(load, {.num_experts = 3, .pairs_per_rank = pairs});
    EXPECT_EQ(row_sum(matrix, 0), static_cast<double>(pairs));
  }
}

TEST(PopularityLoad, IsTheSumOfWhatWasRecorded) {
  RecordedLoad recorded;
  recorded.matrices[{5, 0, 0}] = {.group = 2, .num_experts = 2, .pairs = {1, 2, 3, 4}};
  recorded.matrices[{5, 1, 0}] = {.group = 2, .num_experts = 2, .pairs = {10, 0, 0, 0}};
  recorded.matrices[{5, 0, 1}] = {.group = 2, .num_experts = 2, .pairs = {0, 100, 0, 0}};
  recorded.matrices[{6, 0, 0}] = {.group = 2, .num_experts = 2, .pairs = {7, 0, 0, 1}};
  const PopularityLoad load = popularity_of(recorded);
  ASSERT_EQ(load.layers.size(), 2);
  EXPECT_THAT(load.layers.at(5), ElementsAre(14, 106));
  EXPECT_THAT(load.layers.at(6), ElementsAre(7, 1));
}

TEST(PopularityLoad, SaysWhatItDoesNotHold) {
  const LoadModel load = popularity({{5, {1.0, 1.0}}});
  EXPECT_EQ(problems_of([&] { return routing(load, {.layer = 4, .num_experts = 2, .pairs_per_rank = 8}); }),
            "load by popularity: layer 4: expected the popularity of 2 experts, got 0");
  EXPECT_EQ(problems_of([&] { return routing(load, {.layer = 5, .num_experts = 4, .pairs_per_rank = 8}); }),
            "load by popularity: layer 5: expected the popularity of 4 experts, got 2");
}

TEST(PopularityLoad, IsCheckedAgainstAModel) {
  const Model model = testing::small_moe(3);  // layers 1 and 2 have 8 experts
  const std::vector<double> eight(8, 1.0);
  EXPECT_EQ(missing_popularity(popularity({{1, eight}, {2, eight}}), model), "");
  EXPECT_EQ(missing_popularity(popularity({{1, eight}, {2, {1.0}}}), model),
            "expected the popularity of 8 experts for layer 2, got 1");
  EXPECT_EQ(missing_popularity(popularity({{2, eight}}), model),
            "expected the popularity of 8 experts for layer 1, got 0");
  EXPECT_EQ(missing_popularity(ZipfLoad{}, model), "");
}

TEST(RecordedLoad, GivesBackWhatWasRecorded) {
  const auto recorded = std::make_shared<RecordedLoad>();
  recorded->matrices[{5, 0, 1}] = {.group = 1, .num_experts = 2, .pairs = {3, 5}};
  const LoadModel load = std::shared_ptr<const RecordedLoad>(recorded);
  const RoutingQuery query{.layer = 5, .ep_group = 1, .num_experts = 2, .pairs_per_rank = 8};
  EXPECT_FALSE(is_balanced(load));
  EXPECT_THAT(routing(load, query).pairs, ElementsAre(3, 5));
}

TEST(RecordedLoad, SaysWhatItDoesNotHold) {
  const auto recorded = std::make_shared<RecordedLoad>();
  recorded->matrices[{5, 0, 1}] = {.group = 1, .num_experts = 2, .pairs = {3, 5}};
  const LoadModel load = std::shared_ptr<const RecordedLoad>(recorded);
  RoutingQuery query{.layer = 5, .ep_group = 0, .num_experts = 2, .pairs_per_rank = 8};
  EXPECT_EQ(problems_of([&] { return routing(load, query); }),
            "recorded load: layer 5, micro-batch 0, EP group 0: expected a routing matrix, got none");
  query.ep_group = 1;
  query.num_experts = 4;
  EXPECT_EQ(problems_of([&] { return routing(load, query); }),
            "recorded load: layer 5, micro-batch 0, EP group 1: expected 1 ranks and 4 experts, got 1 and 2");
}

}  // namespace
}  // namespace orrery
