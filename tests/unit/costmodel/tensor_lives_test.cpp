// SPDX-License-Identifier: Apache-2.0
#include "costmodel/tensor_lives.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using R = TensorRole;
using Part = TensorLives::Part;

/// A layer of two products: `fc1` is saved, `act` is not, and is made again.
TensorTable small_table() {
  TensorTable table;
  table.forward({R::x}, {{R::fc1, 100.0}});
  table.forward({R::fc1}, {{R::act, 50.0}}, RecomputeModule::mlp);
  table.is_exchange();
  table.forward({R::act}, {{At(R::x, 1), 10.0}});
  table.input_grad({At(R::d_x, 1)}, {{R::d_act, 50.0}});
  table.weight_grad({R::act, At(R::d_x, 1)});
  table.input_grad({R::fc1, R::d_act}, {{R::d_x, 10.0}});
  return table;
}

TensorLives::Parts parts_of(const TensorTable& table, double bucket = 0.0) {
  TensorLives lives(10.0, 2);
  lives.begin_unit(0, bucket);
  for (const TableLine& line : table.forward_lines()) lives.add(Part::forward, table, line, 0);
  lives.add(Part::input_grad, table, table.forward_lines()[1], 0);
  for (const TableLine& line : table.backward_lines()) lives.add(Part::input_grad, table, line, 0);
  lives.leaves(R::x, 1);
  lives.leaves(R::d_x, 0);
  return lives.run();
}

TEST(TensorLives, EndWithTheLastOpThatReadsATensor) {
  const TensorTable table = small_table();
  const TensorLives::Parts parts = parts_of(table);
  ASSERT_EQ(parts[0].size(), 1u);
  // An exchange ends a segment. The input entered before, and is no longer needed: it is released where it was read.
  ASSERT_EQ(parts[0][0].work.size(), 2u);
  EXPECT_EQ(parts[0][0].work[0].peak.all, 100.0 - 10.0 + 50.0);
  EXPECT_EQ(parts[0][0].work[0].net.all, 100.0 - 10.0 + 50.0);
  EXPECT_EQ(parts[0][0].work[1].net.all, 10.0 - 50.0);
  const LifeSegment forward = whole(parts[0][0].work);
  EXPECT_EQ(forward.net.all, 100.0 - 10.0 + 10.0);
  EXPECT_EQ(forward.net.saved, 100.0 - 0.0);
  EXPECT_EQ(forward.peak.all, 100.0 - 10.0 + 50.0 + 10.0);
  // Backward: act again, its gradient; act goes, the gradient of the output too; then fc1 against d_x.
  const LifeSegment backward = whole(parts[1][0].work);
  EXPECT_EQ(backward.peak.all, 50.0 + 50.0);
  EXPECT_EQ(backward.net.all, 10.0 - 10.0 - 100.0);
  EXPECT_TRUE(parts[2].empty());
}

TEST(TensorLives, KeepABucketFromTheFirstWeightGradientToTheEndOfTheUnit) {
  const TensorTable table = small_table();
  const LifeSegment backward = whole(parts_of(table, 1000.0)[1][0].work);
  EXPECT_EQ(backward.peak.all, 50.0 + 50.0 + 1000.0);
  EXPECT_EQ(backward.net.all, 10.0 - 10.0 - 100.0);
}

TEST(TensorLives, SayWhatOffloadTakesAway) {
  const TensorTable table = small_table();
  EXPECT_EQ(parts_of(table)[0][0].offloaded.all, 100.0);
  EXPECT_EQ(parts_of(table)[1][0].offloaded.all, 100.0);
}

TEST(LifeSegments, JoinOneBehindTheOther) {
  const LifeSegment low{.peak = {10.0, 0.0}, .net = {5.0, 5.0}}, high{.peak = {7.0, 1.0}, .net = {-5.0, -5.0}};
  EXPECT_EQ(joined(low, high).peak.all, 12.0);
  EXPECT_EQ(joined(low, high).peak.saved, 6.0);
  EXPECT_EQ(joined(low, high).net.all, 0.0);
  EXPECT_EQ(joined(high, low).peak.all, 7.0);
}

TEST(LifeSegments, AlternateWhenTwoStreamsShareARank) {
  const auto up = [](double bytes) { return LifeSegment{.peak = {bytes, 0.0}, .net = {bytes, 0.0}}; };
  const auto down = [](double bytes) { return LifeSegment{.peak = {}, .net = {-bytes, 0.0}}; };
  // One after the other 20 at most; in turn both at once.
  const LifeSegments first = {up(20.0), down(20.0)}, second = {up(15.0), down(15.0)};
  EXPECT_EQ(joined(whole(first), whole(second)).peak.all, 20.0);
  EXPECT_EQ(zipped(first, second).peak.all, 35.0);
  EXPECT_EQ(zipped(first, {}).peak.all, 20.0);
  EXPECT_EQ(zipped(first, second).net.all, 0.0);
}

TEST(LifeSegments, GoOnInTheLastOneWithoutAnExchange) {
  LifeSegments all = {{.peak = {3.0, 0.0}, .net = {1.0, 0.0}}};
  append({{.peak = {5.0, 0.0}, .net = {0.0, 0.0}}, {.peak = {1.0, 0.0}, .net = {1.0, 0.0}}}, all);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].peak.all, 6.0);
  EXPECT_EQ(all[1].net.all, 1.0);
  append({}, all);
  EXPECT_EQ(all.size(), 2u);
}

}  // namespace
}  // namespace orrery::costmodel
