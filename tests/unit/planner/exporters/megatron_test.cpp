// SPDX-License-Identifier: Apache-2.0
// What Megatron core cannot do, whichever of its front ends is told.
#include "tests/unit/planner/exporters/export_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using testing::exported;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::lines_of;
using ::testing::Not;
using testing::plan_to_export;

TEST(MegatronExport, SaysEveryReasonToRefuse) {
  Plan plan = plan_to_export();
  Strategy& s = plan.strategy;
  s.pp = 4;
  s.stages = even_stages(8, 4);
  s.schedule = Schedule::zb_h1;
  s.zero_dense = 1;
  s.stages[1].recompute = {RecomputeModule::moe_act};
  s.grad_wire_dtype = DType::bf16;
  for (const char* target : {"megatron", "bridge"}) {
    EXPECT_THAT(
        lines_of(exported(target, plan).refused),
        ElementsAre("schedule: it runs 1f1b, and interleaved with a vpp above 1, not \"zb_h1\"",
                    "zero_expert: it shards states of dense parameters and of experts alike, not 1 and 0",
                    "stages/recompute: it recomputes the same modules in every layer, or the same number of first "
                    "layers of every stage",
                    "grad_wire_dtype: gradients travel in the type in which it adds them up: bf16 and f32"));
  }
}

TEST(MegatronExport, KeepsTheInputsOfSwiGluInFp8AndOfNoOtherFunction) {
  Plan plan = plan_to_export();
  plan.strategy.fp8_activation_input = true;
  EXPECT_THAT(exported("megatron", plan).text, ::testing::HasSubstr("--activation-func-fp8-input-store"));
  EXPECT_THAT(exported("bridge", plan).text, ::testing::HasSubstr("model.activation_func_fp8_input_store=true"));
  plan.model.gated = false;
  EXPECT_THAT(
      lines_of(exported("megatron", plan).refused),
      ::testing::Contains("fp8_activation_input: it keeps the inputs of SwiGLU in fp8, and of no other function"));
}

TEST(MegatronExport, HasNoGradientsInWholeNumbers) {
  Plan plan = plan_to_export();
  plan.strategy.grad_dtype = plan.strategy.grad_wire_dtype = DType::i64;
  for (const char* target : {"megatron", "bridge", "deepspeed"}) {
    EXPECT_THAT(lines_of(exported(target, plan).refused),
                ::testing::Contains("grad_dtype: it adds gradients up in floating point"))
        << target;
  }
}

TEST(MegatronExport, AlwaysWritesTheExpertTensorParallelSizeWhoseDefaultIsNotOne) {
  Plan plan = plan_to_export();
  plan.strategy.tp = 2;
  plan.strategy.sp = true;
  EXPECT_THAT(exported("megatron", plan).text, HasSubstr("--expert-tensor-parallel-size 1\n"));
}

TEST(MegatronExport, ShardsWeightsAndGradientsWithItsOwnFsdp) {
  Plan plan = plan_to_export();
  plan.strategy.zero_dense = plan.strategy.zero_expert = 2;
  EXPECT_THAT(exported("megatron", plan).text,
              HasSubstr("--use-distributed-optimizer\n--use-megatron-fsdp\n--data-parallel-sharding-strategy "
                        "optim_grads\n--ckpt-format fsdp_dtensor\n"));
  plan.strategy.order = "tp-cp-ep-pp-dp";
  EXPECT_THAT(lines_of(exported("megatron", plan).refused),
              ElementsAre("order: its FSDP has no other order than tp-cp-ep-dp-pp"));
}

