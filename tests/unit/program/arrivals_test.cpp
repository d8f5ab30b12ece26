// SPDX-License-Identifier: Apache-2.0
#include "program/arrivals.h"

#include "program/lower.h"
#include "tests/unit/program/reading.h"
#include "tests/unit/program/small_models.h"

#include <memory>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::ElementsAre;
using testing::problems_of;
using testing::small_moe;
using testing::small_strategy;

constexpr BatchShape kBatch{.seq = 32, .global_batch = 8};
constexpr std::int64_t kPairs = 32 * 2;

/// Two stages of four ranks, which form EP groups of two; layers 1 to 3 are MoE. Two micro-batches on each rank.
StepProgram program() {
  const Model model = small_moe(4);
  return lower(model, small_strategy(model, 2, 2), kBatch, 8);
}

Tensor tensor(Rows::Kind kind, std::int64_t count, std::int16_t layer = 1, std::int32_t micro_batch = 0) {
  return {.role = TensorRole::expert_in,
          .dtype = DType::f32,
          .layer = layer,
          .micro_batch = micro_batch,
          .rows = {.kind = kind, .count = count},
          .width = 10};
}

/// Every pair of `layer` goes to expert `expert`, in all EP groups and micro-batches.
LoadModel all_to(std::int64_t layer, std::size_t expert) {
  PopularityLoad load;
  for (std::int64_t other = 1; other < 4; ++other) load.layers[other].assign(8, 1.0);
  load.layers[layer].assign(8, 0.0);
  load.layers[layer][expert] = 1.0;
  return std::make_shared<const PopularityLoad>(std::move(load));
}

TEST(Arrivals, BalancedGiveEveryTensorTheRowsItWasLoweredWith) {
  const Arrivals balanced = Arrivals::balanced();
  for (const auto kind :
       {Rows::Kind::fixed, Rows::Kind::routed, Rows::Kind::received, Rows::Kind::gathered, Rows::Kind::distinct}) {
    EXPECT_EQ(balanced.rows_of(tensor(kind, 64)), 64.0);
  }
  EXPECT_EQ(balanced.bytes_of(tensor(Rows::Kind::received, 64)), 64.0 * 10 * 4);
}

TEST(Arrivals, GiveEachKindOfRowsItsOwnNumber) {
  Arrivals arrivals;
  arrivals.set(1, {{.received = 96.0, .gathered = 130.0, .distinct_share = 1.5}});
  EXPECT_EQ(arrivals.rows_of(tensor(Rows::Kind::fixed, 32)), 32.0);
  EXPECT_EQ(arrivals.rows_of(tensor(Rows::Kind::routed, 64)), 64.0);
  EXPECT_EQ(arrivals.rows_of(tensor(Rows::Kind::received, 64)), 96.0);
  EXPECT_EQ(arrivals.rows_of(tensor(Rows::Kind::gathered, 128)), 130.0);
  EXPECT_EQ(arrivals.rows_of(tensor(Rows::Kind::distinct, 40)), 60.0);
}

TEST(Arrivals, MayDifferBetweenMicroBatches) {
  Arrivals arrivals;
  arrivals.set(2, {{.received = 10.0}, {.received = 20.0}});
  EXPECT_EQ(arrivals.rows_of(tensor(Rows::Kind::received, 64, 2, 0)), 10.0);
  EXPECT_EQ(arrivals.rows_of(tensor(Rows::Kind::received, 64, 2, 1)), 20.0);
  const Arrivals same = Arrivals::same_everywhere({.received = 7.0});
  EXPECT_EQ(same.rows_of(tensor(Rows::Kind::received, 64, 9, 1)), 7.0);
}

TEST(DistinctRanks, AreAsFewAsTheLoadAllows) {
  const StepProgram p = program();
  const auto ranks = [&](const LoadModel& load) { return distinct_ranks(p, ClassId(1), load); };
  EXPECT_THAT(ranks(BalancedLoad{}), ElementsAre(RankId(4)));
  EXPECT_THAT(ranks(ZipfLoad{}), ElementsAre(RankId(4), RankId(5)));
  EXPECT_THAT(ranks(std::make_shared<const RecordedLoad>()), ElementsAre(RankId(4), RankId(5), RankId(6), RankId(7)));
}

TEST(ArrivalsOf, FollowTheExpertsOfTheRank) {
  const StepProgram p = program();
  const LoadModel load = all_to(3, 5);  // on the second rank of each EP group
  const std::vector<RankId> ranks = distinct_ranks(p, ClassId(1), load);
  const std::vector<Arrivals> arrivals = arrivals_of(p, ranks, load);
  ASSERT_EQ(arrivals.size(), 2);
  EXPECT_EQ(arrivals[0].rows_of(tensor(Rows::Kind::received, kPairs, 2)), kPairs);
  EXPECT_EQ(arrivals[0].rows_of(tensor(Rows::Kind::received, kPairs, 3)), 0.0);
  EXPECT_EQ(arrivals[1].rows_of(tensor(Rows::Kind::received, kPairs, 3)), 2.0 * kPairs);
  EXPECT_EQ(arrivals[1].rows_of(tensor(Rows::Kind::distinct, 30, 3)), 60.0);
}

