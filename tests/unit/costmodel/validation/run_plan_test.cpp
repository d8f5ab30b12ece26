// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/run_plan.h"

#include "program/hf_config.h"
#include "tests/unit/program/reading.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string>

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

TEST(RunPlan, TakesSoftwareWithoutAPresetForMegatron) {
  PublishedRun run = run_of("vtrain-multi-0");
  EXPECT_TRUE(plan(run).framework_is_known);
  run.software = "JAX";
  const RunPlan jax = plan(run);
  EXPECT_FALSE(jax.framework_is_known);
  EXPECT_EQ(jax.framework.name, "megatron");
  EXPECT_TRUE(assumes(jax, "software without a preset: as megatron"));
}

TEST(RunPlan, RefusesWhatTrainsNoModel) {
  PublishedRun run = run_of("bridge-285e9ead");
  run.task = "inference";
  EXPECT_EQ(refusal(run), "task: inference");
}

TEST(RunPlan, TrainsAdaptersOnlyUnderLora) {
  const std::string assumption = "LoRA: the adapters' own products and gradients take no time";
  PublishedRun run = run_of("bridge-285e9ead");  // a run of LoRA
  EXPECT_TRUE(plan(run).trains_adapters);
  EXPECT_TRUE(assumes(plan(run), assumption));
  EXPECT_EQ(plan(run).framework.name, "adapters");  // has factors of its own
  EXPECT_FALSE(plan(run).framework.weight_gradients);
  EXPECT_TRUE(plan(run).framework.overlaps_gradients);  // as the framework that trains them
  for (const std::string task : {"sft", "pretrain", "pretrain_performance"}) {
    run.task = task;
    EXPECT_FALSE(plan(run).trains_adapters) << task;
    EXPECT_EQ(plan(run).framework.name, "megatron-bridge") << task;
    EXPECT_TRUE(plan(run).framework.weight_gradients) << task;
    EXPECT_FALSE(assumes(plan(run), assumption)) << task;
  }
}

TEST(RunPlan, MultipliesFp4WhereWeightsAreTrainedInIt) {
  PublishedRun run = run_of("bridge-0f2e00f1");
  EXPECT_FALSE(plan(run).multiplies_fp4);  // it is one in mxfp8
  run.precision = "nvfp4";
  EXPECT_TRUE(plan(run).multiplies_fp4);
  EXPECT_EQ(plan(run).strategy.precision, DType::fp8);
  EXPECT_EQ(plan(run).strategy.fp8_recipe, Fp8Recipe::mxfp8);
  EXPECT_TRUE(assumes(plan(run), "nvfp4: as mxfp8, at the fp4 rate unless adapters are trained"));
  run.task = "sft";
  EXPECT_TRUE(plan(run).multiplies_fp4);
  EXPECT_TRUE(plan(run).framework.weight_gradients);
  run.task = "lora";
  EXPECT_FALSE(plan(run).multiplies_fp4);
  EXPECT_FALSE(plan(run).framework.weight_gradients);
}

TEST(RunPlan, KnowsPrecisionsByTheirWords) {
  PublishedRun run = run_of("simumax-70c6e4a0");
  const auto read = [&](const std::string& precision) {
    run.precision = precision;
    const Strategy strategy = plan(run).strategy;
    return std::pair(strategy.precision, strategy.fp8_recipe);
  };
  for (const std::string name : {"fp8", "fp8-current", "FP8_CS", "float8 tensorwise"}) {
    EXPECT_EQ(read(name), std::pair(DType::fp8, Fp8Recipe::tensorwise)) << name;
  }
  for (const std::string name : {"fp8_sc", "fp8 blockwise", "FP8 (blocks of 128)"}) {
    EXPECT_EQ(read(name), std::pair(DType::fp8, Fp8Recipe::blockwise)) << name;
  }
  for (const std::string name : {"mxfp8", "MXFP8", "fp8_mx", "nvfp4"}) {
    EXPECT_EQ(read(name), std::pair(DType::fp8, Fp8Recipe::mxfp8)) << name;
  }
  for (const std::string name : {"bf16", "BF16-mixed", "bfloat16", "fp16"}) {
    EXPECT_EQ(read(name).first, DType::bf16) << name;
  }
  EXPECT_EQ(read("fp32").first, DType::f32);
  EXPECT_EQ(read("tf32").first, DType::f32);
  run.precision = "int8";
  EXPECT_EQ(refusal(run), "precision int8");
}

