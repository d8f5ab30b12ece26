// SPDX-License-Identifier: Apache-2.0
#include "program/dimension_rules.h"

#include "tests/unit/program/small_models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::small_mla;
using testing::small_moe;
using testing::small_strategy;
using testing::staged_strategy;

constexpr BatchShape kBatch{.seq = 32, .global_batch = 16};

/// "key: expected" of each rule of a dimension that is broken on 16 devices.
std::vector<std::string> broken(const Model& model, const Strategy& strategy, const BatchShape& batch = kBatch) {
  std::vector<std::string> out;
  for (const Violation& v : dimension_violations(model, strategy, batch, 16)) {
    EXPECT_EQ(v.hint, "");
    out.push_back(v.key + ": " + v.expected);
  }
  return out;
}

Model dense_model() {
  Model model = small_moe();
  model.moe.reset();
  model.layers.assign(4, LayerKind::dense);
  return model;
}

Strategy tensor_parallel(std::int64_t tp) {
  Strategy strategy = small_strategy(small_moe());
  strategy.tp = tp;
  strategy.sp = tp > 1;
  return strategy;
}

Strategy context_parallel(std::int64_t cp, ContextParallel kind) {
  Strategy strategy = small_strategy(small_moe());
  strategy.cp = cp;
  strategy.cp_kind = kind;
  return strategy;
}

TEST(DimensionRules, AcceptThePlainChoices) {
  for (const Model& model : {small_moe(), small_mla(), dense_model()}) {
    EXPECT_THAT(broken(model, small_strategy(model)), IsEmpty());
  }
}

TEST(DimensionRules, TensorParallelDividesWhatItSplits) {
  EXPECT_THAT(broken(small_moe(), tensor_parallel(2)), IsEmpty());
  EXPECT_THAT(broken(small_moe(), tensor_parallel(4)), IsEmpty()) << "key-value heads are copied";
  Model model = small_mla();
  model.attention = GroupedQueryAttention{.num_heads = 12, .num_kv_heads = 6, .head_dim = 16};
  model.vocab = 258;
  model.dense_width = 130;
  model.moe->shared_width = 34;
  EXPECT_THAT(broken(model, tensor_parallel(4), {.seq = 34, .global_batch = 16}),
              ElementsAre("tp: expected a divisor or a multiple of 6 (key-value heads), got 4",
                          "tp: expected a divisor of 258 (rows of the vocabulary), got 4",
                          "tp: expected a divisor of 130 (width of the dense layers), got 4",
                          "tp: expected a divisor of 34 (width of the shared experts), got 4",
                          "tp: expected a divisor of 34 (tokens of a sequence on a rank), got 4"));
}

TEST(DimensionRules, TensorParallelOfLatentAttentionDividesItsHeads) {
  EXPECT_THAT(broken(small_mla(), tensor_parallel(4)), IsEmpty());
  Model model = small_mla();
  std::get<MultiHeadLatentAttention>(model.attention).num_heads = 6;
  EXPECT_THAT(broken(model, tensor_parallel(4)),
              ElementsAre("tp: expected a divisor or a multiple of 6 (key-value heads), got 4"));
}

TEST(DimensionRules, TensorParallelExpertsNeedSequenceParallel) {
  Strategy strategy = tensor_parallel(2);
  strategy.sp = false;
  EXPECT_THAT(broken(small_moe(), strategy),
              ElementsAre("sp: expected true, since tp is above 1 and the model has experts, got false"));
  EXPECT_THAT(broken(dense_model(), strategy), IsEmpty());
  strategy.overlap.tp = true;
  EXPECT_THAT(broken(dense_model(), strategy),
              ElementsAre("overlap/tp: expected false, since without sp nothing is gathered, got true"));
}

TEST(DimensionRules, SequencesSplitInTwoChunksForEachContextRank) {
  EXPECT_THAT(broken(small_moe(), context_parallel(2, ContextParallel::ring)), IsEmpty());
  EXPECT_THAT(broken(small_moe(), context_parallel(2, ContextParallel::ring), {.seq = 34, .global_batch = 16}),
              ElementsAre("cp: expected a divisor of 34 (tokens of a sequence, in two chunks for each rank), got 4"));
}

