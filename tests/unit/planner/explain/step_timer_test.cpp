// SPDX-License-Identifier: Apache-2.0
#include "planner/explain/step_timer.h"

#include "planner/explain/scaled_cost_model.h"
#include "tests/unit/planner/explain/calibrated_plan.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using testing::calibrated_plan;
using testing::h100_calibration;

TEST(StepTimer, TakesTheTimeOfItsTrace) {
  const Plan plan = calibrated_plan();
  const StepTimer timer(plan, h100_calibration());
  EXPECT_EQ(timer.time(plan.strategy), timer.trace(plan.strategy).steps.front().time);
}

TEST(StepTimer, NamesWhatItsTraceNamesAsExtrapolated) {
  const Plan plan = calibrated_plan();
  const StepTimer timer(plan, h100_calibration());
  const std::vector<std::string> named = timer.trace(plan.strategy).header.extrapolated;
  EXPECT_FALSE(named.empty());
  EXPECT_EQ(timer.extrapolated(plan.strategy), named);
}

TEST(StepTimer, TakesTheSameTimeOnTheSameMachine) {
  const Plan plan = calibrated_plan();
  const StepTimer timer(plan, h100_calibration());
  for (const auto& [name, resource] : kResourceNames) {
    EXPECT_EQ(timer.time(plan.strategy, resource, 1.0), timer.time(plan.strategy)) << name;
  }
}

TEST(StepTimer, IsFasterWithMoreOfARateAndSlowerWithMoreOfATime) {
  Plan plan = calibrated_plan();
  plan.strategy.ep = 16;
  plan.model.moe->num_experts = 16;
  const Plan small = plan;  // whose kernels are as short as the host needs to launch them
  plan.model.hidden = plan.model.moe->expert_width = 4096;
  plan.batch.seq = 8192;
  for (const auto& [name, resource] : kResourceNames) {
    const StepTimer timer(resource == Resource::launch ? small : plan, h100_calibration());
    const double now = timer.time(plan.strategy).in(unit::second);
    const double then = timer.time(plan.strategy, resource, 1.5).in(unit::second);
    if (resource == Resource::scale_up || resource == Resource::host_link) {
      // Rows cross both networks at once, and the slower decides; nothing travels to the host.
      EXPECT_LE(then, now * (1.0 + 1e-12)) << name;
    } else if (is_rate(resource)) {
      EXPECT_LT(then, now * 0.9999) << name;
    } else {
      EXPECT_GT(then, now * 1.0001) << name;
    }
  }
}

TEST(StepTimer, WaitsForTheLinkToTheHostWhereStatesLieThere) {
  Plan plan = calibrated_plan();
  plan.strategy.offload_optimizer = true;
  const StepTimer timer(plan, h100_calibration());
  EXPECT_LT(timer.time(plan.strategy, Resource::host_link, 1.5), timer.time(plan.strategy));
}

TEST(StepTimer, WaitsForLinksWithinANodeWhereNothingLeavesIt) {
  Plan plan = calibrated_plan();
  plan.cluster.groups.front().num_nodes = 1;
  const StepTimer timer(plan, h100_calibration());
  EXPECT_LT(timer.time(plan.strategy, Resource::scale_up, 1.5), timer.time(plan.strategy));
  EXPECT_EQ(timer.time(plan.strategy, Resource::network, 1.5), timer.time(plan.strategy));
}

// A step whose every rate doubles while every overhead halves takes half as long: its shares add up to one.
TEST(StepTimer, ExplainsTheWholeStepByItsResources) {
  const Plan plan = calibrated_plan();
  const StepTimer timer(plan, h100_calibration());
  constexpr double kLittleMore = 1.001;
  const Seconds now = timer.time(plan.strategy);
  double share = 0.0;
  for (const auto& [name, resource] : kResourceNames) {
    const double slope = std::log(timer.time(plan.strategy, resource, kLittleMore) / now) / std::log(kLittleMore);
    share += is_rate(resource) ? -slope : slope;
  }
  EXPECT_NEAR(share, 1.0, 0.02);
}

TEST(ScaledCostModel, DividesTimesOfPointsWhereACalibrationHasNothingElse) {
  costmodel::Calibration calibration;
  calibration.points = {{.op = "gemm",
                         .shape = GemmShape{.m = 1024, .n = 1024, .k = 1024},
                         .time = microseconds(10),
                         .source = "made up"}};
  const Plan plan = calibrated_plan();
  const auto time = [&](Resource resource) {
    const auto model = scaled_cost_model(plan, calibration, Fp8Recipe::tensorwise, resource, 1.25);
    const OpKey key{.op = OpCode::attn_qkv};
    return model->compute(key, GemmShape{.m = 1024, .n = 1024, .k = 1024}, {}, DeviceIndex(0)).time;
  };
  EXPECT_NEAR(time(Resource::arithmetic).in(unit::microsecond), 8.0, 1e-9);
  EXPECT_NEAR(time(Resource::memory_bandwidth).in(unit::microsecond), 10.0, 1e-9);
}

}  // namespace
}  // namespace orrery::planner
