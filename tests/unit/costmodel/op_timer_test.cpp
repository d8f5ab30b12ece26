// SPDX-License-Identifier: Apache-2.0
#include "costmodel/op_timer.h"

#include "costmodel/timed_program.h"
#include "program/lower.h"
#include "tests/unit/costmodel/flop_cost_model.h"
#include "tests/unit/program/small_models.h"

#include <memory>
#include <utility>

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

/// Time of the attention of a micro-batch on `rank`, in ps.
double attention_of(const TimedProgram& program, std::size_t rank, std::int32_t micro_batch, Pass pass = Pass::fwd) {
  const std::vector<Op>& ops = program.class_of(program.ranks[rank]).ops;
  for (OpIndex i = 0; i < ops.size(); ++i) {
    const OpKey& key = ops[i].key;
    if (key.op == OpCode::attn_core && key.pass == pass && key.micro_batch == micro_batch) {
      return program.ranks[rank].compute_time[i] / seconds(1e-12);
    }
  }
  ADD_FAILURE() << "no attention";
  return 0.0;
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

/// `program` on two context-parallel ranks: their attention has half of the pairs each.
StepProgram context_parallel(ContextParallel kind) {
  StepProgram program = data_parallel(1);
  program.strategy.cp = 2;
  program.strategy.cp_kind = kind;
  program.mesh = Mesh(program.strategy, 2);
  for (OpShape& shape : program.shapes) {
    auto* attention = std::get_if<AttentionShape>(&shape);
    if (attention == nullptr) continue;
    (kind == ContextParallel::ulysses ? attention->heads : attention->seq) /= 2;
  }
  return program;
}

TEST(OpTimer, ContextParallelRanksAreEqualForOneDocument) {
  for (const auto kind : {ContextParallel::ring, ContextParallel::all_gather, ContextParallel::ulysses}) {
    const TimedProgram times = timed(context_parallel(kind), lengths({{kSeq}}));
    ASSERT_EQ(times.ranks.size(), 2);
    EXPECT_DOUBLE_EQ(attention_of(times, 0, 0), kWhole / 2);
    EXPECT_EQ(attention_of(times, 1, 0), attention_of(times, 0, 0));
  }
}

TEST(OpTimer, ContextParallelRanksDifferWhenDocumentsEndWithinTheSequence) {
  // Chunks of 16: rank 0 has the first and the last, and the document of 48 ends before the last one.
  const TimedProgram zigzag = timed(context_parallel(ContextParallel::ring), lengths({{48, 16}}));
  EXPECT_DOUBLE_EQ(attention_of(zigzag, 0, 0), 2.0 * 4 * 32 * (128 + 128));
  EXPECT_DOUBLE_EQ(attention_of(zigzag, 1, 0), 2.0 * 4 * 32 * (1152 - 128));
  const TimedProgram whole = timed(context_parallel(ContextParallel::ulysses), lengths({{48, 16}}));
  EXPECT_DOUBLE_EQ(attention_of(whole, 0, 0), 2.0 * 2 * 32 * (1152 + 128));
  EXPECT_EQ(attention_of(whole, 1, 0), attention_of(whole, 0, 0));
}

}  // namespace
}  // namespace orrery::costmodel
