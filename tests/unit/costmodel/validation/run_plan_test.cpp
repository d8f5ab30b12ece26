// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/run_plan.h"

#include "tests/unit/program/reading.h"

#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

const RunsFile& published() {
  static const RunsFile file = read_runs(testing::repository_path("tests/data/runs/published.json"));
  return file;
}

PublishedRun run_of(const std::string& id) {
  const auto& runs = published().runs;
  return *std::find_if(runs.begin(), runs.end(), [&](const PublishedRun& run) { return run.id == id; });
}

RunPlan plan(const PublishedRun& run) { return std::get<RunPlan>(plan_of(published(), run)); }
std::string refusal(const PublishedRun& run) { return std::get<NotModelled>(plan_of(published(), run)).reason; }

std::vector<std::int64_t> layers_of(const std::vector<StageLayout>& stages) {
  std::vector<std::int64_t> out;
  for (const StageLayout& stage : stages) out.push_back(stage.num_layers);
  return out;
}

bool assumes(const RunPlan& plan, const std::string& what) {
  return std::find(plan.assumptions.begin(), plan.assumptions.end(), what) != plan.assumptions.end();
}

TEST(RunPlan, TakesDegreesAndBatchFromTheRow) {
  const RunPlan simumax = plan(run_of("simumax-8c1051d5"));
  EXPECT_EQ(simumax.strategy.tp, 2);
  EXPECT_TRUE(simumax.strategy.sp);  // Megatron's recipes shard the sequence with the tensors
  EXPECT_EQ(simumax.strategy.zero_dense, 1);
  EXPECT_EQ(simumax.strategy.grad_dtype, DType::f32);
  EXPECT_EQ(simumax.batch.seq, 4096);
  EXPECT_EQ(simumax.batch.global_batch, 16);
  EXPECT_EQ(simumax.num_devices, 8);
  EXPECT_EQ(simumax.device, "b200");
  EXPECT_EQ(simumax.framework.name, "megatron");
  EXPECT_EQ(layers_of(simumax.strategy.stages), std::vector<std::int64_t>{12});
  EXPECT_TRUE(simumax.recompute_is_stated);
  EXPECT_TRUE(simumax.assumptions.empty());
}

TEST(RunPlan, ReadsTheBenchmarksOfMegatronBridgeWithBf16Gradients) {
  const RunPlan bridge = plan(run_of("bridge-0f2e00f1"));
  EXPECT_EQ(bridge.strategy.grad_dtype, DType::bf16);
  EXPECT_EQ(bridge.strategy.precision, DType::fp8);
  EXPECT_EQ(bridge.strategy.fp8_recipe, Fp8Recipe::mxfp8);
  EXPECT_FALSE(bridge.recompute_is_stated);
}

TEST(RunPlan, CountsEmbeddingAndLossAsLayersWhereTheStagesAskForIt) {
  const RunPlan xtuner = plan(run_of("xtuner-147bbba6"));  // 94 layers on 32 x 3 stages
  ASSERT_EQ(xtuner.strategy.stages.size(), 96u);
  EXPECT_EQ(xtuner.strategy.stages.front().num_layers, 0);
  EXPECT_TRUE(xtuner.strategy.stages.front().embedding);
  EXPECT_EQ(xtuner.strategy.stages[1].num_layers, 1);
  EXPECT_EQ(xtuner.strategy.stages[94].first_layer, 93);
  EXPECT_EQ(xtuner.strategy.stages.back().num_layers, 0);
  EXPECT_TRUE(xtuner.strategy.stages.back().head);
  EXPECT_EQ(xtuner.strategy.schedule, Schedule::interleaved);
  EXPECT_EQ(xtuner.strategy.stages[1].recompute,
            (std::set<RecomputeModule>{RecomputeModule::moe_act, RecomputeModule::layernorm}));
  EXPECT_TRUE(assumes(xtuner, "embedding and loss count as a layer each"));
}

TEST(RunPlan, ReadsSelectiveRecomputationInTheWordsOfTheFramework) {
  const RunPlan titan = plan(run_of("titan-8dc826c6"));
  EXPECT_TRUE(titan.framework.saves_every_second_product);
  EXPECT_TRUE(titan.strategy.stages.front().recompute.empty());
  EXPECT_EQ(titan.strategy.zero_dense, 3);

  PublishedRun megatron = run_of("simumax-70c6e4a0");
  megatron.recompute = {"selective"};
  EXPECT_EQ(plan(megatron).strategy.stages.front().recompute, std::set<RecomputeModule>{RecomputeModule::core_attn});
  megatron.recompute = {"everything"};
  EXPECT_EQ(refusal(megatron), "recompute everything");
}

TEST(RunPlan, CompletesNanotronsRowsAsItsBenchmarkDoes) {
  const RunPlan failed = plan(run_of("nanotron_h100_oom-8"));  // neither ffn nor kv_heads
  EXPECT_EQ(failed.model.dense_width, 28672);
  EXPECT_TRUE(assumes(failed, "ffn: as in the other rows of this depth and width"));
  EXPECT_EQ(std::get<GroupedQueryAttention>(failed.model.attention).num_kv_heads, 64);
  EXPECT_FALSE(failed.model.tied_embeddings);
  EXPECT_TRUE(failed.recompute_is_stated);  // its default is none

  // The row says that this model is not tied, but only because it failed: its benchmark ties narrow models.
  EXPECT_TRUE(plan(run_of("nanotron_h100_oom-79")).model.tied_embeddings);
}

