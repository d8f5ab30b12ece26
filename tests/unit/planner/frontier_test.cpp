// SPDX-License-Identifier: Apache-2.0
#include "planner/frontier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Seconds kLimit = seconds(10.0);

BoundedPipeline pipeline(std::int64_t pp, double bound) { return {{.pp = pp}, seconds(bound)}; }

std::vector<std::int64_t> taken(Frontier& frontier, std::size_t most) {
  std::vector<std::int64_t> ranks;
  for (const Frontier::Entry& entry : frontier.take_pipelines(kLimit, most)) ranks.push_back(entry.pipeline.pp);
  return ranks;
}

TEST(Frontier, TakesWholeChoicesFromTheSmallestBoundOn) {
  Frontier frontier({seconds(3.0), seconds(1.0), seconds(2.0), seconds(11.0)});
  EXPECT_THAT(frontier.operators_below(kLimit), ElementsAre(0, 1, 2));
  EXPECT_THAT(taken(frontier, 5), IsEmpty());
  EXPECT_THAT(frontier.take_whole(kLimit, 2), ElementsAre(1, 2));
  EXPECT_EQ(frontier.least(), seconds(3.0));
  EXPECT_THAT(frontier.take_whole(kLimit, 2), ElementsAre(0));
  EXPECT_THAT(frontier.take_whole(kLimit, 2), IsEmpty());  // what is left is above the limit
}

TEST(Frontier, TakesPipelinesUntilAWholeChoiceMayBeBetter) {
  Frontier frontier({seconds(1.0), seconds(5.0)});
  ASSERT_THAT(frontier.take_whole(kLimit, 1), ElementsAre(0));
  frontier.put(0, {pipeline(1, 6.0), pipeline(2, 4.0), pipeline(4, 3.0), pipeline(8, 12.0)}, kLimit);
  EXPECT_EQ(frontier.least(), seconds(3.0));
  EXPECT_THAT(frontier.take_whole(kLimit, 5), IsEmpty());
  EXPECT_THAT(taken(frontier, 5), ElementsAre(4, 2));
  EXPECT_THAT(frontier.operators_below(kLimit), ElementsAre(0, 1));
  EXPECT_THAT(frontier.operators_below(seconds(6.0)), ElementsAre(1));
  ASSERT_THAT(frontier.take_whole(kLimit, 5), ElementsAre(1));
  frontier.put(1, {}, kLimit);
  EXPECT_THAT(taken(frontier, 5), ElementsAre(1));
  EXPECT_TRUE(frontier.empty());
}

}  // namespace
}  // namespace orrery::planner