TEST(RunPlan, CastsInsideProductsInTheFloat8OfTorchtitan) {
  PublishedRun run = run_of("titan-8dc826c6");
  EXPECT_FALSE(plan(run).casts_inside_products);  // it is one in bf16
  for (const std::string precision : {"float8 tensorwise", "float8 rowwise", "FP8(float8 tensorwise)+BF16"}) {
    run.precision = precision;
    EXPECT_TRUE(plan(run).casts_inside_products) << precision;
    EXPECT_EQ(plan(run).strategy.precision, DType::bf16) << precision;  // of what is saved
  }
  EXPECT_FALSE(plan(run_of("bridge-285e9ead")).casts_inside_products);  // fp8 of Transformer Engine
}

TEST(RunPlan, PadsAVocabularyAsMegatronDoesOrWhereTensorParallelismDoesNotDivideIt) {
  const std::string assumption = "vocabulary padded to a multiple of 128 for each rank of tensor parallelism";
  PublishedRun run = run_of("vtrain-multi-0");
  EXPECT_EQ(plan(run).model.vocab, 393 * 128);  // 50257 / 128 = 392.6
  EXPECT_TRUE(assumes(plan(run), assumption));
  run.tp = 2;
  run.dp = 32;
  EXPECT_EQ(plan(run).model.vocab, 197 * 256);  // 50257 / 256 = 196.3
  EXPECT_TRUE(assumes(plan(run), assumption));
  run.tp = 8;
  run.dp = 8;
  EXPECT_EQ(plan(run).model.vocab, 50 * 1024);  // 50257 / 1024 = 49.1
  run.model_inline->vocab = 50 * 1024;
  EXPECT_EQ(plan(run).model.vocab, 50 * 1024);
  EXPECT_FALSE(assumes(plan(run), assumption));
  run.software = "llm-foundry/Composer";  // nobody pads here, as long as each rank has as much
  run.tp = 1;
  run.dp = 64;
  run.model_inline->vocab = 50257;
  EXPECT_EQ(plan(run).model.vocab, 50257);
}

TEST(RunPlan, RefusesDegreesThatAreNotTheNumberOfDevices) {
  PublishedRun run = run_of("simumax-70c6e4a0");
  run.dp = 2;
  EXPECT_EQ(refusal(run), "tp * cp * pp * dp is 4, not 8 (gpus)");
}

TEST(RunPlan, RefusesAnUnknownSchedule) {
  PublishedRun run = run_of("simumax-70c6e4a0");
  run.schedule = "gpipe";
  EXPECT_EQ(plan(run).strategy.schedule, Schedule::gpipe);
  run.schedule = "diagonal";
  EXPECT_EQ(refusal(run), "schedule diagonal");
}

TEST(RunPlan, LaysStagesAsALayoutSays) {
  PublishedRun run = run_of("simumax-70c6e4a0");  // 12 layers, PP 2
  run.pipeline_layout = "Et*4|(t|)*2t*6L";
  RunPlan read = plan(run);
  EXPECT_EQ(layers_of(read.strategy.stages), (std::vector<std::int64_t>{4, 1, 1, 6}));
  EXPECT_TRUE(read.strategy.stages.front().embedding);
  EXPECT_TRUE(read.strategy.stages.back().head);
  EXPECT_EQ(read.strategy.vpp, 2);  // which the row does not say
  EXPECT_EQ(read.strategy.schedule, Schedule::interleaved);
  EXPECT_TRUE(violations(read.model, read.strategy, read.batch, read.num_devices).empty());

  run.vpp = 3;
  EXPECT_EQ(refusal(run), "pipeline_layout: 4 stages, not 2 x 3 (pp x vpp)");
  run.vpp.reset();
  run.pipeline_layout = "Et|tL";
  EXPECT_EQ(refusal(run), "pipeline_layout: 2 layers, not 12");
  run.pipeline_layout = "Et*4|x";
  EXPECT_EQ(refusal(run), "pipeline_layout: at character 6 expected E, t, m, L, | or a group, got \"x\"");
}