TEST(MegatronExport, HasPipelinesBesideEachOtherOnlyIfThoseOfAttentionAndExpertsAreTheSame) {
  Plan plan = plan_to_export();
  plan.strategy.pp = 2;
  plan.strategy.stages = even_stages(8, 2);
  plan.strategy.ep = 4;
  plan.strategy.order = "tp-cp-ep-pp-dp";
  for (const char* target : {"megatron", "bridge"}) {
    EXPECT_THAT(lines_of(exported(target, plan).refused),
                ElementsAre("order: with it, it wants etp * ep to be tp * cp, not 4 and 1"))
        << target;
  }
  plan.strategy.tp = 4;
  plan.strategy.sp = true;
  EXPECT_THAT(exported("megatron", plan).text, HasSubstr("--use-tp-pp-dp-mapping\n"));
  plan.strategy.order = "tp-pp-cp-ep-dp";
  EXPECT_THAT(lines_of(exported("megatron", plan).refused),
              ElementsAre("order: it knows tp-cp-ep-dp-pp and tp-cp-ep-pp-dp, not \"tp-pp-cp-ep-dp\""));
}

TEST(MegatronExport, RunsAsManyMicroBatchesThroughAStageAsThereArePipelineRanks) {
  Plan plan = plan_to_export();
  plan.strategy.pp = 4;
  plan.strategy.stages = even_stages(8, 4);
  EXPECT_THAT(exported("megatron", plan).text, Not(HasSubstr("--microbatch-group-size")));
  plan.strategy.vpp = 2;
  plan.strategy.schedule = Schedule::interleaved;
  plan.strategy.stages = even_stages(8, 8);
  EXPECT_THAT(exported("megatron", plan).text, HasSubstr("--microbatch-group-size-per-virtual-pipeline-stage 4\n"));
  EXPECT_THAT(exported("bridge", plan).text, HasSubstr("model.microbatch_group_size_per_vp_stage=4\n"));
}

TEST(MegatronExport, GathersWeightsInBf16AndLetsTheRouterFillUpRowsInFp8) {
  Plan plan = plan_to_export();
  plan.strategy.precision = DType::fp8;
  plan.strategy.fp8_recipe = Fp8Recipe::mxfp8;
  plan.strategy.ep = 4;
  const Export arguments = exported("megatron", plan), overrides = exported("bridge", plan);
  EXPECT_THAT(arguments.text, HasSubstr("--moe-router-padding-for-fp8\n"));
  EXPECT_THAT(arguments.text, Not(HasSubstr("--fp8-param-gather")));
  EXPECT_THAT(overrides.text, HasSubstr("mixed_precision.fp8_param_gather=false\n"));
  EXPECT_THAT(overrides.text, HasSubstr("mixed_precision.first_last_layers_bf16=false\n"));
  EXPECT_THAT(overrides.text, HasSubstr("model.moe_router_padding_for_fp8=true\n"));
  EXPECT_THAT(lines_of(arguments.listed),
              ElementsAre("precision: rows of an expert are filled up to a multiple of 32, by the router"));
  plan.strategy.fp8_recipe = Fp8Recipe::blockwise;
  plan.strategy.dispatcher = Dispatcher::all_gather;
  const Export gathered = exported("megatron", plan);
  EXPECT_THAT(gathered.text, Not(HasSubstr("--moe-router-padding-for-fp8")));
  EXPECT_THAT(
      lines_of(gathered.listed),
      ElementsAre("precision: rows of an expert are filled up to a multiple of 16, by a copy before its products"));
  plan.strategy.dispatcher = Dispatcher::all_to_all;
  plan.strategy.capacity_factor = 1.0;
  EXPECT_THAT(exported("megatron", plan).listed, IsEmpty()) << "as many rows as the capacity";
}

TEST(MegatronExport, CountsRecomputedLayersFromTheFirstOfEachStage) {
  Plan plan = plan_to_export();
  plan.strategy.stages[0].recompute = {RecomputeModule::full};
  EXPECT_THAT(exported("megatron", plan).text, HasSubstr("--recompute-method uniform\n--recompute-num-layers 1\n"));
  plan.strategy.stages[0].num_recompute_layers = 3;
  EXPECT_THAT(exported("megatron", plan).text, HasSubstr("--recompute-method block\n--recompute-num-layers 3\n"));
}

