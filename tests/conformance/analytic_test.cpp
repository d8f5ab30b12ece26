// SPDX-License-Identifier: Apache-2.0
// The analytic interpreter on programs whose answer is known: from golden makespans, and by hand.
#include "costmodel/collective_model.h"
#include "costmodel/op_times.h"
#include "tests/conformance/golden_pipelines.h"
#include "tests/conformance/programs.h"

#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using testing::NanosecondPerByte;
using testing::ProgramBuilder;
using testing::small_cluster;

/// A cluster whose links take no time to start: a message of 100 kB then takes 1 us.
Cluster cluster_without_latency(std::int64_t num_devices) {
  Cluster cluster = small_cluster(1, num_devices);
  cluster.groups.front().scale_up.latency = Seconds::zero();
  return cluster;
}

OpTimes times_of(const StepProgram& program, const Cluster& cluster, OverlapRule overlap = {}) {
  return run_events(time_program(program, NanosecondPerByte(cluster, overlap), cluster, {}, {}), true);
}

double in_us(Seconds time) { return time.in(unit::microsecond); }

/// Compares makespan and idle times with the golden ones.
void expect_golden_times(const testing::GoldenPipeline& pipeline, const StepProgram& program, const CostModel& model) {
  const Cluster cluster = cluster_without_latency(pipeline.num_ranks);
  const TimedProgram timed = time_program(program, model, cluster, {}, {});
  const OpTimes times = run_events(timed, true);
  EXPECT_NEAR(in_us(times.makespan), pipeline.makespan, 1e-9);
  for (std::size_t r = 0; r < pipeline.idle.size(); ++r) {
    Seconds busy;
    for (Seconds op : timed.ranks[r].compute_time) busy += op;
    EXPECT_NEAR(in_us(times.makespan - busy), pipeline.idle[r], 1e-9);
  }
}

TEST(AnalyticConformance, ReproducesGoldenMakespansAndIdleTimes) {
  const std::vector<testing::GoldenPipeline> pipelines = testing::golden_pipelines();
  ASSERT_EQ(pipelines.size(), 50);
  for (const testing::GoldenPipeline& pipeline : pipelines) {
    SCOPED_TRACE(pipeline.name);
    Cluster cluster = cluster_without_latency(pipeline.num_ranks);
    cluster.groups.front().scale_up.latency = pipeline.times.message;
    expect_golden_times(pipeline, pipeline.program(), NanosecondPerByte(cluster));
  }
}

TEST(AnalyticConformance, LoweredPipelinesHaveTheGoldenMakespansAndPeaks) {
  int num_lowered = 0;
  for (const testing::GoldenPipeline& pipeline : testing::golden_pipelines()) {
    SCOPED_TRACE(pipeline.name);
    const StepProgram program = pipeline.lowered();
    for (std::size_t r = 0; r < pipeline.peak_live.size(); ++r) {
      EXPECT_EQ(testing::most_in_flight(program.classes[r]), pipeline.peak_live[r]) << "rank " << r;
    }
    if (!pipeline.has_lowered_form()) continue;
    ++num_lowered;
    expect_golden_times(pipeline, program, testing::OneOpForASlot(pipeline.times));
  }
  EXPECT_EQ(num_lowered, 42);
}

TEST(AnalyticConformance, MirroredRanksOfDualPipeFoldToTheFullSimulation) {
  const StepProgram program = testing::lowered_pipeline(Schedule::dualpipe, 4, 8, 1, 2);
  const testing::OneOpForASlot model({.forward = microseconds(10),
                                      .input_grad = microseconds(12),
                                      .weight_grad = microseconds(8),
                                      .message = microseconds(1)});
  const Cluster cluster = cluster_without_latency(8);
  const OpTimes folded = run_events(time_program(program, model, cluster, {}, {}), true);
  const OpTimes full = run_events(time_program(program, model, cluster, {}, {.all_ranks = true}), true);
  ASSERT_EQ(folded.ranks.size(), 4);
  ASSERT_EQ(full.ranks.size(), 8);
  EXPECT_EQ(folded.makespan, full.makespan);
  EXPECT_EQ(folded.ranks[2].end, full.ranks[5].end);
}

