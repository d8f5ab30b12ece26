// SPDX-License-Identifier: Apache-2.0
#include "sim/bound_check.h"

#include "base/errors.h"
#include "sim/simulate.h"
#include "tests/conformance/random_programs.h"

#include <string>

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using orrery::testing::NanosecondPerByte;
using orrery::testing::ProgramBuilder;
using orrery::testing::small_cluster;

Trace simulated(const StepProgram& program, const Cluster& cluster, const RunInput& input = {},
                Fidelity fidelity = Fidelity::l1, PathSeed seed = {}) {
  const NanosecondPerByte model(cluster);
  return simulate(time_program(program, model, cluster, {}, input), cluster, input, fidelity, {}, seed);
}

TEST(BoundCheck, CountsACommunicationOnceWithItsRatio) {
  // Two stages of two devices, a stage a node. A message of 1 MB takes 5 us + 40 us; an all-reduce of 2 MB in a node
  // 1 us + 20 us, and 1 us + 20 us is also what NVLink allows.
  ProgramBuilder builder(2, 2);
  builder.recv_prev(1, 1000000, {});
  builder.send_next(0, 1000000);
  for (const std::int64_t stage : {0, 1}) builder.all_reduce(stage, Queue::dp, Group::dp, 2000000);
  for (const bool all_ranks : {false, true}) {
    const RunInput input{.all_ranks = all_ranks};
    const Cluster cluster = small_cluster(2, 2);
    const auto rows =
        check_bounds(builder.program(), cluster, {}, input, Fidelity::l1, simulated(builder.program(), cluster, input));
    ASSERT_EQ(rows.size(), 2);
    EXPECT_EQ(rows[0].op, OpCode::pp_send_act);
    EXPECT_EQ(rows[0].count, all_ranks ? 2 : 1);
    EXPECT_NEAR(rows[0].mean_ratio(), 1.0, 1e-9);
    EXPECT_EQ(rows[1].op, OpCode::dp_grad_ar);
    EXPECT_EQ(rows[1].count, 2);
    EXPECT_NEAR(rows[1].bound.in(unit::microsecond), 42.0, 1e-9);
    EXPECT_NEAR(rows[1].least_ratio, 1.0, 1e-9);
  }
}

TEST(BoundCheck, NamesWhatWasTooFast) {
  ProgramBuilder builder(2, 2);
  builder.send_next(0, 1000000);
  builder.recv_prev(1, 1000000);
  const Cluster cluster = small_cluster(2, 2);
  const Trace whole = simulated(builder.program(), cluster);
  Trace trace = whole;
  trace.spans = {};
  for (std::size_t i = 0; i < whole.spans.size(); ++i) {
    Span span = whole.spans.at(i);
    span.end = span.start + microseconds(30);
    trace.spans.push_back(span);
  }
  try {
    check_bounds(builder.program(), cluster, {}, {}, Fidelity::l1, trace);
    FAIL() << "no error";
  } catch (const InternalError& error) {
    EXPECT_EQ(std::string(error.what()),
              "step/mb0/stage0/layer0/fwd/pp.send_act, ranks 0, 2: simulated in 30.0 us, which its links do not allow: "
              "expected at least 45.0 us (40.0 us for the busiest link, 5.00 us for one way)");
  }
}

