// SPDX-License-Identifier: Apache-2.0
#include "planner/shortlist.h"

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

Strategy pipeline_of_ranks(std::int64_t pp) {
  Strategy strategy;
  strategy.pp = pp;
  return strategy;
}

TEST(OfEachPipeline, CountsPlansThatDifferInShardingTogether) {
  OfEachPipeline two(2);
  Strategy sharded = pipeline_of_ranks(4);
  sharded.zero_dense = 2;
  EXPECT_TRUE(two.takes(pipeline_of_ranks(4)));
  EXPECT_TRUE(two.takes(sharded));
  EXPECT_FALSE(two.takes(pipeline_of_ranks(4)));
  EXPECT_TRUE(two.takes(pipeline_of_ranks(8)));
  Strategy pairs = pipeline_of_ranks(4);
  pairs.overlap.ep_batch_level = true;
  EXPECT_TRUE(two.takes(pairs));
}

TEST(ClosedFormError, IsTheWorstOfThePipeline) {
  ClosedFormError error;
  error.add(pipeline_of_ranks(4), seconds(10.0), seconds(11.0));
  error.add(pipeline_of_ranks(4), seconds(10.0), seconds(10.5));
  error.add(pipeline_of_ranks(1), seconds(10.0), seconds(9.0));
  EXPECT_EQ(error.least(pipeline_of_ranks(4), seconds(20.0)), seconds(21.0));
  EXPECT_EQ(error.least(pipeline_of_ranks(1), seconds(20.0)), seconds(18.0));
}

TEST(ClosedFormError, IsTheWorstOfAllWhereNothingOfThePipelineWasRun) {
  ClosedFormError error;
  error.add(pipeline_of_ranks(4), seconds(10.0), seconds(11.0));
  EXPECT_EQ(error.least(pipeline_of_ranks(8), seconds(10.0)), seconds(11.0));
  error.add(pipeline_of_ranks(1), seconds(10.0), seconds(9.0));
  EXPECT_EQ(error.least(pipeline_of_ranks(8), seconds(10.0)), seconds(9.0));
}

// A rank's copies are one sum for the closed form, so it errs otherwise there.
TEST(ClosedFormError, KnowsCopiesOfActivationsApart) {
  ClosedFormError error;
  Strategy copies = pipeline_of_ranks(4);
  copies.offload_activations = true;
  error.add(copies, seconds(10.0), seconds(13.0));
  error.add(pipeline_of_ranks(4), seconds(10.0), seconds(10.0));
  EXPECT_EQ(error.least(copies, seconds(10.0)), seconds(13.0));
  EXPECT_EQ(error.least(pipeline_of_ranks(4), seconds(10.0)), seconds(10.0));
}

}  // namespace
}  // namespace orrery::planner
