// SPDX-License-Identifier: Apache-2.0
#include "program/lower_order.h"

#include "program/fingerprint.h"
#include "program/lower.h"
#include "tests/unit/program/random_strategies.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace orrery {
namespace {

Plan plan_of(const testing::RandomCase& drawn) {
  Plan plan;
  plan.model = drawn.model;
  plan.strategy = drawn.strategy;
  plan.batch = drawn.batch;
  plan.device_of_rank.resize(static_cast<std::size_t>(drawn.num_devices));
  return plan;
}

StepProgram small_program() {
  const Model model = testing::small_moe();
  return lower(model, testing::small_strategy(model, 2, 2), {.seq = 32, .global_batch = 8}, 8);
}

std::vector<std::pair<std::string, ShapeId>> ops_of(const RankClass& rank_class) {
  std::vector<std::pair<std::string, ShapeId>> ops;
  for (const Op& op : rank_class.ops) {
    ops.emplace_back(to_string(op.key) + " on " + std::to_string(static_cast<int>(op.queue)), op.shape);
  }
  return ops;
}

TEST(LowerOrder, GivesTheOpsAndDependenciesOfLower) {
  testing::for_random_cases(60, [](const testing::RandomCase& drawn, std::uint64_t index) {
    SCOPED_TRACE(index);
    const Plan plan = plan_of(drawn);
    const StepProgram whole = lower(plan), order = lower_order(plan);
    EXPECT_EQ(order.shapes, whole.shapes);
    EXPECT_EQ(order.num_micro_batches, whole.num_micro_batches);
    ASSERT_EQ(order.classes.size(), whole.classes.size());
    for (std::size_t i = 0; i < whole.classes.size(); ++i) {
      EXPECT_EQ(order.classes[i].pipeline_rank, whole.classes[i].pipeline_rank);
      EXPECT_EQ(order.classes[i].stages, whole.classes[i].stages);
      EXPECT_EQ(ops_of(order.classes[i]), ops_of(whole.classes[i]));
      EXPECT_EQ(order.classes[i].dep_begin, whole.classes[i].dep_begin);
      EXPECT_EQ(order.classes[i].deps, whole.classes[i].deps);
      EXPECT_TRUE(order.classes[i].tensors.empty() && order.classes[i].uses.empty());
    }
    EXPECT_EQ(fingerprint_of(order), fingerprint_of(whole));
  });
}

TEST(LowerOrder, KeepsPlacedExperts) {
  Plan plan = plan_of({.model = testing::small_moe(),
                       .strategy = testing::small_strategy(testing::small_moe(), 2, 2),
                       .batch = {.seq = 32, .global_batch = 8},
                       .num_devices = 8});
  plan.experts.layers[2] = {3, 1, 0, 2};
  EXPECT_EQ(lower_order(plan).experts.layers, plan.experts.layers);
}

TEST(Fingerprint, ChangesWithEveryPartThatDecidesTimes) {
  const StepProgram program = small_program();
  const std::vector<std::function<void(StepProgram&)>> changes = {
      [](StepProgram& p) { p.classes[1].ops.pop_back(); },
      [](StepProgram& p) { std::swap(p.classes[0].ops[0], p.classes[0].ops[1]); },
      [](StepProgram& p) { p.classes[0].ops[3].queue = Queue::copy; },
      [](StepProgram& p) { p.classes[0].ops[3].key.micro_batch += 1; },
      [](StepProgram& p) { p.classes[0].ops[3].shape += 1; },
      [](StepProgram& p) { p.classes[1].deps[0] += 1; },
      [](StepProgram& p) { p.classes[1].deps.back() += 1; },
      [](StepProgram& p) { p.classes[0].dep_begin.back() -= 1; },
      [](StepProgram& p) { p.shapes.emplace_back(PeerShape{.bytes = 7}); },
      [](StepProgram& p) { std::swap(p.shapes.front(), p.shapes.back()); },
      [](StepProgram& p) { std::swap(p.classes[0], p.classes[1]); },
      [](StepProgram& p) { p.experts.layers[1] = {1, 0}; },
      [](StepProgram& p) { p.batch.seq *= 2; },
      [](StepProgram& p) { p.num_micro_batches += 1; },
  };
  std::vector<std::int64_t> seen = {fingerprint_of(program)};
  EXPECT_EQ(fingerprint_of(small_program()), seen[0]);
  for (std::size_t i = 0; i < changes.size(); ++i) {
    StepProgram changed = program;
    changes[i](changed);
    const std::int64_t fingerprint = fingerprint_of(changed);
    for (const std::int64_t other : seen) EXPECT_NE(fingerprint, other) << i;
    seen.push_back(fingerprint);
  }
}

TEST(Fingerprint, IsThatOfNoOtherRandomProgram) {
  std::vector<std::pair<std::int64_t, std::string>> known;
  testing::for_random_cases(40, [&](const testing::RandomCase& drawn, std::uint64_t index) {
    const StepProgram order = lower_order(plan_of(drawn));
    const std::pair<std::int64_t, std::string> of(fingerprint_of(order), hash_of(order));
    for (const auto& [fingerprint, hash] : known) EXPECT_EQ(fingerprint == of.first, hash == of.second) << index;
    known.push_back(of);
  });
}

}  // namespace
}  // namespace orrery
