// SPDX-License-Identifier: Apache-2.0
#include "base/errors.h"
#include "program/arrivals.h"
#include "program/memory_replay.h"
#include "tests/unit/executor/runtime/thread_ranks.h"

#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::kBatch;
using testing::losses;
using testing::on_all_ranks;
using testing::rich_model;
using testing::settings_of;
using testing::small_model;
using testing::strategy_of;

TEST(Training, TheLossFalls) {
  TrainingSettings settings = settings_of(80);
  settings.adamw.learning_rate = 1e-2F;
  for (const Model& model : {small_model(), rich_model()}) {
    const std::vector<double> curve = losses(lower(model, strategy_of(model), kBatch, 1), settings);
    // From above log(64) = 4.16, that of a guess, towards log(4) = 1.39, that of the text.
    EXPECT_GT(curve.front(), 4.16);
    EXPECT_LT(curve.back(), 3.0);
  }
}

TEST(Training, TheLossFallsInBf16) {
  const Model model = small_model();
  Strategy strategy = strategy_of(model);
  strategy.precision = DType::bf16;
  const std::vector<double> half = losses(lower(model, strategy, kBatch, 1), settings_of(20));
  strategy.precision = DType::f32;
  const std::vector<double> full = losses(lower(model, strategy, kBatch, 1), settings_of(20));
  EXPECT_LT(half.back(), half.front());
  for (std::size_t i = 0; i < half.size(); ++i) EXPECT_NEAR(half[i], full[i], 0.02 * full[i]) << i;
}

TEST(Training, ALossThatIsNoNumberEndsTheRunWithTheRankAndTheReason) {
  TrainingSettings settings = settings_of(5);
  settings.adamw.learning_rate = 1e30F;
  const Model model = small_model();
  const auto segment = Segment::create({.num_ranks = 2});
  EXPECT_THROW(on_all_ranks(lower(model, strategy_of(model, 1, 2), kBatch, 2), settings, segment,
                            [&](RankRuntime& runtime, int) {
                              while (true) runtime.run_step();
                            }),
               BackendError);
  ASSERT_TRUE(segment->failure());
  EXPECT_THAT(segment->failure()->text,
              ::testing::MatchesRegex("expected a finite loss, got -?(nan|inf): training diverges"));
  EXPECT_EQ(segment->failure()->missing, -1);
}

TEST(Training, EverySpanIsInOrderAndEveryOpHasOne) {
  const Model model = small_model();
  const StepProgram program = lower(model, strategy_of(model, 2, 2), kBatch, 4);
  on_all_ranks(program, settings_of(1), [&](RankRuntime& runtime, int rank) {
    const RankRuntime::Step step = runtime.run_step();
    EXPECT_EQ(step.spans.size(), program.class_of(RankId(rank)).ops.size());
    for (const Span& span : step.spans) {
      EXPECT_LE(Seconds::zero(), span.ready);
      EXPECT_LE(span.ready, span.start) << to_string(span.key);
      EXPECT_LE(span.start, span.end) << to_string(span.key);
    }
  });
}

TEST(Training, ArenaPeakEqualsTheReplayOfTheProgramToTheByte) {
  for (const std::int64_t pp : {1, 2}) {
    const Model model = rich_model();
    const StepProgram program = lower(model, strategy_of(model, pp), kBatch, pp);
    on_all_ranks(program, settings_of(2), [&](RankRuntime& runtime, int rank) {
      runtime.run_step();
      runtime.run_step();
      const auto pairs = static_cast<double>(kBatch.seq * model.moe->top_k);
      EXPECT_EQ(static_cast<double>(runtime.state().tensors.arena().peak_bytes()),
                replay_memory(program.class_of(RankId(rank)), pairs).bytes.in(unit::byte));
      EXPECT_EQ(runtime.state().tensors.arena().live_bytes(), 0);
    });
  }
}

