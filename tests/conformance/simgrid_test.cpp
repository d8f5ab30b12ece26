// SPDX-License-Identifier: Apache-2.0
// SimGrid against the analytic interpreter: where no link is shared, every op is ready, starts and ends at the same
// date, to 1e-9. What SimGrid does where links are shared is in tests/unit/sim, with answers by hand.
#include "costmodel/op_times.h"
#include "sim/engine.h"
#include "tests/conformance/golden_pipelines.h"
#include "tests/conformance/programs.h"
#include "tests/conformance/random_programs.h"

#include <cmath>
#include <string>

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using costmodel::OpTimes;
using costmodel::OverlapRule;
using costmodel::TimedProgram;
using testing::NanosecondPerByte;
using testing::ProgramBuilder;
using testing::small_cluster;

void expect_same(const std::vector<Seconds>& simulated, const std::vector<Seconds>& analytic, const std::string& what) {
  ASSERT_EQ(simulated.size(), analytic.size());
  for (std::size_t op = 0; op < analytic.size(); ++op) {
    EXPECT_LE(std::abs(simulated[op] / unit::second - analytic[op] / unit::second),
              1e-9 * (analytic[op] / unit::second))
        << what << " of op " << op << ": " << simulated[op].in(unit::microsecond) << " us instead of "
        << analytic[op].in(unit::microsecond) << " us";
  }
}

/// Runs the program both ways at both fidelities; returns the analytic makespan.
Seconds expect_agreement(const TimedProgram& timed, const Cluster& cluster) {
  const OpTimes analytic = run_events(timed, true);
  for (const Fidelity fidelity : {Fidelity::l0, Fidelity::l1}) {
    const OpTimes simulated = run_on_simgrid(timed, cluster, fidelity, true);
    for (std::size_t rank = 0; rank < analytic.ranks.size(); ++rank) {
      const std::string where = std::string(name_of(kFidelityNames, fidelity)) + ", rank " + std::to_string(rank);
      expect_same(simulated.ranks[rank].ready, analytic.ranks[rank].ready, where + ", ready");
      expect_same(simulated.ranks[rank].start, analytic.ranks[rank].start, where + ", start");
      expect_same(simulated.ranks[rank].end, analytic.ranks[rank].end, where + ", end");
    }
    expect_same({simulated.makespan}, {analytic.makespan}, "makespan");
  }
  return analytic.makespan;
}

Seconds expect_agreement(const StepProgram& program, const Cluster& cluster, OverlapRule overlap = {},
                         const RunInput& input = {}) {
  return expect_agreement(time_program(program, NanosecondPerByte(cluster, overlap), cluster, {}, input), cluster);
}

TEST(SimGridConformance, ComputeAlone) {
  ProgramBuilder builder;
  for (int i = 1; i <= 20; ++i) builder.compute(0, microseconds(i) / 7.0);
  expect_agreement(builder.program(), small_cluster(1, 1));
}

TEST(SimGridConformance, ReproducesGoldenMakespans) {
  const std::vector<testing::GoldenPipeline> pipelines = testing::golden_pipelines();
  ASSERT_EQ(pipelines.size(), 50);
  for (const testing::GoldenPipeline& pipeline : pipelines) {
    SCOPED_TRACE(pipeline.name);
    Cluster cluster = small_cluster(1, pipeline.num_ranks);
    cluster.groups.front().scale_up.latency = pipeline.times.message;
    EXPECT_NEAR(expect_agreement(pipeline.program(), cluster).in(unit::microsecond), pipeline.makespan, 1e-9);
  }
}

TEST(SimGridConformance, LoweredPipelinesHaveTheGoldenMakespans) {
  for (const testing::GoldenPipeline& pipeline : testing::golden_pipelines()) {
    if (!pipeline.has_lowered_form()) continue;
    SCOPED_TRACE(pipeline.name);
    const Cluster cluster = small_cluster(1, pipeline.num_ranks);
    const StepProgram program = pipeline.lowered();
    const TimedProgram timed = time_program(program, testing::OneOpForASlot(pipeline.times), cluster, {}, {});
    EXPECT_NEAR(expect_agreement(timed, cluster).in(unit::microsecond), pipeline.makespan, 1e-9);
  }
}