/// DeepSeek-V3's proportions, small: a dense layer, three with experts, a prediction module.
PublishedRun run_with_prediction_module() {
  PublishedRun run = run_of("simumax-15a19e03");  // DeepSeek-V2 on one B200 node
  run.model_inline = published().model_of(run);
  run.model_inline->layers = 4;
  run.model_inline->mtp = true;
  run.layers_override.reset();
  run.pp = 2;
  run.dp = 4;
  run.ep = 4;
  return run;
}

TEST(RunPlan, PutsThePredictionModuleOnTheStageOfTheHeadOrWhereTheLayoutHasIt) {
  PublishedRun run = run_with_prediction_module();
  RunPlan read = plan(run);
  EXPECT_EQ(read.strategy.mtp, Mtp::on);
  EXPECT_EQ(read.strategy.stages.back().num_mtp, 1);
  EXPECT_TRUE(violations(read.model, read.strategy, read.batch, read.num_devices).empty());

  run.pipeline_layout = "Ettt|tmL";
  EXPECT_EQ(plan(run).strategy.stages.back().num_mtp, 1);
  run.pipeline_layout = "Ettt|tL";  // trained without
  read = plan(run);
  EXPECT_EQ(read.strategy.mtp, Mtp::off);
  EXPECT_EQ(read.model.num_mtp_modules, 0);
  EXPECT_TRUE(assumes(read, "pipeline_layout: 0 prediction modules"));
  EXPECT_TRUE(violations(read.model, read.strategy, read.batch, read.num_devices).empty());
}

TEST(RunPlan, SendsTokensOnceWithTheLibrariesThatDo) {
  PublishedRun run = run_of("xtuner-147bbba6");
  for (const std::string name : {"DeepEP", "flex (HybridEP)", "hybrid_ep", "nccl-ep", "NCCL EP"}) {
    run.dispatcher = name;
    EXPECT_EQ(plan(run).strategy.dispatcher, Dispatcher::two_level) << name;
  }
  for (const std::string name : {"alltoall (default)", "allgather", "flex"}) {
    run.dispatcher = name;
    EXPECT_EQ(plan(run).strategy.dispatcher, Dispatcher::all_to_all) << name;
  }
}

TEST(RunPlan, KeepsTheChoicesThatMoveTimeAlone) {
  PublishedRun run = run_of("xtuner-147bbba6");
  run.overlap = {{"tp_comm", true}, {"moe_a2a", true}, {"delayed_wgrad", true}, {"shared_expert", true}};
  run.cuda_graph = {"full_iteration"};
  run.dispatcher = "DeepEP";
  const Strategy strategy = plan(run).strategy;
  EXPECT_TRUE(strategy.overlap.tp);
  EXPECT_TRUE(strategy.overlap.ep_batch_level);
  EXPECT_TRUE(strategy.overlap.delayed_wgrad);
  EXPECT_TRUE(strategy.overlap.shared_expert);
  EXPECT_TRUE(strategy.cuda_graphs);
  EXPECT_EQ(strategy.dispatcher, Dispatcher::two_level);
  const Strategy plain = without_timing_choices(strategy);
  EXPECT_EQ(plain.overlap, Overlap());
  EXPECT_FALSE(plain.cuda_graphs);
  EXPECT_EQ(plain.dispatcher, Dispatcher::all_to_all);
  EXPECT_EQ(plain.stages, strategy.stages);
}

TEST(RunPlan, GivesGptOssTheBiasesAndTheLimitOfTheCatalogsModel) {
  const MoeBlock known = *read_model(std::string(ORRERY_SOURCE_DIR) + "/catalog/models/gpt-oss-120b.json").moe;
  const MoeBlock read = *plan(run_of("bridge-0f2e00f1")).model.moe;
  EXPECT_TRUE(read.expert_bias && read.router_bias);
  EXPECT_EQ(read.expert_bias, known.expert_bias);
  EXPECT_EQ(read.swiglu_limit, known.swiglu_limit);
}

