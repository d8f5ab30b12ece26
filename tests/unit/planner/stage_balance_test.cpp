// SPDX-License-Identifier: Apache-2.0
#include "planner/stage_balance.h"

#include "base/rng.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;

Seconds largest(const std::vector<Seconds>& layers, Seconds first, Seconds last,
                const std::vector<std::int64_t>& counts) {
  Seconds out;
  std::size_t next = 0;
  for (std::size_t stage = 0; stage < counts.size(); ++stage) {
    Seconds sum = (stage == 0 ? first : Seconds()) + (stage + 1 == counts.size() ? last : Seconds());
    for (std::int64_t i = 0; i < counts[stage]; ++i) sum += layers[next++];
    out = std::max(out, sum);
  }
  return out;
}

TEST(BalancedCounts, GiveLayersOfHeavyEndsToTheMiddle) {
  const std::vector<Seconds> layers(8, seconds(1));
  EXPECT_THAT(balanced_counts(layers, {}, {}, 4), ElementsAre(2, 2, 2, 2));
  EXPECT_EQ(largest(layers, seconds(1), seconds(1), balanced_counts(layers, seconds(1), seconds(1), 4)), seconds(3));
  EXPECT_THAT(balanced_counts(layers, {}, {}, 1), ElementsAre(8));
  EXPECT_THAT(balanced_counts(layers, {}, seconds(2), 5), ElementsAre(2, 2, 2, 2, 0));
  EXPECT_THAT(balanced_counts(layers, {}, {}, 10), ElementsAre(0, 1, 1, 1, 1, 1, 1, 1, 1, 0));
}

TEST(BalancedCounts, HaveTheSmallestLargestStage) {
  for (std::uint64_t index = 0; index < 200; ++index) {
    const CounterRng rng(7, index);
    const auto n = static_cast<std::int64_t>(3 + rng.below(0, 6));
    const auto stages = static_cast<std::int64_t>(1 + rng.below(1, static_cast<std::uint64_t>(most_stages(n))));
    std::vector<Seconds> layers;
    for (std::int64_t i = 0; i < n; ++i) {
      layers.push_back(seconds(static_cast<double>(1 + rng.below(static_cast<std::uint64_t>(10 + i), 9))));
    }
    const Seconds first = seconds(static_cast<double>(rng.below(2, 9)));
    const Seconds last = seconds(static_cast<double>(rng.below(3, 9)));
    const std::vector<std::int64_t> counts = balanced_counts(layers, first, last, stages);
    ASSERT_EQ(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}), n);
    // Every other way to cut.
    Seconds best = seconds(1e9);
    std::vector<std::int64_t> cut;
    const std::function<void(std::int64_t)> try_all = [&](std::int64_t left) {
      if (static_cast<std::int64_t>(cut.size()) + 1 == stages) {
        cut.push_back(left);
        best = std::min(best, largest(layers, first, last, cut));
        cut.pop_back();
        return;
      }
      // Only the ends may be without a layer.
      for (std::int64_t count = cut.empty() ? 0 : 1; count <= left; ++count) {
        cut.push_back(count);
        try_all(left - count);
        cut.pop_back();
      }
    };
    try_all(n);
    EXPECT_EQ(largest(layers, first, last, counts), best) << index;
  }
}

}  // namespace
}  // namespace orrery::planner
