// SPDX-License-Identifier: Apache-2.0
#include "planner/importers/megatron_arguments.h"

#include "base/errors.h"
#include "tests/unit/planner/exporters/export_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::plan_to_export;

const std::string kBatch = "--seq-length 256 --micro-batch-size 1 --global-batch-size 64 --bf16 ";

MegatronJob read(const std::string& text, const Model& model = plan_to_export().model) {
  return read_megatron_arguments(kBatch + text, "args.txt", model);
}

std::string problems_of(const std::string& text) {
  try {
    read(text);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no problem";
}

std::vector<std::int64_t> layers_of(const Strategy& strategy) {
  std::vector<std::int64_t> counts;
  for (const StageLayout& stage : strategy.stages) counts.push_back(stage.num_layers);
  return counts;
}

TEST(MegatronArguments, ReadAShellLineBehindItsLauncher) {
  const MegatronJob job = read_megatron_arguments(
      "CUDA_DEVICE_MAX_CONNECTIONS=1 torchrun --nproc_per_node 8 pretrain_gpt.py \\\n"
      "  --tensor-model-parallel-size=2 --sequence-parallel \\\n"
      "  --pipeline-model-parallel-layout 'Ett|tt|tt|tt,L' --pipeline-model-parallel-size 4  # as in run 7\n"
      "  --seq-length 4096 --micro-batch-size 2 --global-batch-size \"512\" --bf16\n",
      "run.sh", plan_to_export().model);
  EXPECT_EQ(job.batch, (BatchShape{.seq = 4096, .global_batch = 512}));
  EXPECT_EQ(job.strategy.tp, 2);
  EXPECT_TRUE(job.strategy.sp);
  EXPECT_EQ(job.strategy.micro_batch, 2);
  EXPECT_THAT(layers_of(job.strategy), ElementsAre(2, 2, 2, 2));
  EXPECT_THAT(job.unknown, IsEmpty());
  EXPECT_THAT(job.notes, IsEmpty());
}

TEST(MegatronArguments, GiveExpertsTheTensorParallelSizeUnlessTheySayAnother) {
  EXPECT_EQ(read("--tensor-model-parallel-size 4 --sequence-parallel").strategy.etp, 4);
  EXPECT_EQ(read("--tensor-model-parallel-size 4 --expert-tensor-parallel-size 1").strategy.etp, 1);
  Model dense = plan_to_export().model;
  dense.moe.reset();
  dense.layers.assign(8, LayerKind::dense);
  EXPECT_EQ(read("--tensor-model-parallel-size 4", dense).strategy.etp, 1);
}

TEST(MegatronArguments, LayLayersAsMegatronDoes) {
  EXPECT_THAT(layers_of(read("--pipeline-model-parallel-size 4").strategy), ElementsAre(2, 2, 2, 2));
  const Strategy chunks = read("--pipeline-model-parallel-size 2 --num-layers-per-virtual-pipeline-stage 2").strategy;
  EXPECT_EQ(chunks.vpp, 2);
  EXPECT_EQ(chunks.schedule, Schedule::interleaved);
  EXPECT_THAT(layers_of(chunks), ElementsAre(2, 2, 2, 2));
  EXPECT_EQ(read("--pipeline-model-parallel-size 2 --num-virtual-stages-per-pipeline-rank 2").strategy, chunks);
  EXPECT_THAT(layers_of(read("--pipeline-model-parallel-size 4 --decoder-first-pipeline-num-layers 1 "
                             "--decoder-last-pipeline-num-layers 3")
                            .strategy),
              ElementsAre(1, 2, 2, 3));
  // Ten things on five ranks: embedding and head are one each.
  EXPECT_THAT(layers_of(read("--pipeline-model-parallel-size 5 --account-for-embedding-in-pipeline-split "
                             "--account-for-loss-in-pipeline-split")
                            .strategy),
              ElementsAre(1, 2, 2, 2, 1));
  EXPECT_EQ(read("--mtp-num-layers 1 --pipeline-model-parallel-size 2").strategy.stages.back().num_mtp, 1);
}

TEST(MegatronArguments, ReportLayersThatDoNotSplitAtTheirLine) {
  EXPECT_EQ(problems_of("\n--pipeline-model-parallel-size 3"),
            "args.txt:2: --pipeline-model-parallel-size: expected 8 layers to be split evenly over 3 pipeline ranks");
  EXPECT_EQ(problems_of("--pipeline-model-parallel-size 2 --num-layers-per-virtual-pipeline-stage 3"),
            "args.txt:1: --num-layers-per-virtual-pipeline-stage: expected it to split 8 layers into a multiple of 2 "
            "stages (pp), got 3");
  EXPECT_EQ(
      problems_of("--pipeline-model-parallel-size 2 --pipeline-model-parallel-layout Et*8|x|L"),
      "args.txt:1: --pipeline-model-parallel-layout: at character 6 expected E, t, m, L, | or a group, got \"x\"");
}

TEST(MegatronArguments, NameAllProblemsAtOnce) {
  EXPECT_EQ(problems_of("--context-parallel-size two --bf16 yes\n--optimizer sgd --use-torch-fsdp2\n"
                        "--expert-model-parallel-size $EP --recompute-modules head"),
            "args.txt:1: --context-parallel-size: expected an integer from 1 to 2^30, got \"two\"\n"
            "args.txt:1: --bf16: expected no value, since it is a switch, got \"yes\"\n"
            "args.txt:2: --optimizer: expected \"adam\", \"muon\" or \"dist_muon\", got \"sgd\"\n"
            "args.txt:2: --use-torch-fsdp2: expected a job without it: no strategy says what it does\n"
            "args.txt:3: --expert-model-parallel-size: expected a value, got the shell's \"$EP\"\n"
            "  hint: let the shell fill it in: echo ARGUMENTS > FILE\n"
            "args.txt:3: --recompute-modules: expected modules that can be recomputed, got \"head\"");
  EXPECT_THROW(read_megatron_arguments("--bf16", "args.txt", plan_to_export().model), ConfigError);
}

TEST(MegatronArguments, NameWhatNobodyKnowsAndPassOverWhatChangesNothing) {
  const MegatronJob job = read(
      "--lr 1e-4 --data-path a b c --save /tmp/x --log-interval 1 --no-gradient-accumulation-fusion --frobnicate 3 "
      "--moe-shiny");
  EXPECT_THAT(job.unknown, ElementsAre("--frobnicate", "--moe-shiny"));
}

TEST(MegatronArguments, SayWhatTheyReadAsSomethingNear) {
  const MegatronJob job = read(
      "--fp8-format hybrid --recompute-granularity full --recompute-method uniform --recompute-num-layers 2 "
      "--use-distributed-optimizer --overlap-grad-reduce --main-params-dtype fp16");
  EXPECT_EQ(job.strategy.precision, DType::fp8);
  EXPECT_EQ(job.strategy.fp8_recipe, Fp8Recipe::tensorwise);
  EXPECT_THAT(job.notes, ElementsAre("--recompute-num-layers 2 with uniform is read as 1: every layer keeps its input",
                                     "--overlap-grad-reduce without --overlap-param-gather is read as both",
                                     "--fp8-recipe delayed is read as tensorwise",
                                     "--main-params-dtype fp16 is read as bf16, which has its size"));
}

TEST(MegatronArguments, ChangeSizesOfTheModel) {
  const MegatronJob job = read("--num-layers 4 --num-experts 4 --hidden-size 64 --moe-ffn-hidden-size 48");
  EXPECT_EQ(job.model.num_layers(), 4);
  EXPECT_EQ(job.model.moe->num_experts, 4);
  EXPECT_EQ(job.model.moe->expert_width, 48);
  EXPECT_THAT(job.notes,
              ElementsAre("--num-layers: 4 instead of 8 of small-moe", "--num-experts: 4 instead of 8 of small-moe",
                          "--moe-ffn-hidden-size: 48 instead of 32 of small-moe"));
  EXPECT_EQ(problems_of("--num-layers 1"),
            "args.txt:1: --num-layers: expected a layer with experts among the first 1 of small-moe");
}

TEST(MegatronArguments, RecomputeTheFirstLayersOfEveryStage) {
  const Strategy s = read(
                         "--pipeline-model-parallel-size 2 --decoder-first-pipeline-num-layers 3 "
                         "--recompute-granularity full --recompute-method block --recompute-num-layers 4")
                         .strategy;
  EXPECT_EQ(s.stages[0].num_recompute_layers, std::nullopt);
  EXPECT_EQ(s.stages[1].num_recompute_layers, 4);
  EXPECT_EQ(read("--recompute-activations").strategy.stages[0].recompute, std::set{RecomputeModule::core_attn});
}

}  // namespace
}  // namespace orrery::planner
