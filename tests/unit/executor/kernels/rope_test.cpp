// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/rope.h"

#include "base/errors.h"
#include "tests/unit/executor/kernels/values.h"

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

constexpr std::int64_t kSequence = 5;
constexpr std::int64_t kHeadDim = 8;
constexpr double kTheta = 10000.0;

const std::vector<std::int64_t> kPositions = {0, 1, 2, 3, 4};

RopeHeads heads(std::int64_t num_heads) { return {.num_heads = num_heads, .stride = kHeadDim}; }

TEST(Rope, TurnsThePairsOfEachHeadByPositionTimesFrequency) {
  const RopeTable table(kSequence, kHeadDim, kTheta);
  const Values before = Values::random(2 * kSequence, 3 * kHeadDim, "x");
  Values after = before;
  rope_forward(table, kPositions, heads(2), after);
  Doubles want = before.doubles();
  const Doubles x = before.doubles();
  for (std::size_t row = 0; row < 2 * kSequence; ++row) {
    for (std::size_t head = 0; head < 2; ++head) {
      for (std::size_t i = 0; i < kHeadDim / 2; ++i) {
        const double angle =
            static_cast<double>(row % kSequence) * std::pow(kTheta, -2.0 * static_cast<double>(i) / kHeadDim);
        const std::size_t first = row * 3 * kHeadDim + head * kHeadDim + i;
        const std::size_t second = first + kHeadDim / 2;
        want[first] = x[first] * std::cos(angle) - x[second] * std::sin(angle);
        want[second] = x[second] * std::cos(angle) + x[first] * std::sin(angle);
      }
    }
  }
  EXPECT_LT(difference(after.doubles(), want), 1e-6);  // the third head, a value head, is as it was
}

TEST(Rope, LeavesPositionZeroAsItIs) {
  const RopeTable table(kSequence, kHeadDim, kTheta);
  const Values before = Values::random(kSequence, kHeadDim, "x", DType::bf16);
  Values after = before;
  rope_forward(table, kPositions, heads(1), after);
  EXPECT_EQ(std::memcmp(before.bytes().data(), after.bytes().data(), kHeadDim * sizeof(bf16)), 0);
  EXPECT_NE(before.bytes(), after.bytes());
}

TEST(Rope, TurnsTheColumnsAndPositionsThatItIsTold) {
  const RopeTable table(8, 4, kTheta);
  const Values before = Values::random(2, 12, "x");
  Values wide = before, alone(2, 4);
  const std::vector<std::int64_t> positions = {3, 7};
  convert(before.view().col_block(8, 4), alone);
  rope_forward(table, positions, {.num_heads = 1, .first = 8, .stride = 12}, wide);
  rope_forward(table, positions, {.num_heads = 1}, alone);
  Values turned(2, 4);
  convert(wide.view().col_block(8, 4), turned);
  EXPECT_EQ(turned.bytes(), alone.bytes());
  EXPECT_EQ(wide.doubles()[0], before.doubles()[0]);
  EXPECT_NE(wide.doubles()[8], before.doubles()[8]);
}

// GLM-4.5: a table of fewer elements than a head turns the first ones of each, and with their own frequencies.
TEST(Rope, TurnsTheFirstPartOfEachHeadWhereTheTableIsNarrower) {
  const RopeTable part(kSequence, kHeadDim / 2, kTheta);
  const Values before = Values::random(kSequence, 2 * kHeadDim, "x");
  Values after = before;
  rope_forward(part, kPositions, heads(2), after);
  for (std::int64_t head = 0; head < 2; ++head) {
    Values alone(kSequence, kHeadDim / 2), turned(kSequence, kHeadDim / 2);
    convert(before.view().col_block(head * kHeadDim, kHeadDim / 2), alone);
    rope_forward(part, kPositions, {.num_heads = 1}, alone);
    convert(after.view().col_block(head * kHeadDim, kHeadDim / 2), turned);
    EXPECT_EQ(turned.bytes(), alone.bytes());
    Values rest(kSequence, kHeadDim / 2), same(kSequence, kHeadDim / 2);
    convert(before.view().col_block(head * kHeadDim + kHeadDim / 2, kHeadDim / 2), rest);
    convert(after.view().col_block(head * kHeadDim + kHeadDim / 2, kHeadDim / 2), same);
    EXPECT_EQ(rest.bytes(), same.bytes());
  }
  EXPECT_NE(before.bytes(), after.bytes());
  rope_backward(part, kPositions, heads(2), after);
  EXPECT_LT(difference(after.doubles(), before.doubles()), 1e-6);
}

TEST(Rope, BackwardTurnsBack) {
  const RopeTable table(kSequence, kHeadDim, kTheta);
  const Values before = Values::random(kSequence, 2 * kHeadDim, "x");
  Values after = before;
  rope_forward(table, kPositions, heads(2), after);
  rope_backward(table, kPositions, heads(2), after);
  EXPECT_LT(difference(after.doubles(), before.doubles()), 1e-6);
}

TEST(Rope, RefusesRowsThatAreNotWholeSequences) {
  const RopeTable table(kSequence, kHeadDim, kTheta);
  Values rows(kSequence + 1, kHeadDim);
  EXPECT_THROW(rope_forward(table, kPositions, heads(1), rows), InternalError);
  EXPECT_THROW(RopeTable(kSequence, 7, kTheta), InternalError);
}

}  // namespace
}  // namespace orrery::executor