TEST(DimensionRules, ARingDoesNotKnowWindows) {
  Model model = small_moe();
  model.spans.assign(model.layers.size(), {});
  EXPECT_THAT(broken(model, context_parallel(2, ContextParallel::ring)), IsEmpty());
  model.spans.back().window = 8;
  EXPECT_THAT(
      broken(model, context_parallel(2, ContextParallel::ring)),
      ElementsAre("cp_kind: expected \"all_gather\" or \"ulysses\", since layers see a window: rounds of a ring "
                  "would be uneven, got \"ring\""));
  EXPECT_THAT(broken(model, context_parallel(2, ContextParallel::all_gather)), IsEmpty());
}

TEST(DimensionRules, UlyssesDividesTheHeadsOfARank) {
  EXPECT_THAT(broken(small_moe(), context_parallel(2, ContextParallel::ulysses)), IsEmpty());
  Strategy strategy = context_parallel(4, ContextParallel::ulysses);
  EXPECT_THAT(broken(small_moe(), strategy),
              ElementsAre("cp: expected a divisor of 2 (key-value heads of a TP rank), got 4"));
  strategy.tp = 2;
  strategy.sp = true;
  EXPECT_THAT(broken(small_moe(), strategy),
              ElementsAre("cp: expected a divisor of 2 (attention heads of a TP rank), got 4",
                          "cp: expected a divisor of 1 (key-value heads of a TP rank), got 4"));
}

TEST(DimensionRules, CapacityIsAFactorOfExchangedRows) {
  Strategy strategy = small_strategy(small_moe(), 1, 2);
  strategy.capacity_factor = 1.25;
  EXPECT_THAT(broken(small_moe(), strategy), IsEmpty());
  strategy.capacity_factor = 0.0;
  strategy.dispatcher = Dispatcher::two_level;
  EXPECT_THAT(broken(small_moe(), strategy),
              ElementsAre("capacity_factor: expected more than 0, got 0",
                          "dispatcher: expected \"all_to_all\", since only its rows have places to drop from "
                          "(capacity_factor), got \"two_level\""));
  strategy = small_strategy(dense_model());
  strategy.capacity_factor = 1.0;
  EXPECT_THAT(broken(dense_model(), strategy),
              ElementsAre("capacity_factor: expected null, since the model has no experts"));
}

TEST(DimensionRules, DispatchersNeedRowsThatTravel) {
  Strategy strategy = small_strategy(small_moe(), 1, 1);
  strategy.dispatcher = Dispatcher::all_gather;
  EXPECT_THAT(broken(small_moe(), strategy),
              ElementsAre("dispatcher: expected \"all_to_all\", since ep is 1 and no row travels, got \"all_gather\""));
  strategy.ep = 2;
  EXPECT_THAT(broken(small_moe(), strategy), IsEmpty());
}

TEST(DimensionRules, ShardingNeedsSomethingToShard) {
  Strategy strategy = small_strategy(dense_model());
  strategy.zero_expert = 1;
  EXPECT_THAT(broken(dense_model(), strategy),
              ElementsAre("zero_expert: expected 0, since the model has no experts, got 1"));
  strategy = small_strategy(small_moe());
  strategy.num_optimizer_instances = 2;
  EXPECT_THAT(broken(small_moe(), strategy),
              ElementsAre("num_optimizer_instances: expected 1, since nothing is sharded, got 2"));
}

TEST(DimensionRules, OptimizerInstancesDivideTheRanksThatShare) {
  Strategy strategy = small_strategy(small_moe(), 2, 4);
  strategy.zero_dense = 1;
  strategy.num_optimizer_instances = 2;
  EXPECT_THAT(broken(small_moe(), strategy), IsEmpty());
  strategy.num_optimizer_instances = 3;
  EXPECT_THAT(broken(small_moe(), strategy),
              ElementsAre("num_optimizer_instances: expected a divisor of 8 (ranks that share dense parameters), got 3",
                          "num_optimizer_instances: expected a divisor of 2 (ranks that share an expert), got 3"));
  strategy.num_optimizer_instances = 4;
  EXPECT_THAT(broken(small_moe(), strategy),
              ElementsAre("num_optimizer_instances: expected a divisor of 2 (ranks that share an expert), got 4"));
  strategy.schedule = Schedule::dualpipe;  // two pipeline ranks hold each stage
  EXPECT_THAT(broken(small_moe(), strategy), IsEmpty());
}

