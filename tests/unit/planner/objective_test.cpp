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
#include "traces/summary.h"

#include <memory>
#include <string>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using costmodel::PowerModel;
using testing::message_of;

// 200 W while it waits and 500 W at work: a step of 10 s with 4 s of work takes 2000 + 1200 J, as 6.4 s at work do.
TEST(Objective, IsTheEnergyOfADeviceInSecondsAtWork) {
  const PowerModel power{.busy = 500.0 * unit::watt, .waiting = 200.0 * unit::watt};
  for (const Objective objective : {Objective::energy, Objective::carbon}) {
    EXPECT_NEAR(weights_of(objective, power).of(seconds(10.0), seconds(4.0)).in(unit::second), 6.4, 1e-12);
  }
  EXPECT_EQ(weights_of(Objective::time, std::nullopt), StepWeights());
  EXPECT_EQ(weights_of(Objective::cost, std::nullopt), StepWeights());
}

TEST(Objective, SaysWhatItNeeds) {
  EXPECT_EQ(message_of([] { objective_of("speed"); }),
            "--objective: expected one of time, energy, cost, carbon, memory, got \"speed\"");
  EXPECT_EQ(message_of([] { weights_of(Objective::carbon, std::nullopt); }),
            "carbon: expected the power of a device, in the calibration or as its limit");
  EXPECT_EQ(message_of([] {
              weights_of(Objective::energy, PowerModel{.busy = 100.0 * unit::watt, .waiting = 200.0 * unit::watt});
            }),
            "energy: expected a device to draw at least as much while it works as while it waits, got 100 W and 200 W");
}

// The bound of a weighted sum is the sum of two bounds, of which lower_bound has tests of its own.
TEST(Objective, WorkIsNeverLessThanItsBound) {
  const Cluster cluster = testing::small_cluster(8, 4);
  const auto cost = std::make_shared<testing::OneGigaflop>(
      cluster, costmodel::OverlapRule{.compute_slowdown = 0.3, .comm_slowdown = 0.1});
  const costmodel::AnalyticInterpreter analytic(cost, cluster);
  const LoadModel load = BalancedLoad{};
  std::int64_t num_tight = 0;
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
    const Seconds step = trace.steps.front().time, at_work = step * compute_utilisation(trace);
    const Seconds bound = work_bound(context, operators_of(c.strategy), *cost);
    EXPECT_LE(bound, at_work * (1.0 + 1e-12)) << index;
    num_tight += bound > 0.7 * at_work ? 1 : 0;
    const StepWeights weights{.time = 0.4, .work = 0.6};
    const Seconds of_step = costmodel::lower_bound(c.model, c.strategy, c.batch, mesh, *cost);
    EXPECT_LE(weights.of(of_step, bound), weights.of(step, at_work) * (1.0 + 1e-12)) << index;
  });
  EXPECT_GT(num_tight, 100);
}

}  // namespace
}  // namespace orrery::planner
