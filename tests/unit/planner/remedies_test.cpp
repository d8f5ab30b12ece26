// SPDX-License-Identifier: Apache-2.0
#include "planner/remedies.h"

#include "costmodel/memory.h"
#include "program/arrivals.h"
#include "program/legality.h"
#include "program/mesh.h"
#include "tests/conformance/programs.h"
#include "tests/unit/program/small_models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Field;
using ::testing::Not;

Bytes memory_of(const Plan& plan, const Strategy& strategy) {
  return costmodel::fullest(costmodel::memory_per_stage(plan.model, strategy, plan.batch,
                                                        Mesh(strategy, plan.num_ranks()),
                                                        costmodel::MemoryModel::of(plan.cluster.groups[0].device)));
}

/// GPipe over two stages with micro-batches of 4, on devices that hold `fraction` of what it needs.
Plan plan_that_needs(double fraction) {
  Plan plan;
  plan.model = testing::small_moe();
  plan.cluster = testing::small_cluster(1, 4);
  plan.cluster.groups[0].device.kind = DeviceKind::cpu;  // no reserve: all memory is the plan's
  plan.batch = {.seq = 256, .global_batch = 64};
  plan.strategy = testing::small_strategy(plan.model, 2);
  plan.strategy.micro_batch = 4;
  plan.strategy.schedule = Schedule::gpipe;
  plan.cluster.groups[0].device.memory = memory_of(plan, plan.strategy) * fraction;
  return plan;
}

TEST(Remedies, OffersSmallChangesThatFit) {
  const Plan plan = plan_that_needs(0.9);
  const std::vector<Remedy> found = remedies(plan);
  EXPECT_THAT(found, Contains(Field(&Remedy::change, "schedule 1f1b instead of gpipe")));
  EXPECT_THAT(found, Contains(Field(&Remedy::change, "recompute layernorm in every stage")));
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_LE(found[i].memory, *plan.cluster.groups[0].device.memory) << found[i].change;
    EXPECT_LE(found[i == 0 ? 0 : i - 1].memory, found[i].memory);
  }
}

TEST(Remedies, PredictTheMemoryOfTheChangedPlan) {
  const Plan plan = plan_that_needs(0.9);
  Strategy changed = plan.strategy;
  changed.schedule = Schedule::one_f_one_b;
  EXPECT_THAT(remedies(plan), Contains(AllOf(Field(&Remedy::change, "schedule 1f1b instead of gpipe"),
                                             Field(&Remedy::memory, memory_of(plan, changed)))));
}

TEST(Remedies, CountTheFullestRankOfTheLoad) {
  Plan plan = plan_that_needs(1.0);
  plan.strategy.ep = 2;
  Strategy changed = plan.strategy;
  changed.schedule = Schedule::one_f_one_b;
  plan.load = ZipfLoad{.exponent = 2.0};
  const double rho = FullestShare(plan.model, plan.load).of(changed);
  auto parameters = costmodel::MemoryModel::of(plan.cluster.groups[0].device);
  parameters.rho = rho;
  const Bytes skewed = costmodel::fullest(
      costmodel::memory_per_stage(plan.model, changed, plan.batch, Mesh(changed, plan.num_ranks()), parameters));
  EXPECT_GT(rho, 1.1);
  EXPECT_GT(skewed, memory_of(plan, changed));
  plan.cluster.groups[0].device.memory = skewed;
  EXPECT_THAT(remedies(plan), Contains(Field(&Remedy::memory, skewed)));
  plan.cluster.groups[0].device.memory = 0.999 * skewed;
  EXPECT_THAT(remedies(plan), Not(Contains(Field(&Remedy::memory, skewed))));
}

TEST(Remedies, AreNoneWhenNoSingleChangeIsEnough) { EXPECT_TRUE(remedies(plan_that_needs(1e-3)).empty()); }

}  // namespace
}  // namespace orrery::planner
