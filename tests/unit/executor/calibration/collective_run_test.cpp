// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/collective_run.h"

#include "tests/unit/executor/comm/thread_ranks.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using ::testing::Each;
using ::testing::Gt;
using ::testing::IsEmpty;
using testing::run_ranks;

/// A clock that goes on by a millisecond whenever somebody looks at it.
BudgetClock ticking_clock() {
  return [ticks = 0]() mutable { return Instant(std::chrono::milliseconds(ticks++)); };
}

/// By the clock of the machine; with `ticking`, however busy that is.
std::vector<RankSamples> samples_of(int num_ranks, Seconds max_time, bool ticking = false) {
  std::vector<RankSamples> samples(static_cast<std::size_t>(num_ranks));
  run_ranks(testing::Backend::shm, {.num_ranks = num_ranks}, [&](Endpoint& endpoint) {
    samples[static_cast<std::size_t>(endpoint.rank())] =
        time_collectives(endpoint, max_time, ticking ? ticking_clock() : now);
  });
  return samples;
}

/// Sizes by op and ranks.
std::map<std::tuple<std::string, std::int64_t>, std::set<std::int64_t>> sizes_of(const RankSamples& samples) {
  std::map<std::tuple<std::string, std::int64_t>, std::set<std::int64_t>> sizes;
  for (const CollectiveSamples& point : samples.collectives) sizes[{point.op, point.ranks}].insert(point.bytes);
  return sizes;
}

TEST(CollectiveRun, EveryKindStartsAtTheLeastSizeEvenWithoutTime) {
  const std::vector<RankSamples> samples = samples_of(2, seconds(0.0));
  const auto receiver = sizes_of(samples[1]), sender = sizes_of(samples[0]);
  for (const char* op : {"all_reduce", "reduce_scatter", "all_gather"}) {
    EXPECT_EQ(sender.at({op, 2}), std::set<std::int64_t>{32}) << op;
  }
  // Only the receiver knows when a message has arrived.
  EXPECT_EQ(receiver.at({"send_recv", 2}), std::set<std::int64_t>{32});
  EXPECT_FALSE(sender.contains({"send_recv", 2}));
  for (const CollectiveSamples& point : samples[1].collectives) EXPECT_THAT(point.seconds, Each(Gt(0.0))) << point.op;
}

TEST(CollectiveRun, MoreTimeGivesLargerSizes) {
  // A size takes one tick and the next one is thought to take four; rank 0 looks three times for each size. So there is
  // time for one more behind the first n while 3 n + 4 ticks are less than all.
  const auto sizes_within = [](double ticks) { return sizes_of(samples_of(2, milliseconds(ticks), true)[1]); };
  using Sizes = std::set<std::int64_t>;
  EXPECT_EQ(sizes_within(6.5).at({"all_reduce", 2}), (Sizes{32}));
  EXPECT_EQ(sizes_within(7.5).at({"all_reduce", 2}), (Sizes{32, 128}));
  const auto sizes = sizes_within(20.0);
  EXPECT_EQ(sizes.at({"all_reduce", 2}), (Sizes{32, 128, 512, 2 << 10, 8 << 10, 32 << 10}));
  // Whole rows of 1 KiB for 4 experts on each rank.
  EXPECT_EQ(sizes.at({"all_to_all", 2}), (Sizes{8 << 10, 32 << 10}));
}

TEST(CollectiveRun, GroupsHaveEveryShapeOfAMesh) {
  using Shape = std::pair<std::int64_t, std::int64_t>;
  for (const RankSamples& samples : samples_of(4, seconds(0.0))) {
    std::set<Shape> shapes;
    for (const CollectiveSamples& point : samples.collectives) shapes.insert({point.ranks, point.stride});
    EXPECT_EQ(shapes, (std::set<Shape>{{2, 1}, {2, 2}, {4, 1}}));
  }
}

TEST(GroupShapes, AreThoseWhoseSpanDividesTheRanks) {
  EXPECT_THAT(group_shapes(1), IsEmpty());
  EXPECT_EQ(group_shapes(6), (std::vector<GroupShape>{{2, 1}, {2, 3}, {3, 1}, {3, 2}, {6, 1}}));
}

TEST(GroupShapes, CutTheRanksIntoGroups) {
  EXPECT_EQ(members_of({.size = 2, .stride = 1}, 5), (std::vector<int>{4, 5}));
  EXPECT_EQ(members_of({.size = 2, .stride = 2}, 5), (std::vector<int>{5, 7}));
  EXPECT_EQ(members_of({.size = 2, .stride = 4}, 5), (std::vector<int>{1, 5}));
  for (const GroupShape& shape : group_shapes(12)) {
    for (int rank = 0; rank < 12; ++rank) {
      const std::vector<int> members = members_of(shape, rank);
      EXPECT_THAT(members, ::testing::Contains(rank));
      for (const int member : members) EXPECT_EQ(members_of(shape, member), members);
    }
  }
}

TEST(CollectiveRun, OneRankHasNobodyToTalkTo) {
  EXPECT_THAT(samples_of(1, seconds(1.0)).front().collectives, IsEmpty());
}

TEST(CollectiveRun, MemoryMovesNoFasterThanMemoryCan) {
  for (const RankSamples& samples : samples_of(2, seconds(1.0))) {
    for (const CollectiveSamples& point : samples.collectives) {
      const double fastest = *std::min_element(point.seconds.begin(), point.seconds.end());
      EXPECT_LT(static_cast<double>(point.bytes) / fastest, 1e12) << point.op << " " << point.bytes;
    }
  }
}

}  // namespace
}  // namespace orrery::executor
