// SPDX-License-Identifier: Apache-2.0
#include "program/legality.h"

#include "tests/unit/program/small_models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::small_mla;
using testing::small_moe;
using testing::small_strategy;
using testing::staged_strategy;

constexpr BatchShape kBatch{.seq = 32, .global_batch = 16};

/// "key: expected (hint)" of each violation on `num_devices` devices.
std::vector<std::string> violations_of(const Model& model, const Strategy& strategy, std::int64_t num_devices = 8,
                                       const BatchShape& batch = kBatch) {
  std::vector<std::string> out;
  for (const Violation& v : violations(model, strategy, batch, num_devices)) {
    out.push_back(v.key + ": " + v.expected + (v.hint.empty() ? "" : " (" + v.hint + ")"));
  }
  return out;
}

Model dense_model() {
  Model model = small_moe();
  model.moe.reset();
  model.layers.assign(4, LayerKind::dense);
  return model;
}

std::vector<std::string> recompute_violations(const Model& model, const std::set<RecomputeModule>& modules) {
  Strategy strategy = small_strategy(model);
  strategy.stages[0].recompute = modules;
  return violations_of(model, strategy);
}

TEST(Legality, AcceptsWhatCanBeLowered) {
  const Model model = small_moe();
  for (const std::int64_t pp : {1, 2, 4}) {
    for (const std::int64_t ep : {1, 2}) EXPECT_THAT(violations_of(model, small_strategy(model, pp, ep)), IsEmpty());
  }
  Strategy full = small_strategy(model, 2);
  full.stages[1].recompute = {RecomputeModule::full};
  full.stages[1].num_recompute_layers = 1;
  full.zero_dense = full.zero_expert = 1;
  full.schedule = Schedule::gpipe;
  full.precision = DType::f32;
  EXPECT_THAT(violations_of(model, full), IsEmpty());
}

TEST(Legality, ExpertParallelDividesExpertsAndDevices) {
  const Model model = small_moe();
  EXPECT_THAT(violations_of(model, small_strategy(model, 1, 3)),
              ElementsAre("ep: expected etp * ep * pp to be a divisor of 8 (number of devices), got 3 (for ep, nearest "
                          "divisors are 2 and 4)",
                          "ep: expected a divisor of 8 (number of experts), got 3 (nearest divisors are 2 and 4)"));
  EXPECT_THAT(violations_of(model, small_strategy(model, 1, 16), 16),
              ElementsAre("ep: expected a divisor of 8 (number of experts), got 16 (nearest divisor is 8)"));
}

TEST(Legality, TheClusterIsLargeEnough) {
  const Model model = small_moe();
  EXPECT_THAT(
      violations_of(model, small_strategy(model, 4, 1), 2),
      ElementsAre("pp: expected tp * cp * pp to be a divisor of 2 (number of devices), got 4 (for pp, nearest divisor "
                  "is 2)",
                  "pp: expected etp * ep * pp to be a divisor of 2 (number of devices), got 4 (for pp, nearest divisor "
                  "is 2)"));
}

TEST(Legality, HintsAreLeftOutWhereOneDegreeAloneCannotHelp) {
  const Model model = small_moe();
  EXPECT_THAT(violations_of(model, small_strategy(model, 3, 4), 8, {.seq = 32, .global_batch = 16}),
              ElementsAre("pp: expected tp * cp * pp to be a divisor of 8 (number of devices), got 3 (for pp, nearest "
                          "divisors are 2 and 4)",
                          "ep: expected etp * ep * pp to be a divisor of 8 (number of devices), got 12"));
}

TEST(Legality, DenseModelsHaveNoExpertDegrees) {
  const Model model = dense_model();
  Strategy strategy = small_strategy(model, 1, 2);
  strategy.etp = 2;
  EXPECT_THAT(violations_of(model, strategy), ElementsAre("ep: expected 1, since the model has no experts, got 2",
                                                          "etp: expected 1, since the model has no experts, got 2"));
}

