// SPDX-License-Identifier: Apache-2.0
// The closed form and the analytic interpreter over random strategies of all dimensions.
#include "costmodel/cached_cost_model.h"
#include "costmodel/closed_form.h"
#include "costmodel/op_times.h"
#include "program/lower.h"
#include "tests/unit/costmodel/enlarged_cases.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

/// Closed over analytic, sorted.
struct Ratios {
  std::vector<double> sorted;

  void add(double ratio) { sorted.insert(std::upper_bound(sorted.begin(), sorted.end(), ratio), ratio); }
  double at(double share) const {
    return sorted.at(static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1)));
  }
};

// How far the estimate is off is a result (docs/design/closed-form.md), and the bounds here say no more than that.
TEST(ClosedFormOfRandomStrategies, IsNearTheAnalyticInterpreter) {
  const CachedCostModel cached(testing::h800().cost);
  Ratios in_memory, offloaded;
  testing::for_varied_cases(500, [&](const testing::RandomCase& drawn, std::uint64_t index) {
    const testing::RandomCase c = testing::enlarged(drawn);
    ASSERT_TRUE(testing::is_legal(c)) << index;
    const StepProgram program = lower(c.model, c.strategy, c.batch, c.num_devices);
    const TimedProgram timed = time_program(program, cached, testing::h800().cluster, {}, {});
    const OpTimes times = run_events(timed, false);  // a deadlock would be a CHECK
    for (const TimedRank& rank : timed.ranks) {
      Seconds compute;
      for (const Seconds time : rank.compute_time) compute += time;
      EXPECT_GE(times.makespan, compute * (1.0 - 1e-12)) << index;
    }
    const ClosedEstimate closed = estimate_closed(c.model, c.strategy, c.batch, program.mesh, cached);
    (c.strategy.offload_activations ? offloaded : in_memory).add(closed.step_time / times.makespan);
  });
  for (const double share : {0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0}) {
    RecordProperty("ratio_" + std::to_string(share), std::to_string(in_memory.at(share)));
    RecordProperty("offloaded_" + std::to_string(share), std::to_string(offloaded.at(share)));
  }
  EXPECT_GT(in_memory.at(0.0), 0.6);
  EXPECT_GT(in_memory.at(0.05), 0.85);
  EXPECT_NEAR(in_memory.at(0.5), 1.0, 0.005);
  EXPECT_LT(in_memory.at(0.95), 1.1);
  EXPECT_LT(in_memory.at(1.0), 1.5);
  // Their copies are a queue of which it does not know who waits.
  EXPECT_GT(offloaded.at(0.0), 0.6);
  EXPECT_NEAR(offloaded.at(0.5), 1.0, 0.06);
  EXPECT_LT(offloaded.at(1.0), 1.3);
}

}  // namespace
}  // namespace orrery::costmodel
