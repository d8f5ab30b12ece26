// SPDX-License-Identifier: Apache-2.0
#include "program/memory_replay.h"

#include "program/lower.h"
#include "tests/unit/program/small_models.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::small_moe;
using testing::small_strategy;

Model one_dense_layer() {
  Model model = small_moe(1);
  model.moe.reset();
  return model;
}

TEST(MemoryReplay, SavedActivationsOfADenseLayerEqualTheFormula) {
  const Model model = one_dense_layer();
  Strategy strategy = small_strategy(model);
  strategy.precision = DType::bf16;
  const StepProgram program = lower(model, strategy, {.seq = 8, .global_batch = 1}, 1);
  const RankClass& c = program.classes[0];
  double saved = 0.0;  // alive when the head begins
  for (OpIndex op = 0; c.ops[op].key.layer != OpKey::kHead; ++op) {
    for (const TensorUse& use : c.uses_of(op)) {
      const double bytes = bytes_of(c.tensors[use.tensor()], 0.0);
      if (use.access() == Access::create) saved += bytes;
      if (use.releases()) saved -= bytes;
    }
  }
  // Per token: GQA 4h + 2(n + 2g)d + 2nd + 4n, dense FFN 4h + 6f, ids 8, and the layer's output 2h.
  const double per_token = (4 * 64 + 2 * 8 * 16 + 2 * 64 + 4 * 4) + (4 * 64 + 6 * 128) + 8 + 2 * 64;
  EXPECT_EQ(saved, 8 * per_token);
}

TEST(MemoryReplay, GPipeHoldsAllMicroBatchesAndOneForwardOneBackwardAsManyAsStagesBehind) {
  const Model model = small_moe(4);
  const auto peak = [&](Schedule schedule, std::size_t rank) {
    Strategy strategy = small_strategy(model, 4);
    strategy.schedule = schedule;
    const StepProgram program = lower(model, strategy, {.seq = 32, .global_batch = 8}, 4);
    return replay_memory(program.classes[rank], 64.0).bytes.in(unit::byte);
  };
  // Per micro-batch the middle stages hold the same, so peaks differ by whole multiples of it.
  const double one = (peak(Schedule::gpipe, 1) - peak(Schedule::one_f_one_b, 1)) / (8 - 3);
  EXPECT_EQ(peak(Schedule::gpipe, 2) - peak(Schedule::one_f_one_b, 2), (8 - 2) * one);
  EXPECT_GT(one, 0.0);
}

TEST(MemoryReplay, RecomputationLowersThePeak) {
  const Model model = small_moe(4);
  Strategy strategy = small_strategy(model);
  const auto peak = [&] {
    const StepProgram program = lower(model, strategy, {.seq = 32, .global_batch = 1}, 1);
    return replay_memory(program.classes[0], 64.0).bytes;
  };
  const Bytes none = peak();
  strategy.stages[0].recompute = {RecomputeModule::moe_act};
  const Bytes activation = peak();
  strategy.stages[0].recompute = {RecomputeModule::moe};
  const Bytes block = peak();
  strategy.stages[0].recompute = {RecomputeModule::full};
  const Bytes full = peak();
  EXPECT_LT(activation, none);
  EXPECT_LT(block, activation);
  EXPECT_LT(full, block);
}

TEST(MemoryReplay, ReceivedRowsScaleExpertTensorsOnly) {
  const Model model = small_moe(2);
  Strategy strategy = small_strategy(model, 1, 2);
  const RankClass c = lower(model, strategy, {.seq = 32, .global_batch = 2}, 2).classes[0];
  const ReplayedPeak balanced = replay_memory(c, 64.0), skewed = replay_memory(c, 128.0);
  const auto of = [](const ReplayedPeak& peak, TensorRole role) {
    return peak.by_role[static_cast<std::size_t>(role)];
  };
  EXPECT_EQ(of(skewed, TensorRole::expert_in), 2 * of(balanced, TensorRole::expert_in));
  EXPECT_EQ(of(skewed, TensorRole::x), of(balanced, TensorRole::x));
  EXPECT_GT(of(balanced, TensorRole::expert_in), 0.0);
}

/// Two stages of two ranks, which form an EP group.
StepProgram two_stages() {
  const Model model = small_moe(4);
  return lower(model, small_strategy(model, 2, 2), {.seq = 32, .global_batch = 8}, 4);
}

TEST(MemoryReplay, ABalancedLoadIsThatOfTheRowsThatEveryRankSends) {
  const StepProgram program = two_stages();
  for (const RankClass& c : program.classes) {
    const ReplayedPeak balanced = replay_memory(c, Arrivals::balanced()), same = replay_memory(c, 64.0);
    EXPECT_EQ(balanced.bytes, same.bytes);
    EXPECT_EQ(balanced.op, same.op);
    EXPECT_EQ(balanced.by_role, same.by_role);
  }
}

TEST(MemoryReplay, EveryLayerHasItsOwnRows) {
  const StepProgram program = two_stages();
  const auto peak = [&](double of_layer_2, double of_layer_3) {
    Arrivals arrivals;
    arrivals.set(2, {{.received = of_layer_2}});
    arrivals.set(3, {{.received = of_layer_3}});
    return replay_memory(program.classes[1], arrivals).bytes.in(unit::byte);
  };
  EXPECT_EQ(peak(64, 64), replay_memory(program.classes[1], 64.0).bytes.in(unit::byte));
  EXPECT_GT(peak(128, 64), peak(64, 64));
  EXPECT_GT(peak(64, 128), peak(64, 64));
  EXPECT_LT(peak(128, 64), peak(128, 128));
}

TEST(MemoryReplay, SeveralRanksInOnePassHaveTheSamePeaksAsOneByOne) {
  const StepProgram program = two_stages();
  const LoadModel load = DirichletLoad{.alpha = 0.5, .seed = 3};
  for (std::int32_t c = 0; c < 2; ++c) {
    const RankClass& rank_class = program.classes[static_cast<std::size_t>(c)];
    const auto arrivals = arrivals_of(program, distinct_ranks(program, ClassId(c), load), load);
    const std::vector<Bytes> peaks = replay_peaks(rank_class, arrivals);
    ASSERT_EQ(peaks.size(), 2);
    for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(peaks[i], replay_memory(rank_class, arrivals[i]).bytes);
    EXPECT_NE(peaks[0], peaks[1]);
  }
}

TEST(MemoryTimeline, HasASampleForEachOpAndItsHighestIsThePeak) {
  const StepProgram program = two_stages();
  for (const RankClass& c : program.classes) {
    const std::vector<MemorySample> samples = memory_timeline(c, Arrivals::balanced());
    const ReplayedPeak peak = replay_memory(c, Arrivals::balanced());
    ASSERT_EQ(samples.size(), c.ops.size());
    Bytes highest;
    for (std::size_t i = 0; i < samples.size(); ++i) {
      EXPECT_EQ(samples[i].op, i);
      highest = std::max(highest, samples[i].live);
    }
    EXPECT_EQ(highest, peak.bytes);
    EXPECT_EQ(samples[peak.op].live, peak.bytes);
    double by_role = 0.0;
    for (const double bytes : peak.by_role) by_role += bytes;
    EXPECT_EQ(by_role, peak.bytes.in(unit::byte));
  }
}

TEST(MemoryTimeline, EndsWithNothingAlive) {
  // The optimizer's ops use no tensors of the activations.
  const StepProgram program = two_stages();
  EXPECT_EQ(memory_timeline(program.classes[0], Arrivals::balanced()).back().live, Bytes::zero());
}

}  // namespace
}  // namespace orrery