TEST(MegatronExport, PairsMicroBatchesOnlyWhereItsChecksLetIt) {
  Plan plan = plan_to_export();
  Strategy& s = plan.strategy;
  s.ep = 4;
  s.overlap.ep_batch_level = s.overlap.delayed_wgrad = true;
  const Export one_stage = exported("megatron", plan);
  EXPECT_THAT(one_stage.text, HasSubstr("--overlap-moe-expert-parallel-comm\n--delay-wgrad-compute\n"));
  EXPECT_THAT(one_stage.listed, IsEmpty());
  s.overlap.shared_expert = true;
  EXPECT_THAT(lines_of(exported("megatron", plan).listed),
              ElementsAre("overlap/shared_expert: left out: it excludes ep_batch_level"));
  s.overlap.shared_expert = false;
  s.pp = 4;
  s.stages = even_stages(8, 4);
  const Export four_stages = exported("megatron", plan);
  EXPECT_THAT(four_stages.text, Not(HasSubstr("--overlap-moe-expert-parallel-comm")));
  EXPECT_THAT(lines_of(four_stages.listed),
              ElementsAre("overlap/ep_batch_level: left out: with several pipeline ranks it pairs micro-batches if "
                          "vpp is above 1",
                          "overlap/delayed_wgrad: left out: it delays weight gradients beside ep_batch_level alone"));
}

TEST(MegatronExport, GivesMuonNeitherBucketsNorTheDistributedOptimizerOfAdamW) {
  Plan plan = plan_to_export();
  plan.strategy.optimizer = OptimizerKind::muon;
  plan.strategy.zero_dense = plan.strategy.zero_expert = 1;
  plan.strategy.overlap.dp_buckets = true;
  const Export found = exported("megatron", plan);
  EXPECT_THAT(found.text, HasSubstr("--optimizer dist_muon\n"));
  EXPECT_THAT(found.text, Not(HasSubstr("--use-distributed-optimizer")));
  EXPECT_THAT(lines_of(found.listed),
              ElementsAre("overlap/dp_buckets: left out: its Muon waits for whole gradients",
                          "optimizer: its Muon gives whole matrices to ranks, not equal parts of a buffer"));
}

TEST(MegatronExport, EndsWithWhatItLeavesOut) {
  Plan plan = plan_to_export();
  plan.strategy.overlap.delayed_wgrad = true;
  EXPECT_TRUE(exported("megatron", plan)
                  .text.ends_with("# not expressed:\n# overlap/delayed_wgrad: left out: it delays weight gradients "
                                  "beside ep_batch_level alone\n"));
}

TEST(MegatronExport, LetsExpertsThatNobodySharesBeShardedLikeTheRest) {
  Plan plan = plan_to_export();
  plan.strategy.ep = plan.strategy.etp = 8;
  plan.strategy.zero_dense = 1;
  EXPECT_THAT(lines_of(exported("megatron", plan).listed),
              ElementsAre("zero_expert: written as 1, like the other: no two ranks share these parameters"));
  EXPECT_THAT(exported("megatron", plan).text, HasSubstr("--use-distributed-optimizer\n"));
}

TEST(BridgeExport, QuotesLayoutsAndWritesListsInBrackets) {
  Plan plan = plan_to_export();
  Strategy& s = plan.strategy;
  s.pp = 4;
  s.vpp = 2;
  s.schedule = Schedule::interleaved;
  s.stages = even_stages(8, 8);
  for (StageLayout& stage : s.stages) stage.recompute = {RecomputeModule::layernorm, RecomputeModule::moe_act};
  const std::string text = exported("bridge", plan).text;
  EXPECT_THAT(text, HasSubstr("model.pipeline_model_parallel_layout=\"Et|(t|)*6tL\"\n"
                              "model.virtual_pipeline_model_parallel_size=2\n"));
  EXPECT_THAT(text, HasSubstr("model.recompute_modules=[layernorm,moe_act]\n"));
}

TEST(BridgeExport, SaysOverlapsInEveryPlaceThatARecipeSetsThem) {
  Plan plan = plan_to_export();
  plan.strategy.overlap.dp_buckets = true;
  EXPECT_THAT(exported("bridge", plan).text,
              HasSubstr("ddp.overlap_grad_reduce=true\ncomm_overlap.overlap_grad_reduce=true\n"));
}

}  // namespace
}  // namespace orrery::planner