// p = 4, period F + B + 2 C (p-1) / p: each message costs, since 1F1B keeps no slack.
// Source of the formula: C (2 (p-1) (m/p + 1) - 2) of extra idle time for m divisible by p
// (docs/design/closed-form.md).
TEST(AnalyticConformance, OneFOneBPaysForEveryMessage) {
  for (const auto& [p, m] : {std::pair<std::int64_t, std::int64_t>{4, 8}, {4, 32}, {8, 16}, {8, 64}}) {
    const Cluster cluster = cluster_without_latency(p);
    const auto makespan = [&](std::int64_t message_bytes) {
      const StepProgram program = testing::pipeline_program(Schedule::one_f_one_b, p, m,
                                                            {.forward = microseconds(10),
                                                             .input_grad = microseconds(10),
                                                             .weight_grad = microseconds(10),
                                                             .message_bytes = message_bytes});
      return in_us(times_of(program, cluster).makespan);
    };
    const std::int64_t rounds = m / p;
    const double expected = 2.0 * static_cast<double>(p - 1) * (static_cast<double>(rounds) + 1.0) - 2.0;
    EXPECT_NEAR(makespan(100000) - makespan(0), expected, 1e-9) << "p " << p << " m " << m;
  }
}

// Gradient exchange beside the last backward: the all-reduce of 2 * 3/4 * 400 kB takes 7 us (1 us + 6 us) while the
// compute beside it needs 5 us of work at 1 / 1.25 of its speed: 6.25 us. Then both are done at 7 us.
TEST(AnalyticConformance, OverlapsGradientExchangeWithCompute) {
  ProgramBuilder builder(1, 4);
  builder.all_reduce(0, Queue::dp, Group::dp, 400000);
  builder.compute(0, microseconds(5));
  const OpTimes times = times_of(builder.program(), small_cluster(1, 4), {.compute_slowdown = 0.25});
  EXPECT_NEAR(in_us(times.ranks[0].end[1]), 6.25, 1e-9);
  EXPECT_NEAR(in_us(times.makespan), 7.0, 1e-9);
}

TEST(AnalyticConformance, FoldedAndFullSimulationAgree) {
  ProgramBuilder builder(2, 4, 2);
  for (std::int64_t stage : {0, 1}) {
    std::vector<OpIndex> inputs;
    if (stage == 1) inputs.push_back(builder.recv_prev(stage, 500000));
    inputs.push_back(builder.dispatch(stage, 100, 1000, inputs));
    const OpIndex experts = builder.experts(stage, 5000, inputs);
    if (stage == 0) builder.send_next(stage, 500000, {experts});
    builder.all_reduce(stage, Queue::dp, Group::dp, 100000, {experts});
    builder.compute(stage, microseconds(20));
    builder.all_reduce(stage, Queue::world, Group::world, 8, {experts});
  }
  const Cluster cluster = small_cluster(4, 2);
  const NanosecondPerByte model(cluster, {.compute_slowdown = 0.19, .comm_slowdown = 0.05});
  const OpTimes folded = run_events(time_program(builder.program(), model, cluster, {}, {}), true);
  const OpTimes full = run_events(time_program(builder.program(), model, cluster, {}, {.all_ranks = true}), true);
  ASSERT_EQ(folded.ranks.size(), 2);
  ASSERT_EQ(full.ranks.size(), 8);
  EXPECT_EQ(folded.makespan, full.makespan);
  EXPECT_EQ(folded.ranks[1].end, full.ranks[4].end);
  EXPECT_EQ(folded.ranks[1].end, full.ranks[7].end);
}

// Two nodes of two devices. With a stage on each node the message takes 5 us + 500 kB / 25 GB/s = 25 us, the sum 1 us +
// 400 kB / 100 GB/s = 5 us. With a pipeline on each the message takes 6 us and the sum 5 us + 16 us.
TEST(AnalyticConformance, OrdersSayWhichDimensionIsInsideANode) {
  const Cluster cluster = small_cluster(2, 2);
  const NanosecondPerByte model(cluster);
  for (const bool all_ranks : {false, true}) {
    const auto makespan = [&](std::string_view order) {
      const StepProgram program = testing::pipeline_of_two(order);
      return in_us(run_events(time_program(program, model, cluster, {}, {.all_ranks = all_ranks}), false).makespan);
    };
    EXPECT_NEAR(makespan("tp-cp-ep-dp-pp"), 10 + 25 + 10 + 5, 1e-9);
    EXPECT_NEAR(makespan("pp-tp-cp-ep-dp"), 10 + 6 + 10 + 21, 1e-9);
  }
}

// On the devices 0, 2, 1 and 3 stages of the default order lie as those of the other one.
TEST(AnalyticConformance, AListOfDevicesSaysMoreThanAnOrder) {
  const Cluster cluster = small_cluster(2, 2);
  const NanosecondPerByte model(cluster);
  const std::vector<DeviceIndex> listed = {DeviceIndex(0), DeviceIndex(2), DeviceIndex(1), DeviceIndex(3)};
  for (const std::string_view order : {"tp-cp-ep-dp-pp", "pp-tp-cp-ep-dp"}) {
    const StepProgram program = testing::pipeline_of_two(order);
    EXPECT_NEAR(in_us(run_events(time_program(program, model, cluster, listed, {}), false).makespan), 47, 1e-9)
        << order;
  }
}