TEST(ArrivalsOf, SumToWhatAllRanksSendWhateverTheLoad) {
  const StepProgram p = program();
  for (const LoadModel& load : std::vector<LoadModel>{BalancedLoad{}, DirichletLoad{.alpha = 0.3}, ZipfLoad{}}) {
    const std::vector<RankId> ranks = {RankId(6), RankId(7)};
    double sum = 0.0;
    for (const Arrivals& rank : arrivals_of(p, ranks, load)) {
      sum += rank.rows_of(tensor(Rows::Kind::received, kPairs, 3, 1));
    }
    EXPECT_EQ(sum, 2.0 * kPairs);
  }
}

TEST(ArrivalsOf, AskARecordedLoadForEachMicroBatchAndGroup) {
  const StepProgram p = program();
  auto recorded = std::make_shared<RecordedLoad>();
  for (const std::int64_t layer : {2, 3}) {
    for (const std::int64_t micro_batch : {0, 1}) {
      for (const std::int64_t group : {0, 1}) {
        RoutingMatrix& matrix = recorded->matrices[{layer, micro_batch, group}];
        matrix = {.group = 2, .num_experts = 8, .pairs = std::vector<double>(16, 0.0)};
        matrix.pairs[0] = static_cast<double>(100 * layer + 10 * micro_batch + group);
      }
    }
  }
  const LoadModel load = std::shared_ptr<const RecordedLoad>(recorded);
  const std::vector<Arrivals> arrivals = arrivals_of(p, distinct_ranks(p, ClassId(1), load), load);
  ASSERT_EQ(arrivals.size(), 4);
  EXPECT_EQ(arrivals[0].rows_of(tensor(Rows::Kind::received, kPairs, 3, 1)), 310.0);
  EXPECT_EQ(arrivals[2].rows_of(tensor(Rows::Kind::received, kPairs, 2, 0)), 201.0);
  EXPECT_EQ(arrivals[3].rows_of(tensor(Rows::Kind::received, kPairs, 2, 0)), 0.0);
  EXPECT_EQ(arrivals[2].rows_of(tensor(Rows::Kind::distinct, 30, 2, 0)), 30.0 * 201.0 / kPairs);
  recorded->matrices[{2, 0, 1}].tokens = {7, 5, 9, 4};  // with them nothing is estimated
  const std::vector<Arrivals> counted = arrivals_of(p, distinct_ranks(p, ClassId(1), load), load);
  EXPECT_EQ(counted[2].rows_of(tensor(Rows::Kind::distinct, 30, 2, 0)), 16.0);
  EXPECT_EQ(counted[3].rows_of(tensor(Rows::Kind::distinct, 30, 2, 0)), 9.0);
  EXPECT_EQ(counted[2].rows_of(tensor(Rows::Kind::received, kPairs, 2, 0)), 201.0);
  recorded->matrices.erase({3, 1, 1});
  EXPECT_EQ(problems_of([&] { return arrivals_of(p, distinct_ranks(p, ClassId(1), load), load); }),
            "recorded load: layer 3, micro-batch 1, EP group 1: expected a routing matrix, got none");
}

TEST(FullestShare, IsThatOfTheStageAndRankWhereItIsLargest) {
  const Model model = small_moe(4);
  const Strategy strategy = small_strategy(model, 2, 2);
  EXPECT_EQ(FullestShare(model, BalancedLoad{}).of(strategy), 1.0);
  // Layers 2 and 3 are one stage: 2 of one layer and 1 of the other.
  EXPECT_EQ(FullestShare(model, all_to(3, 5)).of(strategy), 1.5);
  // Layer 1 is the only MoE layer of its stage.
  EXPECT_EQ(FullestShare(model, all_to(1, 0)).of(strategy), 2.0);
  EXPECT_EQ(FullestShare(model, all_to(1, 0)).of(small_strategy(model, 1, 1)), 1.0);
}

TEST(FullestShare, OfADenseModelIsOne) {
  Model model = small_moe(1);
  model.moe.reset();
  EXPECT_EQ(FullestShare(model, ZipfLoad{}).of(small_strategy(model)), 1.0);
}

TEST(PairsPerRank, AreTheTokensOfAMicroBatchTimesTheirChoices) {
  const Model model = small_moe(4);
  Strategy strategy = small_strategy(model);
  strategy.micro_batch = 4;
  EXPECT_EQ(pairs_per_rank(model, strategy, kBatch), 4 * kPairs);
  strategy.cp = 2;
  strategy.tp = 2;
  EXPECT_EQ(pairs_per_rank(model, strategy, kBatch), 2 * kPairs);
  strategy.sp = true;
  EXPECT_EQ(pairs_per_rank(model, strategy, kBatch), kPairs);
}

}  // namespace
}  // namespace orrery