// The model's own router sends what it likes; replayed with what it did send, memory is still that of the arena.
TEST(Training, ArenaPeakUnderRecordedLoadsEqualsTheReplayToTheByte) {
  const Model model = rich_model();
  const StepProgram program = lower(model, strategy_of(model, 2, 2), kBatch, 8);
  std::mutex mutex;
  auto recorded = std::make_shared<RecordedLoad>();
  std::map<int, double> measured;
  on_all_ranks(program, settings_of(1), [&](RankRuntime& runtime, int rank) {
    const RankRuntime::Step step = runtime.run_step();
    const Coords at = program.mesh.coords(RankId(rank));
    const std::lock_guard lock(mutex);
    measured[rank] = static_cast<double>(runtime.state().tensors.arena().peak_bytes());
    for (const LoadRecord& load : step.loads) {
      RoutingMatrix& matrix = recorded->matrices[{load.layer, load.micro_batch, load.ep_group}];
      const std::int64_t num_experts = model.moe->num_experts;
      if (matrix.pairs.empty()) {
        matrix = {.group = 2, .num_experts = num_experts, .pairs = {}};
        matrix.pairs.resize(static_cast<std::size_t>(2 * num_experts));
      }
      for (std::int64_t e = 0; e < num_experts; ++e) {
        matrix.pairs[static_cast<std::size_t>(at.ep * num_experts + e)] = load.routing.at(0, e);
      }
    }
  });
  ASSERT_EQ(measured.size(), 8);
  const LoadModel load = std::shared_ptr<const RecordedLoad>(recorded);
  int num_unbalanced = 0;
  for (std::int32_t c = 0; c < 2; ++c) {
    const RankClass& rank_class = program.classes[static_cast<std::size_t>(c)];
    const std::vector<RankId> ranks = distinct_ranks(program, ClassId(c), load);
    const std::vector<Arrivals> arrivals = arrivals_of(program, ranks, load);
    ASSERT_EQ(ranks.size(), 4);
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      const Bytes replayed = replay_memory(rank_class, arrivals[i]).bytes;
      EXPECT_EQ(measured.at(ranks[i].value()), replayed.in(unit::byte)) << ranks[i].value();
      if (replayed != replay_memory(rank_class, Arrivals::balanced()).bytes) ++num_unbalanced;
    }
  }
  EXPECT_GE(num_unbalanced, 4);
}

TEST(Training, RecordsHowManyPairsEachExpertGot) {
  const Model model = small_model();
  const StepProgram program = lower(model, strategy_of(model, 1, 2), kBatch, 2);
  on_all_ranks(program, settings_of(1), [&](RankRuntime& runtime, int) {
    const RankRuntime::Step step = runtime.run_step();
    EXPECT_EQ(step.loads.size(), 3U * 4U);  // MoE layers times micro-batches
    for (const LoadRecord& load : step.loads) {
      double sum = 0.0;
      for (const double pairs : load.routing.pairs) sum += pairs;
      EXPECT_EQ(sum, 16.0 * 2.0);
    }
  });
}

TEST(Training, BalancedRoutingGivesEveryExpertTheSameAndStillLearns) {
  const Model model = small_model();
  const StepProgram program = lower(model, strategy_of(model, 1, 2), kBatch, 2);
  TrainingSettings settings = settings_of(40);
  settings.balanced_routing = true;
  settings.adamw.learning_rate = 1e-2F;
  on_all_ranks(program, settings, [&](RankRuntime& runtime, int) {
    const RankRuntime::Step first = runtime.run_step();
    for (const LoadRecord& load : first.loads) {
      EXPECT_EQ(load.routing.pairs, std::vector<double>(8, 16.0 * 2.0 / 8.0));
    }
    double loss = first.record.loss;
    for (int step = 1; step < 40; ++step) loss = runtime.run_step().record.loss;
    EXPECT_LT(loss, 0.9 * first.record.loss);
  });
}

/// Largest change of a weight of layer 0's output projection in one step.
double largest_change(const TrainingSettings& settings) {
  const Model model = small_model();
  const StepProgram program = lower(model, strategy_of(model), kBatch, 1);
  double largest = 0.0;
  on_all_ranks(program, settings, [&](RankRuntime& runtime, int) {
    const ConstMatrix weight = runtime.state().weights.weight(WeightRole::attn_out, 0);
    const auto* values = static_cast<const float*>(weight.first);
    const std::vector<float> before(values, values + weight.rows * weight.cols);
    runtime.run_step();
    for (std::size_t i = 0; i < before.size(); ++i) {
      largest = std::max(largest, static_cast<double>(std::abs(values[i] - before[i])));
    }
  });
  return largest;
}

TEST(Training, ClippingReachesTheOptimizer) {
  // AdamW hardly minds the size of a gradient until it comes near its epsilon of 1e-8.
  TrainingSettings settings = settings_of(1);
  settings.clip_norm = 0.0;
  const double free = largest_change(settings);
  settings.clip_norm = 1e-9;
  EXPECT_GT(free, 0.9 * static_cast<double>(settings.adamw.learning_rate));
  EXPECT_LT(largest_change(settings), 0.1 * free);
}

TEST(Training, SelectionBiasesMoveByTheirRateAgainstTheLoad) {
  const Model model = rich_model();
  const StepProgram program = lower(model, strategy_of(model, 1, 2), kBatch, 4);
  const TrainingSettings settings = settings_of(1);
  std::mutex mutex;
  std::vector<double> counts(8);  // of layer 1, over all ranks
  std::vector<float> bias;
  on_all_ranks(program, settings, [&](RankRuntime& runtime, int) {
    const RankRuntime::Step step = runtime.run_step();
    const std::lock_guard lock(mutex);
    for (const LoadRecord& load : step.loads) {
      for (std::size_t e = 0; load.layer == 1 && e < 8; ++e) counts[e] += load.routing.pairs[e];
    }
    const std::span<float> mine = runtime.state().weights.router_bias(1);
    bias.assign(mine.begin(), mine.end());
  });
  const double mean = 8.0 * 16.0 * 2.0 / 8.0;  // sequences, tokens, choices, experts
  for (std::size_t e = 0; e < 8; ++e) {
    const float sign = counts[e] < mean ? 1.0F : counts[e] > mean ? -1.0F : 0.0F;
    EXPECT_EQ(bias.at(e), sign * settings.bias_update_rate) << e << ": " << counts[e];
  }
}