/// Communication as on the routes of the cluster, at the rates of its links.
class OverRoutes : public NanosecondPerByte {
 public:
  explicit OverRoutes(const Cluster& cluster) : NanosecondPerByte(cluster), model_(cluster, {}) {}

  CommTime collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const override {
    return model_.collective(shape, members);
  }
  CommTime exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                    std::span<const DeviceIndex> members) const override {
    return model_.exchange(shape, routing, members);
  }

 private:
  CollectiveModel model_;
};

/// Groups of one class that lie on different routers or pods: the slowest of them decides, folded and not.
void expect_folded_as_full(const Cluster& cluster, std::int64_t ep,
                           const std::vector<DeviceIndex>& device_of_rank = {}) {
  ProgramBuilder builder(1, 12, ep, 12);
  const OpIndex sent = builder.dispatch(0, 1200, 100'000);
  builder.all_reduce(0, Queue::world, Group::world, 8, {builder.experts(0, 1200, {sent})});
  const OverRoutes model(cluster);
  const auto makespan = [&](bool all_ranks) {
    const TimedProgram timed =
        time_program(builder.program(), model, cluster, device_of_rank, {.all_ranks = all_ranks});
    EXPECT_EQ(timed.ranks.size(), all_ranks ? 12 : 1);
    return in_us(run_events(timed, false).makespan);
  };
  const double full = makespan(true);
  EXPECT_NEAR(makespan(false), full, 1e-9 * full);
}

void expect_folded_as_full(const Fabric& fabric, std::int64_t ep) {
  Cluster cluster = small_cluster(12, 1);
  cluster.fabric = fabric;
  expect_folded_as_full(cluster, ep);
}

// Groups of 3 begin at routers 0.0, 0.3, 1.2 and 2.1: the first is at most two routers wide, the next one three.
TEST(AnalyticConformance, FoldedAndFullSimulationAgreeOnATorus) {
  expect_folded_as_full({.kind = FabricKind::torus,
                         .dimensions = {3, 4},
                         .link = bytes_per_second(5e9),
                         .hop_latency = microseconds(200)},
                        3);
}

// Of the groups of 3 the first and the last are within a group of routers.
TEST(AnalyticConformance, FoldedAndFullSimulationAgreeOnADragonfly) {
  expect_folded_as_full({.kind = FabricKind::dragonfly,
                         .dimensions = {3, 4},
                         .link = bytes_per_second(10e9),
                         .global_link = bytes_per_second(5e9),
                         .hop_latency = microseconds(1)},
                        3);
}

// Of the pairs in each two pods one is in both of them.
TEST(AnalyticConformance, FoldedAndFullSimulationAgreeOnPods) {
  expect_folded_as_full(
      {.kind = FabricKind::fat_tree, .nodes_per_leaf = 1, .pods = Pods{.leaves = 3, .oversubscription = 4.0}}, 2);
}

/// Rank r on node r, at the index that the r-th digit says.
void expect_folded_as_full_on_rails(std::int64_t devices_per_node, std::int64_t num_nics, std::string_view indices) {
  Cluster cluster = small_cluster(12, devices_per_node);
  cluster.groups.front().nics->per_node = cluster.groups.front().nics->rails = num_nics;
  cluster.fabric = {.kind = FabricKind::rail_leaf_spine, .nodes_per_leaf = 2, .oversubscription = 8.0};
  std::vector<DeviceIndex> placed;
  for (const char digit : indices) {
    placed.emplace_back(static_cast<std::int32_t>(std::ssize(placed) * devices_per_node + (digit - '0')));
  }
  expect_folded_as_full(cluster, 4, placed);
}

// Groups of 4 nodes below two leaves: the second sends on one rail, the others on both, whose uplinks are twice as
// many.
TEST(AnalyticConformance, FoldedAndFullSimulationAgreeOnRails) { expect_folded_as_full_on_rails(2, 2, "010100000101"); }

// Two devices share a NIC: 1 and 2 have different ones, 0 and 1 the same.
TEST(AnalyticConformance, FoldedAndFullSimulationAgreeOnRailsThatDevicesShare) {
  expect_folded_as_full_on_rails(4, 2, "121201011212");
}

}  // namespace
}  // namespace orrery::costmodel