TEST(DimensionRules, GradientBucketsNeedWholeGradients) {
  Strategy strategy = small_strategy(small_moe());
  strategy.overlap.dp_buckets = true;
  strategy.zero_dense = 1;
  EXPECT_THAT(broken(small_moe(), strategy), IsEmpty());
  strategy.zero_dense = 2;
  EXPECT_THAT(broken(small_moe(), strategy),
              ElementsAre("overlap/dp_buckets: expected false, since ZeRO 2 and 3 exchange layer by layer already, got "
                          "true"));
}

TEST(DimensionRules, BatchLevelOverlapNeedsForwardAndBackwardInTurn) {
  const Model model = small_moe();
  Strategy strategy = small_strategy(model, 2, 2);
  strategy.overlap.ep_batch_level = true;
  EXPECT_THAT(broken(model, strategy), IsEmpty());
  strategy.schedule = Schedule::gpipe;
  EXPECT_THAT(
      broken(model, strategy),
      ElementsAre("overlap/ep_batch_level: expected false, since schedule \"gpipe\" has no forward and backward "
                  "in turn, got true"));
  strategy.schedule = Schedule::one_f_one_b;
  strategy.ep = 1;
  EXPECT_THAT(broken(model, strategy),
              ElementsAre("overlap/ep_batch_level: expected false, since ep is 1 and no row travels, got true"));
}

TEST(DimensionRules, SharedExpertsOverlapWhereTheyAre) {
  Strategy strategy = small_strategy(small_moe());
  strategy.overlap.shared_expert = true;
  EXPECT_THAT(broken(small_mla(), strategy), IsEmpty());
  for (const Model& model : {small_moe(), dense_model()}) {
    EXPECT_THAT(broken(model, strategy),
                ElementsAre("overlap/shared_expert: expected false, since the model has no shared experts, got true"));
  }
}

TEST(DimensionRules, StatesAreFloats) {
  Strategy strategy = small_strategy(small_moe());
  strategy.master_dtype = strategy.moment_dtype = strategy.grad_dtype = strategy.grad_wire_dtype = DType::bf16;
  EXPECT_THAT(broken(small_moe(), strategy), IsEmpty());
  strategy.master_dtype = strategy.moment_dtype = strategy.grad_dtype = strategy.grad_wire_dtype = DType::fp8;
  EXPECT_THAT(broken(small_moe(), strategy), ElementsAre("master_dtype: expected \"f32\" or \"bf16\", got \"fp8\"",
                                                         "moment_dtype: expected \"f32\" or \"bf16\", got \"fp8\"",
                                                         "grad_dtype: expected \"f32\" or \"bf16\", got \"fp8\"",
                                                         "grad_wire_dtype: expected \"f32\" or \"bf16\", got \"fp8\""));
}

TEST(DimensionRules, GradientsInWholeNumbersTravelAsSuch) {
  Strategy strategy = small_strategy(small_moe());
  strategy.grad_dtype = strategy.grad_wire_dtype = DType::i64;
  EXPECT_THAT(broken(small_moe(), strategy), IsEmpty());
  strategy.grad_wire_dtype = DType::f32;
  EXPECT_THAT(
      broken(small_moe(), strategy),
      ElementsAre("grad_wire_dtype: expected the type of grad_dtype, since whole numbers (\"i64\") are added as "
                  "such wherever they are, got \"f32\" and \"i64\""));
  std::swap(strategy.grad_dtype, strategy.grad_wire_dtype);
  EXPECT_THAT(
      broken(small_moe(), strategy),
      ElementsAre("grad_wire_dtype: expected the type of grad_dtype, since whole numbers (\"i64\") are added as "
                  "such wherever they are, got \"i64\" and \"f32\""));
}

TEST(DimensionRules, MuonNeedsWholeGradients) {
  Strategy strategy = small_strategy(small_moe());
  strategy.optimizer = OptimizerKind::muon;
  strategy.zero_dense = strategy.zero_expert = 1;
  EXPECT_THAT(broken(small_moe(), strategy), IsEmpty());
  strategy.zero_expert = 2;
  EXPECT_THAT(broken(small_moe(), strategy),
              ElementsAre("optimizer: expected \"adamw\", since Muon needs whole matrices of gradients (zero_dense, "
                          "zero_expert), got \"muon\""));
}

