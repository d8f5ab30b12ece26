// SPDX-License-Identifier: Apache-2.0
#include "program/local_parameters.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

std::vector<Box> boxes(const LocalParameter& p, std::int64_t begin, std::int64_t count) {
  std::vector<Box> out;
  std::int64_t next = begin;
  for (const LocalBox& local : local_boxes(p, begin, count)) {
    EXPECT_EQ(local.first, next);
    next += local.box.size();
    out.push_back(local.box);
  }
  EXPECT_EQ(next, begin + count);
  return out;
}

TEST(LocalBoxes, ARangeIsTheRestOfARowWholeRowsAndTheStartOfOne) {
  const LocalParameter p{.boxes = {{10, 4, 3, 5}}, .rows = 4, .cols = 5};
  EXPECT_EQ(boxes(p, 0, 20), (std::vector<Box>{{10, 4, 3, 5}}));
  EXPECT_EQ(boxes(p, 3, 14), (std::vector<Box>{{10, 1, 6, 2}, {11, 2, 3, 5}, {13, 1, 3, 2}}));
  EXPECT_EQ(boxes(p, 6, 2), (std::vector<Box>{{11, 1, 4, 2}}));
  EXPECT_EQ(boxes(p, 6, 0), std::vector<Box>());
}

TEST(LocalBoxes, GateAndUpAreBoxesOfTheirOwn) {
  const LocalParameter p{.boxes = {{2, 2, 0, 3}, {8, 2, 0, 3}}, .rows = 4, .cols = 3};
  EXPECT_EQ(boxes(p, 3, 6), (std::vector<Box>{{3, 1, 0, 3}, {8, 1, 0, 3}}));
  const LocalParameter vector{.boxes = {{0, 1, 2, 2}, {0, 1, 8, 2}}, .rows = 1, .cols = 4};
  EXPECT_EQ(boxes(vector, 1, 2), (std::vector<Box>{{0, 1, 3, 1}, {0, 1, 8, 1}}));
}

}  // namespace
}  // namespace orrery
