// SPDX-License-Identifier: Apache-2.0
#include "base/json_reader.h"
#include "tests/unit/planner/exporters/export_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using testing::exported;
using ::testing::HasSubstr;
using testing::lines_of;
using testing::plan_to_export;

TEST(DeepSpeedExport, IsJsonWhoseBatchesAgree) {
  Plan plan = plan_to_export();
  plan.strategy.micro_batch = 2;
  const JsonDocument document = JsonDocument::parse_text(exported("deepspeed", plan).text, "ds_config.json");
  const JsonObject root = document.root();
  const std::int64_t batch = root.required("train_batch_size").integer();
  EXPECT_EQ(batch, plan.batch.global_batch);
  EXPECT_EQ(batch, root.required("train_micro_batch_size_per_gpu").integer() *
                       root.required("gradient_accumulation_steps").integer() * 64);
}

TEST(DeepSpeedExport, ListsWhatTheModelsCodeHasToSay) {
  Plan plan = plan_to_export();
  Strategy& s = plan.strategy;
  s.pp = 4;
  s.stages = even_stages(8, 4);
  for (StageLayout& stage : s.stages) stage.recompute = {RecomputeModule::core_attn};
  EXPECT_THAT(lines_of(exported("deepspeed", plan).listed),
              ElementsAre("pp: in code: a PipelineModule of 4 stages", "stages: in code: layers lie as Ett|tt|tt|ttL",
                          "stages/recompute: in code: every layer checkpoints core_attn"));
}

TEST(DeepSpeedExport, LaysDataBeforeExpertsWhereItSplitsNothingElse) {
  Plan plan = plan_to_export();
  plan.strategy.ep = 4;
  EXPECT_THAT(exported("deepspeed", plan).text, ::testing::Not(HasSubstr("use_data_before")));
  plan.strategy.order = "tp-cp-dp-ep-pp";
  EXPECT_THAT(exported("deepspeed", plan).text, HasSubstr("\"use_data_before_expert_parallelism\": true"));
  plan.strategy.etp = 2;
  EXPECT_THAT(lines_of(exported("deepspeed", plan).refused),
              ElementsAre("order: it lays ranks as tp-cp-ep-dp-pp, and where it splits nothing but experts as "
                          "tp-cp-dp-ep-pp"));
}

TEST(DeepSpeedExport, RefusesWhatItsPipelineAndItsTensorParallelismCannotDo) {
  Plan plan = plan_to_export();
  Strategy& s = plan.strategy;
  s.tp = 2;
  s.sp = true;
  s.cp = 2;
  s.pp = 4;
  s.vpp = 2;
  s.schedule = Schedule::interleaved;
  s.stages = even_stages(8, 8);
  s.zero_dense = s.zero_expert = 3;
  s.precision = DType::fp8;
  EXPECT_THAT(lines_of(exported("deepspeed", plan).refused),
              ElementsAre("sp: its tensor parallelism keeps whole sequences on every rank",
                          "cp_kind: it splits sequences as Ulysses does, not by \"ring\"",
                          "schedule: its pipeline runs 1f1b, not \"interleaved\"",
                          "vpp: its pipeline has one stage for each rank",
                          "zero_dense: its pipeline goes with ZeRO 0 and 1 alone",
                          "precision: its configuration knows bf16 and f32, no fp8",
                          "tp: its automatic expert parallelism excludes tensor parallelism",
                          "cp: with ZeRO 3 and experts it splits no sequence"));
}

TEST(DeepSpeedExport, SplitsTensorsOfADenseModelOnly) {
  Plan plan = plan_to_export();
  plan.model.moe.reset();
  plan.model.layers.assign(8, LayerKind::dense);
  plan.strategy.tp = 2;
  EXPECT_THAT(exported("deepspeed", plan).text, HasSubstr("\"autotp_size\": 2"));
}

TEST(DeepSpeedExport, ListsTheBiasOfTheRouterThatItLeavesOut) {
  Plan plan = plan_to_export();
  plan.model.moe->aux_free_bias = true;
  EXPECT_THAT(lines_of(exported("deepspeed", plan).listed),
              ElementsAre("ep: the router's bias that balances experts is off: its automatic expert parallelism has "
                          "none"));
}

TEST(DeepSpeedExport, OffloadsInputsOfRecomputedLayersOnly) {
  Plan plan = plan_to_export();
  plan.strategy.offload_activations = true;
  EXPECT_THAT(lines_of(exported("deepspeed", plan).refused),
              ElementsAre("offload_activations: it moves the inputs of recomputed layers to the host, and nothing "
                          "else"));
  plan.strategy.stages[0].recompute = {RecomputeModule::full};
  EXPECT_THAT(exported("deepspeed", plan).text, HasSubstr("\"cpu_checkpointing\": true"));
}

}  // namespace
}  // namespace orrery::planner