TEST(DimensionRules, Fp8NeedsWidthsOfWholeBlocks) {
  Strategy strategy = small_strategy(small_moe());
  strategy.precision = DType::fp8;
  strategy.fp8_recipe = Fp8Recipe::tensorwise;
  EXPECT_THAT(broken(small_moe(), strategy), IsEmpty());
  strategy.fp8_recipe = Fp8Recipe::mxfp8;
  EXPECT_THAT(broken(small_moe(), strategy), IsEmpty());
  strategy.fp8_recipe = Fp8Recipe::blockwise;
  EXPECT_THAT(
      broken(small_moe(), strategy),
      ElementsAre(
          "precision: expected a hidden size that is a multiple of 128 for fp8 (\"blockwise\"), got 64",
          "precision: expected a width of an expert on a rank that is a multiple of 128 for fp8 (\"blockwise\"), got "
          "32"));
  strategy = tensor_parallel(4);
  strategy.etp = 4;
  strategy.precision = DType::fp8;
  strategy.fp8_recipe = Fp8Recipe::tensorwise;
  Model model = small_moe();
  model.dense_width = 32;
  EXPECT_THAT(
      broken(model, strategy),
      ElementsAre(
          "precision: expected a width of the dense layers on a rank that is a multiple of 16 for fp8 "
          "(\"tensorwise\"), got 8",
          "precision: expected a width of an expert on a rank that is a multiple of 16 for fp8 (\"tensorwise\"), got "
          "8"));
}

TEST(DimensionRules, PredictionModulesAreThoseOfTheModel) {
  Model model = small_mla();
  Strategy strategy = small_strategy(model, 2);
  strategy.mtp = Mtp::on;
  EXPECT_THAT(broken(model, strategy),
              ElementsAre("mtp: expected \"off\", since the model has no prediction modules, got \"on\""));
  model.num_mtp_modules = 2;
  EXPECT_THAT(broken(model, strategy), ElementsAre("stages: expected 2 prediction modules (mtp \"on\"), got 0"));
  strategy.stages = with_mtp(strategy.stages, 2);
  EXPECT_THAT(broken(model, strategy), IsEmpty());
  strategy.mtp = Mtp::off;
  EXPECT_THAT(
      broken(model, strategy),
      ElementsAre("stages/1/mtp: expected 0, or all 0 modules on one stage with or behind the last layer, got 2",
                  "stages: expected 0 prediction modules (mtp \"off\"), got 2"));
}

TEST(DimensionRules, PredictionModulesAreTogetherBehindTheLastLayer) {
  Model model = small_mla();
  model.num_mtp_modules = 2;
  Strategy strategy = small_strategy(model, 2);
  strategy.mtp = Mtp::on;
  strategy.stages[0].num_mtp = strategy.stages[1].num_mtp = 1;
  EXPECT_THAT(
      broken(model, strategy),
      ElementsAre("stages/0/mtp: expected 0, or all 2 modules on one stage with or behind the last layer, got 1",
                  "stages/1/mtp: expected 0, or all 2 modules on one stage with or behind the last layer, got "
                  "1"));
}

TEST(DimensionRules, CopiesOfATiedEmbeddingAreOnOneStage) {
  Model model = small_mla();
  model.num_mtp_modules = 1;
  model.tied_embeddings = true;
  Strategy strategy = small_strategy(model);
  strategy.pp = 2;
  strategy.mtp = Mtp::on;
  strategy.stages = {{.first_layer = 0, .num_layers = 4, .embedding = true, .num_mtp = 1},
                     {.first_layer = 4, .num_layers = 0, .head = true}};
  EXPECT_THAT(broken(model, strategy),
              ElementsAre("stages: expected the prediction modules beside the head, since both hold a copy of the "
                          "embedding"));
  model.tied_embeddings = false;
  EXPECT_THAT(broken(model, strategy), IsEmpty());
  model.tied_embeddings = true;
  strategy = small_strategy(model, 2);
  strategy.mtp = Mtp::on;
  strategy.stages = with_mtp(strategy.stages, 1);
  EXPECT_THAT(broken(model, strategy), IsEmpty());
}

TEST(DimensionRules, HoldForEveryScheduleAlike) {
  const Model model = small_moe(8);
  for (const Schedule schedule : {Schedule::interleaved, Schedule::zbv, Schedule::dualpipe, Schedule::dualpipev}) {
    Strategy strategy = staged_strategy(model, schedule, 2, testing::least_vpp(schedule));
    EXPECT_THAT(broken(model, strategy), IsEmpty()) << name_of(schedule);
    strategy.grad_dtype = DType::fp8;
    EXPECT_THAT(broken(model, strategy), Contains("grad_dtype: expected \"f32\" or \"bf16\", got \"fp8\""));
  }
}

}  // namespace
}  // namespace orrery
