// SPDX-License-Identifier: Apache-2.0
// What a placement is worth, against the same load by position and against counting by hand.
#include "planner/placement/placement_price.h"

#include "costmodel/analytic_interpreter.h"
#include "program/lower.h"
#include "tests/unit/planner/placement/placement_plan.h"

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using testing::placement_plan;
using testing::skewed_load;

std::shared_ptr<const costmodel::CostModel> cost_of(const Plan& plan) {
  return std::make_shared<orrery::testing::OneGigaflop>(plan.cluster);
}

/// Experts 1 and 2 change places in layers 2 and 3: from ranks 0 and 1 to ranks 1 and 0.
ExpertPlacement exchange() {
  const std::vector<std::int32_t> order = {0, 2, 1, 3, 4, 5, 6, 7};
  return {.layers = {{2, order}, {3, order}}};
}

TEST(PlacementPrice, IsTheStepOfTheSameLoadByPosition) {
  const Plan plan = placement_plan();
  const auto cost = cost_of(plan);
  const PlacementPrice placed = price_of(plan, exchange(), skewed_load(), cost);
  PopularityLoad by_position = *std::get<std::shared_ptr<const PopularityLoad>>(skewed_load());
  for (const std::int64_t layer : {2, 3}) std::swap(by_position.layers[layer][1], by_position.layers[layer][2]);
  const LoadModel moved = std::make_shared<const PopularityLoad>(by_position);
  const PlacementPrice want = price_of(plan, {}, moved, cost);
  EXPECT_EQ(placed.step, want.step);
  EXPECT_EQ(placed.memory, want.memory);
  const PlacementPrice before = price_of(plan, {}, skewed_load(), cost);
  EXPECT_LT(placed.step, before.step);
  EXPECT_EQ(before.num_moved, 0);
  EXPECT_EQ(before.move, Seconds());
  EXPECT_EQ(*break_even(before, placed), placed.move / (before.step - placed.step));
  EXPECT_FALSE(break_even(placed, before));
}

TEST(PlacementPrice, CountsExpertsThatMoveWithTheirStates) {
  Plan plan = placement_plan();
  plan.cluster = orrery::testing::small_cluster(8, 2);  // two ranks share each expert
  plan.strategy.precision = DType::bf16;
  // 64 x 32: two products of fc1 and one of fc2.
  const double elements = 3 * 64 * 32;
  const StateBytes expert = expert_bytes(plan, 2);
  EXPECT_EQ(expert.weights, bytes(2 * elements));
  EXPECT_EQ(expert.masters + expert.moments, bytes(12 * elements));
  const PlacementPrice price = price_of(plan, exchange(), skewed_load(), cost_of(plan));
  EXPECT_EQ(price.num_moved, 4);  // two layers, two experts
  // Weights on both ranks, states on one of them.
  EXPECT_EQ(price.moved, bytes(4 * (2 * 2 + 12) * elements));
  EXPECT_EQ(price.busiest, bytes(2 * (2 + 12 / 2) * elements));
  plan.strategy.zero_expert = 0;
  EXPECT_EQ(price_of(plan, exchange(), skewed_load(), cost_of(plan)).moved, bytes(4 * 2 * 14 * elements));
  plan.experts = exchange();  // where the plan has them already, nothing moves
  EXPECT_EQ(price_of(plan, exchange(), skewed_load(), cost_of(plan)).num_moved, 0);
}

TEST(PlacementPrice, CopiesAreExpertsOfTheirOwnWhoseGradientsAreAdded) {
  const Plan plan = placement_plan();
  const std::vector<std::int32_t> order = {0, 2, 3, 1, 4, 0, 5, 0, 1, 6, 7, 1};
  const ExpertPlacement copies{.layers = {{1, order}, {2, order}, {3, order}}};
  const auto by_position =
      std::get<std::shared_ptr<const PopularityLoad>>(load_of_positions(skewed_load(), plan.model, copies));
  const std::vector<double>& pairs = by_position->layers.at(2);
  EXPECT_DOUBLE_EQ(pairs[0], pairs[5]);
  EXPECT_NEAR(pairs[0] / pairs[1], 3.0, 1e-6);  // 9 / 3 over 1
  const auto cost = cost_of(plan);
  const PlacementPrice before = price_of(plan, {}, skewed_load(), cost),
                       after = price_of(plan, copies, skewed_load(), cost);
  EXPECT_LT(after.step, before.step);
  EXPECT_GT(after.copies_step, Seconds());
  Plan of_more = plan;
  of_more.model.moe->num_experts = 12;
  const PlacementPrice want = price_of(of_more, {}, by_position, cost);
  EXPECT_EQ(after.step, want.step);
  EXPECT_EQ(after.memory, want.memory);
  // Rank 1 has copies of experts 1 and 0, rank 2 of 0 and 1, rank 3 of 1, in two layers of the second pipeline rank; a
  // ring of 3 brings 4/3 of a gradient, in f32 on the wire.
  const double gradient = 3 * 64 * 32 * 4;
  EXPECT_EQ(after.copies_step,
            cost->peer({.bytes = static_cast<std::int64_t>(2 * 2 * 4 * gradient / 3)}, DeviceIndex(0), DeviceIndex(3))
                .alone());
}

TEST(PlacementPrice, GroupsThatCopiesDoNotDivideAreLeftOut) {
  Model model = orrery::testing::small_moe();
  model.moe->num_groups = 4;
  model.moe->top_k_groups = 2;
  EXPECT_EQ(with_copies(model, 12).moe->num_groups, 4);
  EXPECT_EQ(with_copies(model, 10).moe->num_groups, 1);
  EXPECT_EQ(with_copies(model, 8).moe->num_groups, 4);
}

}  // namespace
}  // namespace orrery::planner
