// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/probe_run.h"

#include "executor/calibration/sample_table.h"
#include "program/lower.h"
#include "tests/unit/executor/calibration/small_probe.h"
#include "tests/unit/executor/comm/thread_ranks.h"

#include <algorithm>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using ::testing::Each;
using ::testing::Ge;
using ::testing::Gt;
using testing::run_ranks;
using ::testing::SizeIs;
using testing::small_probe;

/// Samples of all ranks, which are threads.
std::vector<RankSamples> samples_of(const Probe& probe, int num_ranks, Seconds max_time = seconds(0.05)) {
  std::vector<RankSamples> samples(static_cast<std::size_t>(num_ranks));
  run_ranks(testing::Backend::shm, {.num_ranks = num_ranks}, [&](Endpoint& endpoint) {
    set_num_threads(1);
    samples[static_cast<std::size_t>(endpoint.rank())] = run_probe(endpoint, probe, max_time, "");
  });
  return samples;
}

using Kind = std::tuple<OpCode, Pass, ShapeId>;

std::set<Kind> kinds_of(const RankClass& rank_class) {
  std::set<Kind> kinds;
  for (const Op& op : rank_class.ops) {
    if (op.queue == Queue::compute) kinds.insert({op.key.op, op.key.pass, op.shape});
  }
  return kinds;
}

std::set<Kind> kinds_of(const RankSamples& samples) {
  std::set<Kind> kinds;
  for (const OpSamples& op : samples.ops) kinds.insert({op.op, op.pass, op.shape});
  return kinds;
}

TEST(ProbeRun, EveryComputeOpOfTheProgramHasTimes) {
  for (const int num_ranks : {1, 2}) {
    const Probe probe = small_probe(num_ranks);
    const StepProgram program = lower(probe.model, probe.strategy, probe.batch, num_ranks);
    for (const RankSamples& samples : samples_of(probe, num_ranks)) {
      EXPECT_EQ(kinds_of(samples), kinds_of(program.classes.front()));
      for (const OpSamples& op : samples.ops) EXPECT_THAT(op.seconds, Each(Gt(0.0))) << name_of(op.op);
      EXPECT_THAT(samples.gaps, Each(Ge(0.0)));
      EXPECT_THAT(samples.steps, ::testing::SizeIs(Ge(1U)));
      EXPECT_THAT(samples.steps, Each(::testing::Gt(0.0)));
    }
  }
}

TEST(ProbeRun, RecomputedOpsAreForwardOps) {
  Probe probe = small_probe(1);
  probe.strategy.stages.front().recompute = {RecomputeModule::full};
  const std::vector<RankSamples> samples = samples_of(probe, 1, seconds(0.0));
  std::map<Pass, int> by_pass;
  for (const OpSamples& op : samples.front().ops) {
    if (op.op == OpCode::attn_qkv) by_pass[op.pass] = static_cast<int>(op.seconds.size());
  }
  // Two layers, run twice forward and once backward, in the one step that counts.
  EXPECT_EQ(by_pass, (std::map<Pass, int>{{Pass::fwd, 4}, {Pass::igrad, 2}, {Pass::wgrad, 2}}));
}

TEST(ProbeRun, ExpertsOfAllRanksGetTheSameRows) {
  const Probe probe = small_probe(2, 1, 2);
  // 16 tokens in 2 sequences, each with 2 experts of 8; 4 experts live on a rank.
  std::vector<std::vector<std::int64_t>> offsets(2);
  run_ranks(testing::Backend::shm, {.num_ranks = 2}, [&](Endpoint& endpoint) {
    set_num_threads(1);
    run_probe(endpoint, probe, seconds(0.0), "", [&](const OpCall& call) {
      if (call.op.key.op == OpCode::moe_fc1) offsets[static_cast<std::size_t>(endpoint.rank())] = call.routed().offsets;
    });
  });
  EXPECT_THAT(offsets, Each(::testing::ElementsAre(0, 16, 32, 48, 64)));
}

TEST(ProbeRun, CollectivesCarryTheirSize) {
  const Probe probe = small_probe(2, 1, 2);
  std::map<std::string, std::set<std::int64_t>> sizes;
  for (const RankSamples& samples : samples_of(probe, 2)) {
    for (const CollectiveSamples& collective : samples.collectives) {
      EXPECT_EQ(collective.ranks, 2);
      EXPECT_THAT(collective.seconds, Each(Gt(0.0)));
      sizes[collective.op].insert(collective.bytes);
    }
  }
  // 64 rows of 32 f32; with a probability for each row; and with 32-bit counts of the 4 experts of both ranks.
  EXPECT_EQ(sizes["all_to_all"], (std::set<std::int64_t>{8192, 8448, 8448 + 32}));
  EXPECT_THAT(sizes["all_reduce"], SizeIs(2));  // dense gradients, and the norm
  EXPECT_EQ(*sizes["all_reduce"].begin(), 32);
}

TEST(ProbeRun, APipelineGivesTheEndOfItsStepOnly) {
  for (const RankSamples& samples : samples_of(small_probe(2, 2), 2)) {
    ASSERT_FALSE(samples.ops.empty());
    for (const OpSamples& op : samples.ops) {
      EXPECT_TRUE(op.pass == Pass::sync || op.pass == Pass::update) << name_of(op.op);
    }
  }
}

/// The zeros of a unit's gradients are written in the time of the op that comes first, and are no part of its point.
TEST(ProbeRun, OpsThatZeroTheGradientsOfAUnitHaveNoTimes) {
  Probe probe = small_probe(2);
  const auto num_times = [&](int zero) {
    probe.strategy.zero_dense = probe.strategy.zero_expert = zero;
    const RankSamples samples = samples_of(probe, 2, seconds(0.0)).front();
    std::int64_t sum = 0;
    for (const OpSamples& op : samples.ops) {
      const bool is_of_layers = op.pass != Pass::sync && op.pass != Pass::update;
      if (is_of_layers) sum += static_cast<std::int64_t>(op.seconds.size());
    }
    return sum;
  };
  const std::int64_t without_units = num_times(1), with_units = num_times(3);
  const RankClass rank_class = lower(probe.model, probe.strategy, probe.batch, 2).classes.front();
  const auto num_buckets = std::ranges::count_if(rank_class.tensors, [](const Tensor& tensor) {
    return tensor.role == TensorRole::grad_bucket || tensor.role == TensorRole::expert_grad_bucket;
  });
  EXPECT_EQ(num_buckets, 5);  // embedding, two layers, the experts of one, head
  // The experts' bucket and that of the rest of their layer start with the same op.
  EXPECT_EQ(with_units, without_units - (num_buckets - 1));
}

TEST(ProbeRun, OneStepCountsWhenThereIsNoTimeAndMoreWhenThereIs) {
  const auto num_updates = [](const RankSamples& samples) {
    const auto found = std::find_if(samples.ops.begin(), samples.ops.end(),
                                    [](const OpSamples& op) { return op.op == OpCode::adamw_dense; });
    return found->seconds.size();
  };
  EXPECT_EQ(num_updates(samples_of(small_probe(1), 1, seconds(0.0)).front()), 1U);
  EXPECT_GT(num_updates(samples_of(small_probe(1), 1, seconds(2.0)).front()), 3U);
}

}  // namespace
}  // namespace orrery::executor