TEST(BoundCheck, HoldsForRandomProgramsOnSharedLinks) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    orrery::testing::Draws draws{.rng = CounterRng(seed, 1)};
    const auto num_stages = static_cast<std::int64_t>(1 + draws.below(4));
    const std::int64_t ranks_per_stage = std::int64_t{1} << draws.below(3);
    const ProgramBuilder builder = orrery::testing::random_program(draws, num_stages, ranks_per_stage, 100);
    const std::int64_t devices_per_node = std::int64_t{1} << draws.below(3);
    const std::int64_t num_devices = num_stages * ranks_per_stage;
    Cluster cluster = small_cluster((num_devices + devices_per_node - 1) / devices_per_node, devices_per_node);
    cluster.fabric.oversubscription = static_cast<double>(1 + draws.below(3));
    const std::uint64_t simulated_ranks = draws.below(3);
    const RunInput input{.all_ranks = simulated_ranks == 1, .all_replicas = simulated_ranks == 2};
    for (const Fidelity fidelity : {Fidelity::l0, Fidelity::l1}) {
      const Trace trace = simulated(builder.program(), cluster, input, fidelity);
      for (const BoundedOps& ops : check_bounds(builder.program(), cluster, {}, input, fidelity, trace)) {
        EXPECT_GE(ops.least_ratio, 1.0 - 1e-9) << name_of(ops.op);
        EXPECT_GE(ops.mean_ratio(), ops.least_ratio * (1.0 - 1e-12)) << name_of(ops.op);
      }
    }
  }
}

TEST(BoundCheck, HoldsOverRoutersAndPodsWithAnyLoad) {
  Fabric torus{
      .kind = FabricKind::torus, .dimensions = {4, 2}, .link = bytes_per_second(10e9), .hop_latency = Seconds()};
  Fabric dragonfly = torus, pods = small_cluster(8, 2).fabric;
  dragonfly.kind = FabricKind::dragonfly;
  dragonfly.global_link = bytes_per_second(6e9);
  pods.pods = Pods{.leaves = 2, .oversubscription = 8.0};
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    orrery::testing::Draws draws{.rng = CounterRng(seed, 1)};
    const ProgramBuilder builder = orrery::testing::random_program(draws, 2, 8, 40);
    for (const Fabric& fabric : {torus, dragonfly, pods}) {
      Cluster cluster = small_cluster(8, 2);
      cluster.fabric = fabric;
      for (const bool balanced : {true, false}) {
        const LoadModel load =
            balanced ? LoadModel(BalancedLoad{}) : LoadModel(DirichletLoad{.alpha = 0.5, .seed = seed});
        const RunInput input{.load = load, .all_ranks = true};
        for (const Fidelity fidelity : {Fidelity::l1, Fidelity::l2, Fidelity::l3}) {
          for (const PathSeed hash : {PathSeed(), PathSeed(seed)}) {
            if (hash && fidelity == Fidelity::l1) continue;
            SCOPED_TRACE("seed " + std::to_string(seed) + ", fabric " + std::to_string(static_cast<int>(fabric.kind)) +
                         ", " + std::string(name_of(kFidelityNames, fidelity)) + (balanced ? "" : ", skewed") +
                         (hash ? ", hashed" : ""));
            const Trace trace = simulated(builder.program(), cluster, input, fidelity, hash);
            for (const BoundedOps& ops :
                 check_bounds(builder.program(), cluster, {}, input, fidelity, trace, hash.has_value())) {
              EXPECT_GE(ops.least_ratio, 1.0 - 1e-9) << name_of(ops.op);
            }
          }
        }
      }
    }
  }
}

TEST(BoundCheck, IsNearAnExchangeThatIsAloneOnRouters) {
  // The busiest cable is what both know.
  ProgramBuilder builder(1, 8, 8);
  builder.dispatch(0, 4096, 8000);
  Cluster cluster = small_cluster(8, 1);
  cluster.fabric = {
      .kind = FabricKind::torus, .dimensions = {8}, .link = bytes_per_second(10e9), .hop_latency = Seconds()};
  const RunInput input{.all_ranks = true};
  const Trace trace = simulated(builder.program(), cluster, input, Fidelity::l2);
  const auto rows = check_bounds(builder.program(), cluster, {}, input, Fidelity::l2, trace);
  ASSERT_EQ(rows.size(), 1);
  EXPECT_NEAR(rows[0].least_ratio, 1.0, 1e-3);
}

}  // namespace
}  // namespace orrery::sim