TEST(Training, WhatItDoesNotRunIsRefusedInWords) {
  const Model model = small_model();
  EXPECT_THAT(cpu_unsupported(lower(model, strategy_of(model), kBatch, 1)), IsEmpty());
  const auto reasons = [&](auto change) {
    // What refuses a program looks at its model and strategy, not at its ops.
    StepProgram program = lower(model, strategy_of(model), kBatch, 1);
    change(program.model, program.strategy);
    return cpu_unsupported(program);
  };
  const auto no = [](const char* what) { return ElementsAre(std::string("the CPU executor has no ") + what); };
  EXPECT_THAT(reasons([](Model&, Strategy& s) { s.cuda_graphs = true; }), no("CUDA graphs"));
  EXPECT_THAT(reasons([](Model&, Strategy& s) {
                s.optimizer = OptimizerKind::muon;
                s.offload_optimizer = true;
                s.zero_expert = 1;
              }),
              no("offload of Muon's states with ZeRO: whole matrices are dealt, and ranks hold different shares of "
                 "them"));
  EXPECT_THAT(reasons([](Model&, Strategy& s) { s.moment_dtype = DType::bf16; }), no("optimizer states but in f32"));
  EXPECT_THAT(reasons([](Model&, Strategy& s) { s.precision = DType::fp8; }),
              ElementsAre("the CPU executor computes in f32 or bf16, not in fp8"));
  EXPECT_THAT(reasons([](Model&, Strategy& s) { s.fp8_activation_input = true; }),
              ElementsAre("the CPU executor has no fp8 to keep inputs of activation functions in"));
  EXPECT_THAT(reasons([](Model&, Strategy& s) { s.tp = 4; }),
              ElementsAre("the CPU executor has at most 2 tensor-parallel ranks without sequence parallelism, one for "
                          "each key-value head: nobody sums the gradients of copies, got 4"));
  EXPECT_THAT(reasons([](Model& m, Strategy& s) {
                m.num_mtp_modules = 1;
                s.mtp = Mtp::on;
              }),
              ElementsAre("the CPU executor has the modules of multi-token prediction on the stage of the head only"));
}

TEST(Training, GradientsInSeveralBucketsAreNotRefused) {
  Model model = small_model();
  model.vocab = 2'000'000;  // embedding and head have 64 million elements each, 40 million are enough for a bucket
  Strategy strategy = strategy_of(model);
  strategy.overlap.dp_buckets = true;
  EXPECT_THAT(cpu_unsupported(lower(model, strategy, kBatch, 2)), IsEmpty());
}

TEST(Training, WeightsThatNoKernelReadsAreRefusedInWords) {
  StepProgram program = lower(small_model(), strategy_of(small_model()), kBatch, 1);
  Model& model = program.model;  // not all of this can be lowered
  auto& attention = std::get<GroupedQueryAttention>(model.attention);
  attention.qk_norm = true;
  attention.qk_norm_kind = QkNorm::unweighted;
  model.activation = Activation::gelu;
  model.norm_bias = model.learned_positions = true;
  model.max_positions = 64;
  model.moe->scale_input = true;
  EXPECT_THAT(
      cpu_unsupported(program),
      ElementsAre("the CPU executor normalises queries and keys with a weight", "the CPU executor has SwiGLU only",
                  "the CPU executor has RMSNorm only", "the CPU executor has rotary positions only",
                  "the CPU executor scales what leaves an expert, not what enters it"));
}

TEST(Training, NormsOverAllHeadsNeedThemOnOneRank) {
  Model model = small_model();
  auto& attention = std::get<GroupedQueryAttention>(model.attention);
  attention.qk_norm = true;
  attention.qk_norm_kind = QkNorm::whole;
  Strategy strategy = strategy_of(model);
  EXPECT_THAT(cpu_unsupported(lower(model, strategy, kBatch, 1)), IsEmpty());
  strategy.tp = 2;
  strategy.sp = true;
  EXPECT_THAT(
      cpu_unsupported(lower(model, strategy, kBatch, 2)),
      ElementsAre("the CPU executor normalises queries and keys over the heads of one rank: over those of all 2 "
                  "tensor-parallel ranks nobody sums their squares"));
}

}  // namespace
}  // namespace orrery::executor
