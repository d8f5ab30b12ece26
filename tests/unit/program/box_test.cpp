// SPDX-License-Identifier: Apache-2.0
#include "program/box.h"

#include "base/rng.h"

#include <array>
#include <set>
#include <utility>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using Cells = std::set<std::pair<std::int64_t, std::int64_t>>;

void add_cells(const Box& box, Cells& cells) {
  for (std::int64_t row = box.row; row < box.row + box.rows; ++row) {
    for (std::int64_t col = box.col; col < box.col + box.cols; ++col) cells.emplace(row, col);
  }
}

TEST(Box, WithoutAHoleInItsMiddleIsAFrame) {
  const Box hole{1, 1, 1, 2};
  EXPECT_EQ(without({0, 3, 0, 4}, std::span(&hole, 1)),
            (std::vector<Box>{{0, 1, 0, 4}, {2, 1, 0, 4}, {1, 1, 0, 1}, {1, 1, 3, 1}}));
}

TEST(Box, WithoutNothingIsWholeAndWithoutItselfIsNothing) {
  const Box box{2, 3, 4, 5};
  EXPECT_EQ(without(box, {}), std::vector<Box>{box});
  EXPECT_TRUE(without(box, std::span(&box, 1)).empty());
  EXPECT_TRUE(without({2, 0, 4, 5}, {}).empty());
}

// Against cells that are listed one by one.
TEST(Box, WithoutOthersIsWhatTheyLeave) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const CounterRng rng(7, seed);
    std::uint64_t next = 0;
    const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(rng.below(next++, n)); };
    const auto random_box = [&] { return Box{below(6), below(6), below(6), below(6)}; };
    const Box box = random_box();
    const std::array<Box, 4> taken = {random_box(), random_box(), random_box(), random_box()};
    Cells expected, gone, found;
    add_cells(box, expected);
    for (const Box& other : taken) add_cells(other, gone);
    for (const auto& cell : gone) expected.erase(cell);
    std::int64_t size = 0;
    for (const Box& part : without(box, taken)) {
      add_cells(part, found);
      size += part.size();
    }
    EXPECT_EQ(found, expected) << seed;
    EXPECT_EQ(size, static_cast<std::int64_t>(expected.size())) << seed;
  }
}

}  // namespace
}  // namespace orrery
