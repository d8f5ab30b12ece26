// SPDX-License-Identifier: Apache-2.0
#include "costmodel/op_timer.h"

#include "costmodel/timed_program.h"
#include "program/lower.h"
#include "tests/unit/costmodel/flop_cost_model.h"
#include "tests/unit/program/small_models.h"

#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using testing::lengths;
using testing::PicosecondPerFlop;
using testing::small_cluster;
using testing::small_moe;
using testing::small_strategy;

constexpr std::int64_t kSeq = 64;

/// One dense layer, data parallel: two sequences of each step on each rank, one after the other.
StepProgram data_parallel(std::int64_t num_ranks) {
  Model model = small_moe(1);
  model.moe.reset();
  return lower(model, small_strategy(model), {.seq = kSeq, .global_batch = 2 * num_ranks}, num_ranks);
}

TimedProgram timed(const StepProgram& program, SequenceModel sequences) {
  const Cluster cluster = small_cluster(1, program.mesh.world());
  return time_program(program, PicosecondPerFlop(cluster), cluster, {}, {.sequences = std::move(sequences)});
}

/// Time of the attention of a micro-batch on `rank`, in ps; with a ring of one round, or of all of them.
double attention_of(const TimedProgram& program, std::size_t rank, std::int32_t micro_batch, Pass pass = Pass::fwd,
                    std::optional<std::int16_t> round = std::nullopt) {
  const std::vector<Op>& ops = program.class_of(program.ranks[rank]).ops;
  Seconds time;
  int num_ops = 0;
  for (OpIndex i = 0; i < ops.size(); ++i) {
    const OpKey& key = ops[i].key;
    if (key.op != OpCode::attn_core || key.pass != pass || key.micro_batch != micro_batch) continue;
    if (round && key.bucket != *round) continue;
    time += program.ranks[rank].compute_time[i];
    ++num_ops;
  }
  EXPECT_GT(num_ops, 0);
  return time / seconds(1e-12);
}

// 4 heads of 16, causal: 2 x 4 x (16 + 16) flops for each of the 64^2 / 2 pairs.
constexpr double kWhole = 2.0 * 4 * 32 * 64 * 64 / 2;

TEST(OpTimer, FixedLengthsLeaveOneRankOfEachClass) {
  const StepProgram program = data_parallel(4);
  const TimedProgram fixed = timed(program, FixedLengths{});
  ASSERT_EQ(fixed.ranks.size(), 1);
  EXPECT_DOUBLE_EQ(attention_of(fixed, 0, 0), kWhole);
  EXPECT_EQ(timed(program, lengths({{kSeq}})).ranks.size(), 4);
}

TEST(OpTimer, OneDocumentTakesWhatFixedLengthsTake) {
  const StepProgram program = data_parallel(2);
  const TimedProgram fixed = timed(program, FixedLengths{}), recorded = timed(program, lengths({{kSeq}}));
  for (const TimedRank& rank : recorded.ranks) EXPECT_EQ(rank.compute_time, fixed.ranks[0].compute_time);
}

TEST(OpTimer, TwoDocumentsOfHalfTheLengthTakeHalfOfTheAttentionAndAllOfTheRest) {
  const StepProgram program = data_parallel(2);
  const TimedProgram fixed = timed(program, FixedLengths{}), halves = timed(program, lengths({{32, 32}}));
  const std::vector<Op>& ops = program.classes[0].ops;
  for (OpIndex i = 0; i < ops.size(); ++i) {
    const double factor = ops[i].key.op == OpCode::attn_core ? 0.5 : 1.0;
    EXPECT_EQ(halves.ranks[1].compute_time[i], factor * fixed.ranks[0].compute_time[i]) << to_string(ops[i].key);
  }
  EXPECT_DOUBLE_EQ(attention_of(halves, 0, 1, Pass::igrad), 2.5 * kWhole / 2);
}

