// SPDX-License-Identifier: Apache-2.0
#include "program/shard_layout.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace orrery {
namespace {

std::vector<CutWeight> cut(const std::vector<std::int64_t>& sizes) {
  std::vector<CutWeight> weights;
  for (const std::int64_t size : sizes) weights.push_back({.size = size});
  return weights;
}

std::int64_t owned_by(const ShardLayout& layout, std::int64_t rank, std::size_t first, std::size_t end) {
  std::int64_t count = 0;
  for (std::size_t i = first; i < end; ++i) count += layout.of(rank)[i].count;
  return count;
}

TEST(ShardLayout, EveryElementHasOneOwnerAndEveryOwnerItsPlaces) {
  const std::vector<std::int64_t> sizes = {7, 1, 0, 12, 5};
  const ShardLayout layout(cut(sizes), 3);
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    std::int64_t next = 0;
    for (std::int64_t rank = 0; rank < 3; ++rank) {
      EXPECT_EQ(layout.of(rank)[i].begin, next);
      next += layout.of(rank)[i].count;
    }
    EXPECT_EQ(next, sizes[i]);
  }
  for (std::int64_t rank = 0; rank < 3; ++rank) {
    std::int64_t slot = 0;
    for (const OwnedRange& range : layout.of(rank)) {
      EXPECT_EQ(range.slot, slot);
      slot += range.count;
    }
    EXPECT_LE(slot, layout.size(rank));
  }
}

// What all shards need is the size of the flat buffer, padded once.
TEST(ShardLayout, ShardsAreAsLargeAsThoseOfThePaddedBuffer) {
  for (const std::int64_t ranks : {1, 2, 3, 4, 8}) {
    const std::vector<std::int64_t> sizes = {7, 7, 7, 1, 1, 1, 30, 5};
    const std::int64_t total = std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
    EXPECT_EQ(ShardLayout(cut(sizes), ranks).size(0), (total + ranks - 1) / ranks) << ranks;
  }
}

TEST(ShardLayout, NeighboursInTheCutAreSharedEvenly) {
  const ShardLayout layout(cut({3, 3, 3, 3, 100}), 4);
  for (std::size_t first = 0; first < 4; ++first) {
    for (std::size_t end = first + 1; end <= 4; ++end) {
      const auto total = static_cast<std::int64_t>(3 * (end - first));
      for (std::int64_t rank = 0; rank < 4; ++rank) {
        EXPECT_LE(std::abs(4 * owned_by(layout, rank, first, end) - total), 3) << first << " to " << end;
      }
    }
  }
}

TEST(ShardLayout, MatricesOfMuonStayWholeAndTheLargestGoToWhoeverHasLeast) {
  const std::vector<CutWeight> weights = {
      {.size = 6, .whole = true}, {.size = 5}, {.size = 4, .whole = true}, {.size = 4, .whole = true}};
  const ShardLayout layout(weights, 2);
  EXPECT_EQ(layout.of(0)[0].count, 6);
  EXPECT_EQ(layout.of(1)[2].count, 4);
  EXPECT_EQ(layout.of(1)[3].count, 4);
  EXPECT_EQ(layout.of(0)[1].count + layout.of(1)[1].count, 5);
  EXPECT_EQ(layout.size(0) + layout.size(1), 20);  // 19, padded
}

}  // namespace
}  // namespace orrery