TEST(RunPlan, FillsInWhatMegatronBridgesRecipeSwitchesOn) {
  PublishedRun run = run_of("bridge-0f2e00f1");  // gpt-oss on GB300 in mxfp8, release 26.08, which names no graphs
  EXPECT_TRUE(plan(run).framework.fused_experts);
  EXPECT_TRUE(plan(run).strategy.cuda_graphs);
  EXPECT_TRUE(plan(run).strategy.overlap.ep_batch_level);
  EXPECT_TRUE(plan(run).strategy.overlap.delayed_wgrad);
  EXPECT_EQ(plan(run).strategy.dispatcher, Dispatcher::two_level);
  EXPECT_TRUE(plan(run).attends_in_fp8);
  EXPECT_TRUE(plan(run).fp8_head);
  EXPECT_EQ(plan(run).framework.exchange_holds, 32.0);
  EXPECT_TRUE(plan(run).sorts_in_exchanges);
  for (const std::string assumption :
       {"experts: one kernel", "cuda_graph: the whole iteration", "dispatcher: tokens are sent once",
        "overlap: exchanges beside another micro-batch", "attention: in fp8", "head: in fp8"}) {
    EXPECT_TRUE(assumes(plan(run), assumption + ", as in Megatron-Bridge's recipe")) << assumption;
  }
  EXPECT_TRUE(violations(plan(run).model, plan(run).strategy, plan(run).batch, plan(run).num_devices).empty());
  for (const std::string software :
       {"Megatron-Bridge, NeMo container 26.04.01", "Megatron-Bridge", "Megatron-LM 26.08"}) {
    run.software = software;
    EXPECT_FALSE(plan(run).framework.fused_experts) << software;
    EXPECT_FALSE(plan(run).strategy.cuda_graphs) << software;
    EXPECT_FALSE(plan(run).strategy.overlap.ep_batch_level) << software;
    EXPECT_EQ(plan(run).strategy.dispatcher, Dispatcher::all_to_all) << software;
    EXPECT_FALSE(plan(run).attends_in_fp8 || plan(run).fp8_head || plan(run).sorts_in_exchanges) << software;
    EXPECT_EQ(plan(run).framework.exchange_holds, std::nullopt) << software;
  }
}

TEST(RunPlan, LaysOutDeepSeekV3AsMegatronBridgesRecipeDoes) {
  const RunsFile file = read_runs(testing::repository_path("docs/validation/large-models.json"));
  PublishedRun run = file.runs.front();
  const auto plan = [&] { return std::get<RunPlan>(plan_of(file, run)); };
  ASSERT_EQ(run.model, "deepseek-v3");
  std::vector<std::int64_t> layers(15, 4);
  layers.push_back(1);
  EXPECT_EQ(layers_of(plan().strategy.stages), layers);
  for (const StageLayout& stage : plan().strategy.stages) {
    EXPECT_EQ(stage.recompute, std::set<RecomputeModule>{RecomputeModule::mla_up_proj});
    EXPECT_EQ(stage.num_mtp, 0);
  }
  EXPECT_FALSE(plan().recompute_is_stated);
  for (const std::string what : {"recompute", "pipeline_layout"}) {
    EXPECT_TRUE(assumes(plan(), what + ": as in Megatron-Bridge's recipe")) << what;
  }
  run.model_label = "DeepSeek V3";
  run.flags.clear();
  EXPECT_EQ(plan().model.num_mtp_modules, 0);  // the recipe's
  run.software = "Megatron-Bridge, NeMo container 26.02";
  EXPECT_EQ(plan().strategy.stages.back().num_mtp, 1);
  run.recompute_known = true;  // nothing, as stated
  EXPECT_EQ(plan().strategy.stages.front().recompute, std::set<RecomputeModule>());
  run.pipeline_layout = "Et*3|(t*4|)*14ttmL";
  EXPECT_EQ(plan().strategy.stages.front().num_layers, 3);
}

TEST(RunPlan, OverlapsTensorParallelismWhereMegatronBridgesRecipeDoes) {
  PublishedRun run = run_of("bridge-285e9ead");  // llama3-70b in fp8
  run.task = "pretrain";
  EXPECT_FALSE(plan(run).strategy.overlap.tp);  // TP 1
  run.tp = 2;
  run.pp = 1;
  EXPECT_TRUE(plan(run).strategy.overlap.tp);
  EXPECT_TRUE(assumes(plan(run), "overlap: of tensor parallelism, as in Megatron-Bridge's recipe"));
  run.overlap = {{"tp_comm", false}};
  EXPECT_FALSE(plan(run).strategy.overlap.tp);  // as the row says
  run.overlap.clear();
  run.precision = "nvfp4";
  EXPECT_FALSE(plan(run).strategy.overlap.tp);
  run.precision = "fp8";
  run.software = "Megatron-LM 0.14";
  EXPECT_FALSE(plan(run).strategy.overlap.tp);
}