TEST(Legality, TheBatchDividesOverDataParallelRanksAndMicroBatches) {
  const Model model = small_moe();
  Strategy strategy = small_strategy(model, 2, 1);
  EXPECT_THAT(violations_of(model, strategy, 8, {.seq = 32, .global_batch = 18}),
              ElementsAre("global_batch: expected a multiple of 4 (data-parallel ranks), got 18 (nearest multiples are "
                          "16 and 20)"));
  strategy.micro_batch = 3;
  EXPECT_THAT(violations_of(model, strategy),
              ElementsAre("micro_batch: expected a divisor of 4 (sequences of each data-parallel rank), got 3 (nearest "
                          "divisors are 2 and 4)"));
  EXPECT_THAT(violations_of(model, small_strategy(model), 8, {.seq = 32, .global_batch = 4}),
              ElementsAre("global_batch: expected a multiple of 8 (data-parallel ranks), got 4 (nearest multiple is "
                          "8)"));
}

TEST(Legality, DegreesArePositive) {
  const Model model = small_moe();
  Strategy strategy = small_strategy(model);
  strategy.micro_batch = 0;
  EXPECT_THAT(violations_of(model, strategy, 8, {.seq = 0, .global_batch = 8}),
              ElementsAre("micro_batch: expected at least 1, got 0", "sequence: expected at least 1, got 0"));
}

TEST(Legality, StagesHoldEachLayerOnceInOrder) {
  const Model model = small_moe();
  Strategy strategy = small_strategy(model, 2);
  strategy.stages[1].first_layer = 1;
  EXPECT_THAT(violations_of(model, strategy),
              ElementsAre("stages/1/first_layer: expected 2 (layers in order, each once), got 1",
                          "stages: expected stages up to layer 3, the last of the model, got 2"));
  strategy = small_strategy(model, 2);
  strategy.stages[0].num_layers = 0;
  strategy.stages[1] = {.first_layer = 0, .num_layers = 4, .head = true};
  EXPECT_THAT(violations_of(model, strategy), IsEmpty()) << "the embedding alone is a stage";
  strategy.stages.pop_back();
  EXPECT_THAT(violations_of(model, strategy).front(), "stages: expected 2 stages (pp * vpp), got 1");
}

TEST(Legality, AStageNeedsNoLayer) {
  Model model = small_mla();
  model.num_mtp_modules = 1;
  Strategy strategy = small_strategy(model);
  strategy.pp = 4;
  strategy.mtp = Mtp::on;
  strategy.stages = {{.first_layer = 0, .num_layers = 0, .embedding = true},
                     {.first_layer = 0, .num_layers = 4},
                     {.first_layer = 4, .num_layers = 0, .num_mtp = 1},
                     {.first_layer = 4, .num_layers = 0, .head = true}};
  EXPECT_THAT(violations_of(model, strategy), IsEmpty());
  strategy.mtp = Mtp::off;
  strategy.stages[2].num_mtp = 0;
  EXPECT_THAT(violations_of(model, strategy), IsEmpty()) << "what arrives is sent on";
}

TEST(Legality, RulesOfDimensionsAreAskedOnceTheDegreesFit) {
  Strategy strategy = small_strategy(small_moe());
  strategy.tp = 2;
  strategy.cp = 3;
  EXPECT_THAT(violations_of(small_moe(), strategy),
              ElementsAre("cp: expected tp * cp * pp to be a divisor of 8 (number of devices), got 6 (for cp, nearest "
                          "divisors are 2 and 4)"));
  strategy.cp = 1;
  EXPECT_THAT(violations_of(small_moe(), strategy),
              ElementsAre("sp: expected true, since tp is above 1 and the model has experts, got false"));
}

TEST(Legality, EmbeddingIsFirstAndHeadIsLast) {
  const Model model = small_moe();
  Strategy strategy = small_strategy(model, 2);
  strategy.stages[0].embedding = false;
  strategy.stages[0].head = true;
  EXPECT_THAT(violations_of(model, strategy),
              ElementsAre("stages/0/embedding: expected true, since the first stage has it, got false",
                          "stages/0/head: expected false, since the last stage has it, got true"));
}

TEST(Legality, RecomputeModulesExistInTheModel) {
  EXPECT_THAT(recompute_violations(small_moe(), {RecomputeModule::mla_up_proj}),
              ElementsAre("stages/0/recompute: expected no mla_up_proj: the model has no multi-head latent attention"));
  EXPECT_THAT(recompute_violations(small_moe(), {RecomputeModule::shared_experts}),
              ElementsAre("stages/0/recompute: expected no shared_experts: the model has no shared experts"));
  EXPECT_THAT(recompute_violations(dense_model(), {RecomputeModule::moe, RecomputeModule::mlp}),
              ElementsAre("stages/0/recompute: expected no moe: the model has no experts"));
  Model no_dense_layer = small_moe();
  no_dense_layer.layers.assign(4, LayerKind::moe);
  no_dense_layer.dense_width = 0;
  EXPECT_THAT(recompute_violations(no_dense_layer, {RecomputeModule::mlp}),
              ElementsAre("stages/0/recompute: expected no mlp: the model has no dense layers"));
}