// The hand calculation is in analytic_test.cpp.
TEST(SimGridConformance, OrdersSayWhichDimensionIsInsideANode) {
  const auto makespan = [](std::string_view order) {
    return expect_agreement(testing::pipeline_of_two(order), small_cluster(2, 2)).in(unit::microsecond);
  };
  EXPECT_NEAR(makespan("tp-cp-ep-dp-pp"), 50, 1e-9);
  EXPECT_NEAR(makespan("pp-tp-cp-ep-dp"), 47, 1e-9);
}

TEST(SimGridConformance, PipelineWithMessagesThatHideNothing) {
  for (const std::int64_t stages : {2, 4, 8}) {
    for (const Schedule schedule : {Schedule::gpipe, Schedule::one_f_one_b}) {
      const StepProgram program = testing::pipeline_program(schedule, stages, 16,
                                                            {.forward = microseconds(10),
                                                             .input_grad = microseconds(13),
                                                             .weight_grad = microseconds(7),
                                                             .message_bytes = 100000});
      expect_agreement(program, small_cluster(stages, 1));
    }
  }
}

/// Two stages of four ranks: dispatch, experts, gradient exchange beside compute, norm over the world. A rank has one
/// communication at a time.
ProgramBuilder small_step() {
  ProgramBuilder builder(2, 4, 2);
  for (const std::int64_t stage : {0, 1}) {
    std::vector<OpIndex> inputs;
    if (stage == 1) inputs.push_back(builder.recv_prev(stage, 500000));
    inputs.push_back(builder.dispatch(stage, 100, 1000, inputs));
    const OpIndex experts = builder.experts(stage, 5000, inputs);
    const OpIndex last = stage == 0 ? builder.send_next(stage, 500000, {experts}) : experts;
    const OpIndex tail = builder.compute(stage, microseconds(20));
    const OpIndex reduced = builder.all_reduce(stage, Queue::dp, Group::dp, 100000, {last});
    builder.compute(stage, microseconds(3));
    builder.all_reduce(stage, Queue::world, Group::world, 8, {tail, reduced});
  }
  return builder;
}

// On one device per node: the four ranks of a stage are four nodes, and their messages use the way to the next four.
TEST(SimGridConformance, CollectivesFoldedAndFull) {
  const ProgramBuilder builder = small_step();
  for (const std::int64_t devices_per_node : {1, 2, 4, 8}) {
    const Cluster cluster = small_cluster(8 / devices_per_node, devices_per_node);
    const Seconds folded = expect_agreement(builder.program(), cluster);
    const Seconds full = expect_agreement(builder.program(), cluster, {}, {.all_ranks = true});
    EXPECT_LE(abs(folded - full), 1e-12 * full) << devices_per_node;
  }
}

TEST(SimGridConformance, SkewedLoadOnEveryRank) {
  const ProgramBuilder builder = small_step();
  expect_agreement(builder.program(), small_cluster(8, 1), {}, {.load = DirichletLoad{.alpha = 0.5, .seed = 3}});
}

TEST(SimGridConformance, OverlapSlowsBothSides) {
  const ProgramBuilder builder = small_step();
  for (const OverlapRule& rule : {OverlapRule{.compute_slowdown = 0.19}, OverlapRule{.comm_slowdown = 0.31},
                                  OverlapRule{.compute_slowdown = 0.07, .comm_slowdown = 0.4}}) {
    expect_agreement(builder.program(), small_cluster(8, 1), rule, {.all_ranks = true});
    expect_agreement(builder.program(), small_cluster(4, 2), rule);
  }
}

TEST(SimGridConformance, RandomPrograms) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    testing::Draws draws{.rng = CounterRng(seed, 0)};
    const auto num_stages = static_cast<std::int64_t>(1 + draws.below(4));
    const auto ranks_per_stage = static_cast<std::int64_t>(1 + draws.below(2));
    const ProgramBuilder builder = testing::random_program(draws, num_stages, ranks_per_stage, 300);
    const RunInput input{.all_ranks = draws.below(2) == 0};
    const Cluster cluster = small_cluster(num_stages, ranks_per_stage);
    const double slowdown = draws.below(2) == 0 ? 0.0 : 0.23;
    const Seconds makespan = expect_agreement(builder.program(), cluster, {.compute_slowdown = slowdown}, input);
    EXPECT_GT(makespan, Seconds::zero());
    expect_agreement(builder.program(), cluster, {.compute_slowdown = slowdown, .comm_slowdown = 0.11}, input);
  }
}

}  // namespace
}  // namespace orrery::sim