TEST(RunPlan, GivesBothEndsACopyOfTiedEmbeddings) {
  const RunPlan tied = plan(run_of("nanotron_h100_bench-177"));
  EXPECT_FALSE(tied.model.tied_embeddings);
  EXPECT_TRUE(assumes(tied, "tied embeddings: the first and the last stage hold a copy each"));
  EXPECT_EQ(layers_of(tied.strategy.stages), (std::vector<std::int64_t>{16, 12}));
}

TEST(RunPlan, RefusesWhatHasNoPresetOrIsNoPretraining) {
  EXPECT_EQ(refusal(run_of("vtrain-multi-0")), "no preset for the software of vtrain_multi_node");
  EXPECT_EQ(refusal(run_of("bridge-285e9ead")), "task: lora");
}

TEST(RunPlan, RefusesDegreesThatAreNotTheNumberOfDevices) {
  PublishedRun run = run_of("simumax-70c6e4a0");
  run.dp = 2;
  EXPECT_EQ(refusal(run), "tp * cp * pp * dp is 4, not 8 (gpus)");
}

TEST(RunPlan, RefusesALayoutAndAnUnknownSchedule) {
  PublishedRun run = run_of("simumax-70c6e4a0");
  run.schedule = "gpipe";
  EXPECT_EQ(plan(run).strategy.schedule, Schedule::gpipe);
  run.schedule = "diagonal";
  EXPECT_EQ(refusal(run), "schedule diagonal");
  run.schedule.reset();
  run.pipeline_layout = "Et|tL";
  EXPECT_EQ(refusal(run), "pipeline_layout");
}

TEST(RunPlan, KeepsTheChoicesThatMoveTimeAlone) {
  PublishedRun run = run_of("xtuner-147bbba6");
  run.overlap["tp_comm"] = true;
  run.cuda_graph = {"attn"};
  run.dispatcher = "DeepEP";
  const Strategy strategy = plan(run).strategy;
  EXPECT_TRUE(strategy.overlap.tp);
  EXPECT_TRUE(strategy.cuda_graphs);
  EXPECT_EQ(strategy.dispatcher, Dispatcher::two_level);
  const Strategy plain = without_timing_choices(strategy);
  EXPECT_EQ(plain.overlap, Overlap());
  EXPECT_FALSE(plain.cuda_graphs);
  EXPECT_EQ(plain.dispatcher, Dispatcher::all_to_all);
  EXPECT_EQ(plain.stages, strategy.stages);
}

TEST(RunPlan, HasAFsdpShardInsideTheDataParallelGroup) {
  PublishedRun run = run_of("titan-8dc826c6");
  run.fsdp_shard = 4;
  EXPECT_EQ(plan(run).strategy.num_optimizer_instances, 2);
  run.fsdp_shard = 0;
  EXPECT_EQ(plan(run).strategy.num_optimizer_instances, 1);
}

TEST(RunPlan, ShardsWeightsWhereMegatronShardsFully) {
  PublishedRun run = run_of("simumax-70c6e4a0");
  EXPECT_EQ(plan(run).strategy.zero_dense, 1);
  EXPECT_EQ(plan(run).strategy.zero_expert, 0);  // there are none
  run.fsdp_shard = 4;
  EXPECT_EQ(plan(run).strategy.zero_dense, 3);
  EXPECT_TRUE(assumes(plan(run), "fsdp_shard: gradients and weights are sharded too"));
}

// What nanotron's log of memory after the step says of its first stage: 18 of the 32 layers of the 8B model, 41 of 80.
TEST(StagesByCost, GiveTheHeadsShareOfLayersToTheOtherStages) {
  Model model;
  model.hidden = 4096;
  model.vocab = 131072;
  model.dense_width = 14336;
  model.layers.assign(32, LayerKind::dense);
  EXPECT_EQ(layers_of(stages_by_cost(model, 1)), std::vector<std::int64_t>{32});
  EXPECT_EQ(layers_of(stages_by_cost(model, 2)), (std::vector<std::int64_t>{18, 14}));
  EXPECT_EQ(layers_of(stages_by_cost(model, 4)), (std::vector<std::int64_t>{9, 9, 8, 6}));
  model.hidden = 8192;
  model.dense_width = 28672;
  model.layers.assign(80, LayerKind::dense);
  EXPECT_EQ(layers_of(stages_by_cost(model, 2)), (std::vector<std::int64_t>{41, 39}));
}

TEST(StagesByCost, HoldEachLayerOnceWithTheEndsAtTheEnds) {
  Model model;
  model.hidden = 2048;
  model.vocab = 131072;
  model.dense_width = 8192;
  model.layers.assign(16, LayerKind::dense);
  for (const std::int64_t num_stages : {1, 2, 4, 8, 16}) {
    const std::vector<StageLayout> stages = stages_by_cost(model, num_stages);
    const std::vector<std::int64_t> layers = layers_of(stages);
    EXPECT_EQ(std::accumulate(layers.begin(), layers.end(), std::int64_t{0}), 16) << num_stages;
    EXPECT_TRUE(stages.front().embedding);
    EXPECT_TRUE(stages.back().head);
    for (std::size_t i = 1; i < stages.size(); ++i) {
      EXPECT_EQ(stages[i].first_layer, stages[i - 1].first_layer + stages[i - 1].num_layers);
    }
  }
}

TEST(CatalogDevice, IsNamedForEachDeviceThatRunsSpell) {
  EXPECT_EQ(catalog_device("H100-SXM-80GB"), "h100");
  EXPECT_EQ(catalog_device("H100-SXM-96GB-500W"), "h100-96gb");
  EXPECT_EQ(catalog_device("L40S"), "");
}

}  // namespace
}  // namespace orrery::costmodel
