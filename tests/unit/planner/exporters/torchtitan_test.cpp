// SPDX-License-Identifier: Apache-2.0
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

TEST(TorchtitanExport, MakesShardsOrReplicasOfDataParallelRanks) {
  Plan plan = plan_to_export();
  const auto degrees = [&] {
    const std::string text = exported("torchtitan", plan).text;
    const std::size_t at = text.find("data_parallel_replicate_degree");
    return at == std::string::npos ? text : text.substr(at, text.find("tensor_parallel_degree") - at);
  };
  EXPECT_EQ(degrees(), "data_parallel_replicate_degree = 64\ndata_parallel_shard_degree = 1\n");
  plan.strategy.zero_dense = plan.strategy.zero_expert = 2;
  EXPECT_EQ(degrees(),
            "data_parallel_replicate_degree = 1\ndata_parallel_shard_degree = 64\nfsdp_reshard_after_forward = "
            "\"never\"\n");
  plan.strategy.zero_dense = plan.strategy.zero_expert = 3;
  plan.strategy.num_optimizer_instances = 4;
  EXPECT_EQ(degrees(),
            "data_parallel_replicate_degree = 4\ndata_parallel_shard_degree = 16\nfsdp_reshard_after_forward = "
            "\"always\"\n");
  plan.strategy.zero_dense = plan.strategy.zero_expert = 1;
  EXPECT_THAT(lines_of(exported("torchtitan", plan).refused),
              ElementsAre("zero_dense: FSDP shards weights and gradients as well: ZeRO 0, 2 or 3"));
}

TEST(TorchtitanExport, TakesExpertParallelRanksFromThoseThatShard) {
  Plan plan = plan_to_export();
  plan.strategy.ep = 4;
  EXPECT_THAT(lines_of(exported("torchtitan", plan).refused),
              ElementsAre("ep: it takes expert-parallel ranks from those that shard, dp_shard * cp * tp = 1, which 4 "
                          "does not divide"));
  plan.strategy.zero_dense = plan.strategy.zero_expert = 3;
  EXPECT_THAT(exported("torchtitan", plan).text, HasSubstr("expert_parallel_degree = 4\n"));
}

TEST(TorchtitanExport, GivesAPipelineTheWholeBatchOfARankAndTheModulesOfEachStage) {
  Plan plan = plan_to_export();
  Strategy& s = plan.strategy;
  s.pp = 2;
  s.vpp = 2;
  s.schedule = Schedule::zbv;
  s.stages = even_stages(8, 4);
  s.micro_batch = 2;
  const std::string text = exported("torchtitan", plan).text;
  EXPECT_THAT(text, HasSubstr("local_batch_size = 8\n"));
  EXPECT_THAT(text, HasSubstr("pipeline_parallel_schedule = \"ZBVZeroBubble\"\npipeline_parallel_microbatch_size = 2\n"
                              "pipeline_parallel_expert_parallel_overlap = false\n"
                              "module_fqns_per_model_part = [\n"
                              "  [\"tok_embeddings\", \"layers.0\", \"layers.1\"],\n"
                              "  [\"layers.2\", \"layers.3\"],\n"
                              "  [\"layers.4\", \"layers.5\"],\n"
                              "  [\"layers.6\", \"layers.7\", \"norm\", \"output\"],\n]\n"));
}

TEST(TorchtitanExport, PairsMicroBatchesInDualPipeVUnlessLayersAreRecomputed) {
  Plan plan = plan_to_export();
  Strategy& s = plan.strategy;
  s.pp = 2;
  s.vpp = 2;
  s.ep = 4;
  s.schedule = Schedule::dualpipev;
  s.stages = even_stages(8, 4);
  s.zero_dense = s.zero_expert = 3;
  EXPECT_THAT(exported("torchtitan", plan).text, HasSubstr("pipeline_parallel_expert_parallel_overlap = true\n"));
  for (StageLayout& stage : s.stages) stage.recompute = {RecomputeModule::full};
  EXPECT_THAT(exported("torchtitan", plan).text, HasSubstr("pipeline_parallel_expert_parallel_overlap = false\n"));
  EXPECT_THAT(lines_of(exported("torchtitan", plan).listed),
              ElementsAre("schedule: its pairs of micro-batches run one after the other where layers are recomputed"));
}

TEST(TorchtitanExport, RefusesWhatV02HasNoSwitchFor) {
  Plan plan = plan_to_export();
  Strategy& s = plan.strategy;
  s.tp = 4;
  s.etp = 2;
  s.cp_kind = ContextParallel::ulysses;
  s.stages[0].recompute = {RecomputeModule::moe};
  s.precision = DType::fp8;
  s.capacity_factor = 1.0;
  s.offload_optimizer = true;
  EXPECT_THAT(lines_of(exported("torchtitan", plan).refused),
              ElementsAre("sp: it splits sequences wherever it splits tensors",
                          "cp_kind: it exchanges keys and values, not heads as \"ulysses\" does",
                          "etp: it is 1 or the tensor parallel degree 4, not 2", "capacity_factor: it drops no token",
                          "stages/recompute: it recomputes whole layers everywhere or nowhere, or single operators by "
                          "a list",
                          "fp8_recipe: its float8 has one factor for a tensor, not \"blockwise\"",
                          "offload_optimizer: it offloads weights and gradients with them, or nothing"));
}

TEST(TorchtitanHeadExport, CountsBatchesInTokensAndMicroBatchesOfThePipeline) {
  Plan plan = plan_to_export();
  Strategy& s = plan.strategy;
  s.pp = 2;
  s.stages = even_stages(8, 2);
  s.micro_batch = 2;
  s.overlap.tp = true;
  const std::string text = exported("torchtitan-head", plan).text;
  EXPECT_THAT(text, HasSubstr("  training=TrainingConfig(\n"
                              "    num_tokens_per_microbatch_per_dp_rank=512,\n"
                              "    num_tokens_per_train_step=65536,\n"
                              "    max_context_length=256,\n"));
  EXPECT_THAT(text, HasSubstr("    num_pp_microbatches=4,\n"));
  EXPECT_THAT(text, HasSubstr("      [\"tok_embeddings\", \"layers.0\""));
  EXPECT_THAT(text, HasSubstr("  activation_checkpoint=None,\n"
                              "  compile=CompileConfig(enable=True, enable_async_tensor_parallel=True),\n"));
}

TEST(TorchtitanHeadExport, SplitsSequencesBySwitchAndNoExpertByTensors) {
  Plan plan = plan_to_export();
  Strategy& s = plan.strategy;
  s.tp = 2;
  EXPECT_THAT(exported("torchtitan-head", plan).text, HasSubstr("    enable_sequence_parallel=False,\n"));
  s.sp = true;
  EXPECT_THAT(exported("torchtitan-head", plan).text, HasSubstr("    enable_sequence_parallel=True,\n"));
  s.etp = 2;
  EXPECT_THAT(lines_of(exported("torchtitan-head", plan).refused),
              ElementsAre("etp: it splits no expert over tensor-parallel ranks any more"));
}

}  // namespace
}  // namespace orrery::planner
