// SPDX-License-Identifier: Apache-2.0
// One rank for all that do the same, against every rank simulated: random strategies on random clusters, whose leaves
// are oversubscribed and whose gradient rings cross, undisturbed and with a straggler, a fault of a link or traffic.
#include "base/rng.h"
#include "costmodel/op_times.h"
#include "sim/engine.h"
#include "tests/conformance/programs.h"
#include "tests/conformance/random_programs.h"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using costmodel::TimedProgram;
using orrery::testing::Draws;
using orrery::testing::NanosecondPerByte;
using orrery::testing::ProgramBuilder;
using orrery::testing::small_cluster;

/// Stages that exchange, sum gradients over two kinds of groups at once and pass activations on.
ProgramBuilder crossing_step(Draws& draws, std::int64_t stages, std::int64_t ranks, std::int64_t ep) {
  ProgramBuilder builder(stages, ranks, ep);
  const auto size = [&] { return static_cast<std::int64_t>(110880 * (1 + draws.below(10))); };
  for (int round = 0; round < 2; ++round) {
    const std::int64_t activations = size(), gradients = size(), experts = size();
    const auto pairs = static_cast<std::int64_t>(ep * 8 * (1 + static_cast<std::int64_t>(draws.below(8))));
    for (std::int64_t stage = 0; stage < stages; ++stage) {
      std::vector<OpIndex> inputs;
      if (stage > 0) inputs.push_back(builder.recv_prev(stage, activations));
      const OpIndex computed =
          builder.compute(stage, static_cast<double>(5 + draws.below(40)) * unit::microsecond, inputs);
      const OpIndex sent = builder.dispatch(stage, pairs, 4000, {computed});
      const OpIndex later = builder.compute(stage, microseconds(10), {sent});
      builder.all_reduce(stage, Queue::dp, Group::dp, gradients, {computed});
      builder.all_reduce(stage, Queue::edp, Group::edp, experts, {computed});
      if (stage + 1 < stages) builder.send_next(stage, activations, {later});
    }
  }
  return builder;
}

struct Setting {
  std::int64_t stages = 1, ranks = 1, ep = 1;
  Cluster cluster;
  std::string text;
};

/// What the settings of a test may have (docs/design/simgrid.md, "Folding", says why).
struct Limits {
  std::int64_t devices_per_node = 8, nodes_per_leaf = 8;
  double oversubscription = 3.0;
  std::int64_t times_as_many = 1;  // ranks
};

Setting drawn_setting(Draws& draws, const Limits& limits) {
  Setting s;
  s.stages = static_cast<std::int64_t>(1 + draws.below(3));
  s.ranks = limits.times_as_many * (std::int64_t{2} << draws.below(3));
  s.ep = std::int64_t{1} << draws.below(4);
  s.ep = std::min(s.ep, s.ranks);
  const std::int64_t devices = std::min({std::int64_t{1} << draws.below(3), s.ranks, limits.devices_per_node});
  s.cluster = small_cluster(s.stages * s.ranks / devices, devices);
  s.cluster.fabric.nodes_per_leaf = std::min(std::int64_t{1} << draws.below(3), limits.nodes_per_leaf);
  s.cluster.fabric.oversubscription =
      std::min(1.0 + 0.5 * static_cast<double>(draws.below(5)), limits.oversubscription);
  s.text = std::to_string(s.stages) + " stages of " + std::to_string(s.ranks) + " ranks, ep " + std::to_string(s.ep) +
           ", " + std::to_string(devices) + " devices a node, " + std::to_string(s.cluster.fabric.nodes_per_leaf) +
           " nodes a leaf, oversubscribed " + std::to_string(s.cluster.fabric.oversubscription);
  return s;
}

Seconds makespan(const ProgramBuilder& builder, const Cluster& cluster, const RunInput& input, Fidelity fidelity) {
  const TimedProgram timed = time_program(builder.program(), NanosecondPerByte(cluster), cluster, {}, input);
  return run_on_simgrid(timed, cluster, fidelity, false).makespan;
}

enum class Disturbed : std::uint8_t { nothing, rank, link, traffic };

Disturbances drawn_disturbances(Draws& draws, Disturbed what, const Setting& s) {
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(draws.below(static_cast<std::uint64_t>(n)));
  };
  const std::int64_t num_nodes = s.cluster.groups.front().num_nodes;
  switch (what) {
    case Disturbed::nothing:
      break;
    case Disturbed::rank:
      return {.stragglers = {{.rank = below(s.stages * s.ranks), .factor = 1.7}}};
    case Disturbed::link: {
      const auto link = static_cast<LinkClass>(below(3));
      return {.links = {{.link = link, .node = below(num_nodes), .left = 0.4, .when = {.from = microseconds(20)}}}};
    }
    case Disturbed::traffic:
      return {.traffic = {{.from_node = below(num_nodes), .to_node = below(num_nodes), .rate = bytes_per_second(8e9)}}};
  }
  return {};
}