TEST(OpTimer, EveryMicroBatchOfEveryRankHasItsOwnDocuments) {
  // Sequences 0 and 1 are those of rank 0, 2 and 3 those of rank 1.
  const TimedProgram program = timed(data_parallel(2), lengths({{64}, {32, 32}, {16, 16, 16, 16}, {32}}));
  EXPECT_DOUBLE_EQ(attention_of(program, 0, 0), kWhole);
  EXPECT_DOUBLE_EQ(attention_of(program, 0, 1), kWhole / 2);
  EXPECT_DOUBLE_EQ(attention_of(program, 1, 0), kWhole / 4);
  EXPECT_DOUBLE_EQ(attention_of(program, 1, 1), kWhole / 4);  // the other half is padding
}

TEST(OpTimer, SequencesOfOneMicroBatchAddUp) {
  Model model = small_moe(1);
  model.moe.reset();
  Strategy strategy = small_strategy(model);
  strategy.micro_batch = 2;
  const StepProgram program = lower(model, strategy, {.seq = kSeq, .global_batch = 2}, 1);
  const TimedProgram times = timed(program, lengths({{64}, {32, 32}}));
  EXPECT_DOUBLE_EQ(attention_of(times, 0, 0), kWhole + kWhole / 2);
}

/// The same layer on two context-parallel ranks.
StepProgram context_parallel(ContextParallel kind) {
  Model model = small_moe(1);
  model.moe.reset();
  Strategy strategy = small_strategy(model);
  strategy.cp = 2;
  strategy.cp_kind = kind;
  return lower(model, strategy, {.seq = kSeq, .global_batch = 2}, 2);
}

TEST(OpTimer, ContextParallelRanksAreEqualForOneDocument) {
  for (const auto kind : {ContextParallel::ring, ContextParallel::all_gather, ContextParallel::ulysses}) {
    const TimedProgram times = timed(context_parallel(kind), lengths({{kSeq}}));
    ASSERT_EQ(times.ranks.size(), 2);
    EXPECT_DOUBLE_EQ(attention_of(times, 0, 0), kWhole / 2);
    EXPECT_EQ(times.ranks[1].compute_time, times.ranks[0].compute_time);
    EXPECT_EQ(timed(context_parallel(kind), FixedLengths{}).ranks[0].compute_time, times.ranks[0].compute_time);
  }
}

TEST(OpTimer, ContextParallelRanksDifferWhenDocumentsEndWithinTheSequence) {
  // Chunks of 16: rank 0 has the first and the last, and the document of 48 ends before the last one.
  for (const auto kind : {ContextParallel::ring, ContextParallel::all_gather}) {
    const TimedProgram zigzag = timed(context_parallel(kind), lengths({{48, 16}}));
    EXPECT_DOUBLE_EQ(attention_of(zigzag, 0, 0), 2.0 * 4 * 32 * (128 + 128));
    EXPECT_DOUBLE_EQ(attention_of(zigzag, 1, 0), 2.0 * 4 * 32 * (1152 - 128));
    EXPECT_DOUBLE_EQ(attention_of(zigzag, 1, 1, Pass::igrad), 2.5 * 2.0 * 4 * 32 * (1152 - 128));
  }
  const TimedProgram whole = timed(context_parallel(ContextParallel::ulysses), lengths({{48, 16}}));
  EXPECT_DOUBLE_EQ(attention_of(whole, 0, 0), 2.0 * 2 * 32 * (1152 + 128));
  EXPECT_EQ(attention_of(whole, 1, 0), attention_of(whole, 0, 0));
}

TEST(OpTimer, RoundsOfARingHaveTheirOwnKeys) {
  const TimedProgram ring = timed(context_parallel(ContextParallel::ring), lengths({{48, 16}}));
  EXPECT_DOUBLE_EQ(attention_of(ring, 0, 0, Pass::fwd, 0), 2.0 * 4 * 32 * (128 + 128));
  EXPECT_DOUBLE_EQ(attention_of(ring, 0, 0, Pass::fwd, 1), 0.0);
  EXPECT_DOUBLE_EQ(attention_of(ring, 1, 0, Pass::fwd, 0), 2.0 * 4 * 32 * (128 + 128 + 256));
  EXPECT_DOUBLE_EQ(attention_of(ring, 1, 0, Pass::fwd, 1), 2.0 * 4 * 32 * (256 + 256));
}

}  // namespace
}  // namespace orrery::costmodel