TEST(Legality, RecomputeModulesDoNotContainEachOther) {
  EXPECT_THAT(recompute_violations(small_mla(), {RecomputeModule::full, RecomputeModule::layernorm}),
              ElementsAre("stages/0/recompute: expected no layernorm: full recomputes it already"));
  EXPECT_THAT(recompute_violations(small_mla(), {RecomputeModule::moe, RecomputeModule::moe_act}),
              ElementsAre("stages/0/recompute: expected no moe_act: moe recomputes it already"));
  EXPECT_THAT(recompute_violations(small_mla(), {RecomputeModule::layernorm, RecomputeModule::mla_up_proj,
                                                 RecomputeModule::moe_act, RecomputeModule::shared_experts}),
              IsEmpty());
}

TEST(Legality, RecomputeLayersAreLayersOfTheStage) {
  const Model model = small_moe();
  Strategy strategy = small_strategy(model, 2);
  strategy.stages[1].recompute = {RecomputeModule::full};
  strategy.stages[1].num_recompute_layers = 3;
  EXPECT_THAT(violations_of(model, strategy),
              ElementsAre("stages/1/recompute_layers: expected from 1 to 2 (layers of the stage), got 3"));
  strategy.stages[1].num_recompute_layers = 1;
  strategy.stages[1].recompute = {};
  EXPECT_THAT(violations_of(model, strategy),
              ElementsAre("stages/1/recompute_layers: expected modules to recompute beside it, got none"));
}

TEST(Legality, SequenceParallelNeedsTensorParallel) {
  const Model model = small_moe();
  Strategy strategy = small_strategy(model);
  strategy.sp = true;
  EXPECT_THAT(violations_of(model, strategy), ElementsAre("sp: expected false, since tp is 1, got true"));
}

TEST(Legality, SchedulesHaveTheirShapes) {
  const Model model = small_moe(8);
  const auto broken = [&](Schedule schedule, std::int64_t pp, std::int64_t vpp, std::int64_t num_devices = 4) {
    return violations_of(model, staged_strategy(model, schedule, pp, vpp), num_devices, {.seq = 8, .global_batch = 6});
  };
  EXPECT_THAT(broken(Schedule::zbv, 4, 2), IsEmpty());
  EXPECT_THAT(broken(Schedule::interleaved, 4, 2, 4),
              ElementsAre("schedule: expected 6 micro-batches in groups of 4 to leave none or at least 4 (ranks), got "
                          "2 (\"interleaved\" has no other order)"));
  EXPECT_THAT(broken(Schedule::one_f_one_b, 4, 2),
              ElementsAre("schedule: expected 1 chunk per rank, got 2 (\"1f1b\" has no other order)"));
  EXPECT_THAT(broken(Schedule::dualpipev, 2, 1),
              ElementsAre("schedule: expected 2 chunks per rank, got 1 (\"dualpipev\" has no other order)"));
  EXPECT_THAT(broken(Schedule::dualpipe, 4, 1),
              ElementsAre("schedule: expected at least 8 micro-batches (2 per rank), got 6 (\"dualpipe\" has no other "
                          "order)"));
}

TEST(Legality, ABatchThatDoesNotSplitHidesTheShapeOfTheSchedule) {
  const Model model = small_moe(4);
  Strategy strategy = staged_strategy(model, Schedule::dualpipe, 2, 1);
  strategy.micro_batch = 5;
  EXPECT_THAT(
      violations_of(model, strategy, 2),
      ElementsAre("micro_batch: expected a divisor of 16 (sequences of each data-parallel rank), got 5 (nearest "
                  "divisors are 4 and 8)"));
}

TEST(Legality, TensorParallelDividesTheHeads) {
  const Model model = small_moe();
  Strategy strategy = small_strategy(model);
  strategy.tp = 8;
  strategy.sp = true;
  EXPECT_THAT(violations_of(model, strategy),
              ElementsAre("tp: expected a divisor of 4 (attention heads), got 8 (nearest divisor is 4)"));
}

}  // namespace
}  // namespace orrery
