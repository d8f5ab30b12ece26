// SPDX-License-Identifier: Apache-2.0
#include "planner/objective.h"

#include "costmodel/analytic_interpreter.h"
#include "costmodel/lower_bound.h"
#include "planner/operator_table.h"
#include "planner/pipeline_scan.h"
#include "program/arrivals.h"
#include "program/lower.h"
#include "tests/unit/planner/message_of.h"
#include "tests/unit/planner/problem.h"
#include "tests/unit/program/random_strategies.h"
#include "traces/activities.h"
#include "traces/summary.h"

#include <memory>
#include <string>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using costmodel::PowerModel;
using testing::message_of;

constexpr PowerModel kPower{.products = 950.0 * unit::watt,
                            .streaming = 450.0 * unit::watt,
                            .communication = 200.0 * unit::watt,
                            .waiting = 150.0 * unit::watt,
                            .limit = 700.0 * unit::watt};

TEST(Objective, IsTheEnergyOfADeviceInSecondsAtItsLimit) {
  const Activities below{.products = seconds(2), .streaming = seconds(5), .communication = seconds(1)};
  const Activities above{.products = seconds(8), .streaming = seconds(1), .communication = seconds(1)};
  for (const Activities& active : {below, above}) {
    const Joules energy = costmodel::energy_of_device(kPower, seconds(13), active).all();
    for (const Objective objective : {Objective::energy, Objective::carbon}) {
      EXPECT_NEAR(weights_of(objective, kPower).of(seconds(13), active).in(unit::second),
                  (energy / kPower.limit).in(unit::second), 1e-12);
    }
  }
  // More work below the limit is more energy, and above it is not.
  EXPECT_EQ(costmodel::energy_of_device(kPower, seconds(13), below).all(), 5100.0 * unit::joule);
  EXPECT_EQ(costmodel::energy_of_device(kPower, seconds(13), above).all(), 7450.0 * unit::joule);
  EXPECT_EQ(weights_of(Objective::time, std::nullopt), StepWeights());
  EXPECT_EQ(weights_of(Objective::cost, std::nullopt), StepWeights());
}

TEST(Objective, SaysWhatItNeeds) {
  EXPECT_EQ(message_of([] { objective_of("speed"); }),
            "--objective: expected one of time, energy, cost, carbon, memory, got \"speed\"");
  EXPECT_EQ(message_of([] { weights_of(Objective::carbon, std::nullopt); }),
            "carbon: expected the power of a device, in the calibration or as its limit");
  EXPECT_EQ(message_of([] {
              PowerModel power = kPower;
              power.waiting = 300.0 * unit::watt;
              weights_of(Objective::energy, power);
            }),
            "energy: expected a device to draw at least as much while it works as while it waits, got 200 W and 300 W");
}

// Of each kind of work, and so of every objective: with all of them below the limit, with the limit alone, and between.
TEST(Objective, WorkIsNeverLessThanItsBound) {
  const Cluster cluster = testing::small_cluster(8, 4);
  const auto cost = std::make_shared<testing::OneGigaflop>(
      cluster, costmodel::OverlapRule{.compute_slowdown = 0.3, .comm_slowdown = 0.1});
  const costmodel::AnalyticInterpreter analytic(cost, cluster);
  const LoadModel load = BalancedLoad{};
  const StepWeights powers = weights_of(Objective::energy, kPower);
  StepWeights below = powers, at_limit = powers;
  below.limit = 10.0;
  at_limit.products = at_limit.streaming = at_limit.communication = 10.0;
  std::int64_t num_tight = 0, num_streaming_tight = 0, num_limited = 0, num_unlimited = 0;
  testing::for_random_cases(300, [&](const testing::RandomCase& c, std::uint64_t index) {
    if (c.num_devices > cluster.num_devices()) return;
    const Domains d{.overlap_tp = {0, 1}};
    const FullestShare share(c.model, load);
    const FamilyContext context{.model = c.model,
                                .domains = d,
                                .batch = c.batch,
                                .num_devices = c.num_devices,
                                .memory_model = {},
                                .fullest_share = share,
                                .limit = {}};
    const Mesh mesh(c.strategy, c.num_devices);
    const Trace trace = analytic.run(lower(c.model, c.strategy, c.batch, c.num_devices), {});
    const Seconds step = trace.steps.front().time;
    const Activities active = activities(trace), bound = work_bound(context, operators_of(c.strategy), *cost);
    EXPECT_NEAR(active.compute() / step, compute_utilisation(trace), 1e-12) << index;
    EXPECT_LE(active.all(), step * (1.0 + 1e-12)) << index;
    EXPECT_LE(bound.products, active.products * (1.0 + 1e-12)) << index;
    EXPECT_LE(bound.streaming, active.streaming * (1.0 + 1e-12)) << index;
    EXPECT_EQ(bound.communication, Seconds()) << index;
    num_tight += bound.products > 0.7 * active.products ? 1 : 0;
    num_streaming_tight += bound.streaming > 0.5 * active.streaming ? 1 : 0;
    const Seconds of_step = costmodel::lower_bound(c.model, c.strategy, c.batch, mesh, *cost);
    for (const StepWeights& weights : {powers, below, at_limit}) {
      EXPECT_LE(weights.of(of_step, bound), weights.of(step, active) * (1.0 + 1e-12)) << index;
    }
    (powers.of_work(active) < active.all() * powers.limit ? num_unlimited : num_limited) += 1;
  });
  EXPECT_GT(num_tight, 100);
  EXPECT_GT(num_streaming_tight, 50);
  EXPECT_GT(num_limited, 20);
  EXPECT_GT(num_unlimited, 20);
}

}  // namespace
}  // namespace orrery::planner
