// SPDX-License-Identifier: Apache-2.0
#include "program/strategy.h"

#include <vector>

#include <gtest/gtest.h>

namespace orrery {
namespace {

std::vector<std::int64_t> counts_of(const std::vector<StageLayout>& stages) {
  std::vector<std::int64_t> counts;
  for (const StageLayout& stage : stages) counts.push_back(stage.num_layers);
  return counts;
}

using Counts = std::vector<std::int64_t>;

TEST(StagesOfCounts, LieInOrderBetweenEmbeddingAndHead) {
  const std::vector<StageLayout> stages = stages_of_counts(Counts{0, 3, 2});
  ASSERT_EQ(stages.size(), 3U);
  EXPECT_EQ(stages[0], (StageLayout{.first_layer = 0, .num_layers = 0, .embedding = true}));
  EXPECT_EQ(stages[1], (StageLayout{.first_layer = 0, .num_layers = 3}));
  EXPECT_EQ(stages[2], (StageLayout{.first_layer = 3, .num_layers = 2, .head = true}));
  EXPECT_EQ(stages_of_counts(Counts{4}), even_stages(4, 1));
}

TEST(EvenStages, DivideLayersThatDivide) {
  EXPECT_EQ(counts_of(even_stages(8, 4)), (Counts{2, 2, 2, 2}));
  EXPECT_EQ(counts_of(even_stages(5, 1)), (Counts{5}));
}

TEST(EvenStages, GiveTheRestToLateMiddleStagesFirstAndNeverToTheLast) {
  EXPECT_EQ(counts_of(even_stages(9, 4)), (Counts{2, 2, 3, 2}));
  EXPECT_EQ(counts_of(even_stages(10, 4)), (Counts{2, 3, 3, 2}));
  EXPECT_EQ(counts_of(even_stages(11, 4)), (Counts{3, 3, 3, 2}));
  EXPECT_EQ(counts_of(even_stages(3, 2)), (Counts{2, 1}));
}

TEST(EvenStages, TakeALayerFromTheEndsWhenAsked) {
  EXPECT_EQ(counts_of(even_stages(16, 4, true, false)), (Counts{3, 4, 5, 4}));
  EXPECT_EQ(counts_of(even_stages(16, 4, false, true)), (Counts{4, 4, 5, 3}));
  EXPECT_EQ(counts_of(even_stages(16, 4, true, true)), (Counts{3, 5, 5, 3}));
}

TEST(EvenStages, KeepEndsThatHaveNoMiddleToGiveTo) {
  EXPECT_EQ(counts_of(even_stages(4, 2, true, true)), (Counts{2, 2}));
  EXPECT_EQ(counts_of(even_stages(4, 4, true, true)), (Counts{1, 1, 1, 1}));
}

TEST(EvenStages, LeaveEmbeddingAndHeadAloneWhereThereAreMoreStagesThanLayers) {
  EXPECT_EQ(counts_of(even_stages(4, 5)), (Counts{1, 1, 1, 1, 0}));
  EXPECT_EQ(counts_of(even_stages(4, 6)), (Counts{0, 1, 1, 1, 1, 0}));
  EXPECT_EQ(counts_of(even_stages(1, 3)), (Counts{0, 1, 0}));
  EXPECT_EQ(most_stages(4), 6);
}

TEST(EvenStages, FollowEachOtherWithEmbeddingFirstAndHeadLast) {
  const std::vector<StageLayout> stages = even_stages(61, 16);
  std::int64_t next = 0;
  for (const StageLayout& stage : stages) {
    EXPECT_EQ(stage.first_layer, next);
    EXPECT_EQ(stage.embedding, &stage == &stages.front());
    EXPECT_EQ(stage.head, &stage == &stages.back());
    next += stage.num_layers;
  }
  EXPECT_EQ(next, 61);
}

TEST(StrategyNames, AreThoseOfTheFileFormat) {
  EXPECT_EQ(name_of(Schedule::one_f_one_b), "1f1b");
  EXPECT_EQ(name_of(RecomputeModule::mla_up_proj), "mla_up_proj");
}

}  // namespace
}  // namespace orrery