/// Folded and full steps of 40 settings are equal within `tolerance`.
void expect_same(Fidelity fidelity, Disturbed what, double tolerance, const Limits& limits = {}) {
  int num_folded = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Draws draws{.rng = CounterRng(seed, 17)};
    const Setting s = drawn_setting(draws, limits);
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + s.text);
    const ProgramBuilder builder = crossing_step(draws, s.stages, s.ranks, s.ep);
    RunInput input;
    input.disturbances = drawn_disturbances(draws, what, s);
    const NanosecondPerByte model(s.cluster);
    const TimedProgram timed = time_program(builder.program(), model, s.cluster, {}, input);
    if (static_cast<std::int64_t>(timed.ranks.size()) < s.stages * s.ranks) ++num_folded;
    const Seconds folded = makespan(builder, s.cluster, input, fidelity);
    input.all_ranks = true;
    const Seconds full = makespan(builder, s.cluster, input, fidelity);
    EXPECT_LE(abs(folded - full) / full, tolerance)
        << folded.in(unit::microsecond) << " us instead of " << full.in(unit::microsecond) << " us, "
        << timed.ranks.size() << " ranks simulated";
  }
  EXPECT_GE(num_folded, 20);
}

TEST(Folding, ChangesNoStepInClosedForm) { expect_same(Fidelity::l0, Disturbed::nothing, 1e-9); }
TEST(Folding, ChangesNoStep) { expect_same(Fidelity::l1, Disturbed::nothing, 1e-6); }

/// Each replica for itself: as many ranks as between one for all and all of them, and the same step.
TEST(Folding, ChangesNoStepWithinReplicas) {
  int num_between = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Draws draws{.rng = CounterRng(seed, 17)};
    const Setting s = drawn_setting(draws, {});
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + s.text);
    const ProgramBuilder builder = crossing_step(draws, s.stages, s.ranks, s.ep);
    const NanosecondPerByte model(s.cluster);
    const RunInput replicas{.all_replicas = true};
    const auto num_ranks = std::ssize(time_program(builder.program(), model, s.cluster, {}, replicas).ranks);
    EXPECT_GE(num_ranks, s.stages * s.ranks / s.ep);
    if (s.stages < num_ranks && num_ranks < s.stages * s.ranks) ++num_between;
    const Seconds apart = makespan(builder, s.cluster, replicas, Fidelity::l1);
    const Seconds full = makespan(builder, s.cluster, {.all_ranks = true}, Fidelity::l1);
    EXPECT_LE(abs(apart - full), 1e-6 * full) << apart.in(unit::microsecond) << " us";
  }
  EXPECT_GE(num_between, 10);
}

TEST(Folding, ChangesNoStepInPairsOfNodes) {
  expect_same(Fidelity::l2, Disturbed::nothing, 1e-6, {.oversubscription = 1.0});
}
TEST(Folding, ChangesNoStepInPairs) { expect_same(Fidelity::l3, Disturbed::nothing, 1e-6, {.oversubscription = 1.0}); }
TEST(Folding, ChangesNoStepInPairsOfOneNodeALeaf) {
  expect_same(Fidelity::l2, Disturbed::nothing, 1e-6, {.nodes_per_leaf = 1});
  expect_same(Fidelity::l3, Disturbed::nothing, 1e-6, {.nodes_per_leaf = 1});
}

// What is disturbed folds less, so these have four times as many ranks.
TEST(Folding, ChangesNoStepInClosedFormWithAStraggler) {
  expect_same(Fidelity::l0, Disturbed::rank, 1e-9, {.times_as_many = 4});
}
TEST(Folding, ChangesNoStepWithAStraggler) { expect_same(Fidelity::l1, Disturbed::rank, 1e-6, {.times_as_many = 4}); }
TEST(Folding, ChangesNoStepWithAFaultOfALink) {
  expect_same(Fidelity::l1, Disturbed::link, 1e-6, {.times_as_many = 4});
}
TEST(Folding, ChangesNoStepWithTraffic) { expect_same(Fidelity::l1, Disturbed::traffic, 1e-6, {.times_as_many = 4}); }

/// With noise every rank is simulated, and both interpreters draw the same: equal to 1e-9 without contention.
TEST(Folding, LeavesDisturbedComputeTheSameForBothInterpreters) {
  Draws draws{.rng = CounterRng(3, 17)};
  const Setting s = drawn_setting(draws, {});
  const ProgramBuilder builder = crossing_step(draws, s.stages, s.ranks, s.ep);
  Disturbances disturbances{.stragglers = {{.rank = 1, .factor = 1.3}}};
  for (const double noise : {0.0, 0.1}) {
    disturbances.noise = {.per_rank = noise, .per_op = noise, .seed = 5};
    const RunInput input{.disturbances = disturbances};
    const TimedProgram timed = time_program(builder.program(), NanosecondPerByte(s.cluster), s.cluster, {}, input);
    const Seconds analytic = run_events(timed, false).makespan;
    const Seconds simulated = makespan(builder, s.cluster, input, Fidelity::l0);
    EXPECT_LE(abs(simulated - analytic), 1e-9 * analytic);
    EXPECT_GT(
        analytic,
        run_events(time_program(builder.program(), NanosecondPerByte(s.cluster), s.cluster, {}, {}), false).makespan);
    const auto num_simulated = static_cast<std::int64_t>(timed.ranks.size());
    EXPECT_TRUE(noise == 0.0 || num_simulated == s.stages * s.ranks) << num_simulated;
  }
}

}  // namespace
}  // namespace orrery::sim