TEST(RunPlan, BelievesARowBeforeTheRecipe) {
  PublishedRun run = run_of("bridge-0f2e00f1");
  run.cuda_graph = {"attn"};
  run.dispatcher = "alltoall";
  run.overlap = {{"moe_a2a", false}};
  EXPECT_TRUE(plan(run).framework.fused_experts);
  EXPECT_FALSE(plan(run).strategy.cuda_graphs);
  EXPECT_FALSE(plan(run).strategy.overlap.ep_batch_level);
  EXPECT_EQ(plan(run).strategy.dispatcher, Dispatcher::all_to_all);
  // 32 multiprocessors and sorting on the way are HybridEP's alone.
  run.overlap.clear();
  EXPECT_TRUE(plan(run).strategy.overlap.ep_batch_level);
  EXPECT_FALSE(plan(run).sorts_in_exchanges);
  EXPECT_EQ(plan(run).framework.exchange_holds, std::nullopt);
  // Stages of one chunk have no forward at hand beside a backward; without EP nothing is exchanged.
  run = run_of("bridge-0f2e00f1");
  run.pp = 4;
  run.dp = 16;
  EXPECT_FALSE(plan(run).strategy.overlap.ep_batch_level);
  run = run_of("bridge-0f2e00f1");
  run.ep = 1;
  EXPECT_FALSE(plan(run).strategy.overlap.ep_batch_level);
  EXPECT_EQ(plan(run).strategy.dispatcher, Dispatcher::all_to_all);
}

TEST(RunPlan, HasCudaGraphsOnlyWhereTheyHoldAWholeIteration) {
  PublishedRun run = run_of("xtuner-147bbba6");
  EXPECT_FALSE(plan(run).strategy.cuda_graphs);
  run.cuda_graph = {"attn", "moe_router"};
  EXPECT_FALSE(plan(run).strategy.cuda_graphs);
  run.cuda_graph = {"attn", "full_iteration"};
  EXPECT_TRUE(plan(run).strategy.cuda_graphs);
}

TEST(RunPlan, OverlapsGradientsAsItsFrameworkDoesWhereTheRowIsSilent) {
  PublishedRun run = run_of("simumax-70c6e4a0");
  EXPECT_TRUE(plan(run).strategy.overlap.dp_buckets);  // Megatron's recipes do
  run.overlap["grad_reduce"] = false;
  EXPECT_FALSE(plan(run).strategy.overlap.dp_buckets);
  run = run_of("nanotron_h100_bench-0");
  EXPECT_FALSE(plan(run).strategy.overlap.dp_buckets);
  run.overlap["grad_reduce"] = true;
  EXPECT_TRUE(plan(run).strategy.overlap.dp_buckets);
}

TEST(RunPlan, HasNoBucketsWhereEveryLayerReducesItsOwnGradients) {
  PublishedRun run = run_of("simumax-70c6e4a0");
  run.overlap["grad_reduce"] = true;
  run.zero = 1;
  EXPECT_TRUE(plan(run).strategy.overlap.dp_buckets);
  run.zero = 2;
  EXPECT_FALSE(plan(run).strategy.overlap.dp_buckets);
  run.zero = 3;
  EXPECT_FALSE(plan(run).strategy.overlap.dp_buckets);
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
  EXPECT_EQ(catalog_device("H200-NVL-141GB"), "h200-nvl");
  EXPECT_EQ(catalog_device("L40S"), "l40s");
  EXPECT_EQ(catalog_device("MI325X"), "mi325x");
  EXPECT_EQ(catalog_device("MI350X"), "mi350x");
  EXPECT_EQ(catalog_device("V100-SXM-32GB"), "");
}

TEST(CatalogDevice, IsAFileOfTheCatalog) {
  for (const std::string gpu :
       {"A100-SXM-40GB", "A100-SXM-80GB", "B200", "B300", "GB200", "GB300", "H100-SXM-80GB", "H100-SXM-96GB-500W",
        "H200-SXM-141GB", "H200-NVL-141GB", "H800-SXM-80GB", "L40S", "MI300X", "MI325X", "MI350X", "MI355X"}) {
    const std::string file = "catalog/devices/" + catalog_device(gpu) + ".json";
    EXPECT_TRUE(std::filesystem::exists(testing::repository_path(file))) << gpu;
  }
}

}  // namespace
}  // namespace orrery::costmodel
