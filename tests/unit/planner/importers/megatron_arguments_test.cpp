// SPDX-License-Identifier: Apache-2.0
#include "planner/importers/megatron_arguments.h"

#include "base/errors.h"
#include "program/hf_config.h"
#include "program/legality.h"
#include "tests/unit/planner/exporters/export_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
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
            "args.txt:1: --context-parallel-size: expected an integer from 1 to 1048576, got \"two\"\n"
            "args.txt:1: --bf16: expected no value, since it is a switch, got \"yes\"\n"
            "args.txt:2: --optimizer: expected \"adam\", \"muon\" or \"dist_muon\", got \"sgd\"\n"
            "args.txt:2: --use-torch-fsdp2: expected a job without it: no strategy says what it does\n"
            "args.txt:3: --expert-model-parallel-size: expected a value, got the shell's \"$EP\"\n"
            "  hint: let the shell fill it in: echo ARGUMENTS > FILE\n"
            "args.txt:3: --recompute-modules: expected modules that can be recomputed, got \"head\"");
  EXPECT_THROW(read_megatron_arguments("--bf16", "args.txt", plan_to_export().model), ConfigError);
}

TEST(MegatronArguments, StateDegreesWhoseProductsAreNumbers) {
  EXPECT_EQ(problems_of("--tensor-model-parallel-size 1048577\n--micro-batch-size 1073741824"),
            "args.txt:1: --tensor-model-parallel-size: expected an integer from 1 to 1048576, got \"1048577\"\n"
            "args.txt:2: --micro-batch-size: expected an integer from 1 to 1048576, got \"1073741824\"");
  const Strategy s = read("--tensor-model-parallel-size 1048576 --context-parallel-size 1048576").strategy;
  EXPECT_THAT(violations(plan_to_export().model, s, {.seq = 256, .global_batch = 64}, 64), Not(IsEmpty()));
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

TEST(MegatronArguments, RecomputeTheFirstLayersOfEveryStage) {
  const Strategy s = read(
                         "--pipeline-model-parallel-size 2 --decoder-first-pipeline-num-layers 3 "
                         "--recompute-granularity full --recompute-method block --recompute-num-layers 4")
                         .strategy;
  EXPECT_EQ(s.stages[0].num_recompute_layers, std::nullopt);
  EXPECT_EQ(s.stages[1].num_recompute_layers, 4);
  EXPECT_EQ(read("--recompute-activations").strategy.stages[0].recompute, std::set{RecomputeModule::core_attn});
}

/// A model of the catalog.
Model catalog(const std::string& name) { return read_model(ORRERY_SOURCE_DIR "/catalog/models/" + name + ".json"); }

// Source: Megatron-LM 0.20.0, examples/mixtral/train_mixtral_8x7b_distributed.sh.
TEST(MegatronArguments, KnowAllOfAPublishedMixtral) {
  const MegatronJob job = read_megatron_arguments(
      "torchrun --nproc_per_node 8 --nnodes 4 pretrain_gpt.py --use-mcore-models --disable-bias-linear --seq-length "
      "4096 "
      "--max-position-embeddings 32768 --num-layers 32 --hidden-size 4096 --ffn-hidden-size 14336 "
      "--num-attention-heads 32 --init-method-std 0.01 --attention-dropout 0.0 --hidden-dropout 0.0 --normalization "
      "RMSNorm --position-embedding-type rope --swiglu --untie-embeddings-and-output-weights --group-query-attention "
      "--num-query-groups 8 --no-masked-softmax-fusion --no-position-embedding --rotary-base 1000000 --num-experts 8 "
      "--moe-router-topk 2 --moe-router-load-balancing-type aux_loss --moe-aux-loss-coeff 1e-2 --moe-grouped-gemm "
      "--moe-token-dispatcher-type alltoall --overlap-param-gather --overlap-grad-reduce --tokenizer-type "
      "Llama2Tokenizer --tokenizer-model t.model --data-path d --split 99990,8,2 --micro-batch-size 1 "
      "--global-batch-size 256 --lr 1e-4 --train-iters 500000 --lr-decay-iters 320000 --lr-decay-style cosine "
      "--min-lr 1.0e-5 --weight-decay 0.1 --lr-warmup-iters 500 --clip-grad 1.0 --bf16 --tensor-model-parallel-size 1 "
      "--pipeline-model-parallel-size 4 --expert-model-parallel-size 8 --use-distributed-optimizer --sequence-parallel "
      "--log-interval 1 --save-interval 10000 --eval-interval 1000 --eval-iters 10 --save c --load c "
      "--tensorboard-dir t --no-load-optim --no-load-rng",
      "mixtral.sh", catalog("mixtral-8x7b"));
  EXPECT_THAT(job.notes, IsEmpty());
  EXPECT_THAT(job.unknown, IsEmpty());
  Strategy expected;
  expected.pp = 4;
  expected.ep = 8;
  expected.zero_dense = expected.zero_expert = 1;
  expected.stages = even_stages(32, 4);
  expected.overlap.dp_buckets = true;
  EXPECT_EQ(job.strategy, expected);
}

// What DeepSeek-V3 is in these arguments is what the catalog has from its config.json.
TEST(MegatronArguments, DescribeDeepSeekV3AsTheCatalogDoes) {
  const MegatronJob job = read_megatron_arguments(
      "--num-layers 61 --hidden-size 7168 --ffn-hidden-size 18432 --num-attention-heads 128 --kv-channels 128 "
      "--multi-latent-attention --q-lora-rank 1536 --kv-lora-rank 512 --qk-head-dim 128 --qk-pos-emb-head-dim 64 "
      "--v-head-dim 128 --qk-layernorm --rotary-scaling-factor 40 --mscale 1.0 --mscale-all-dim 1.0 --num-experts 256 "
      "--moe-layer-freq ([0]*3+[1]*58) --moe-ffn-hidden-size 2048 --moe-shared-expert-intermediate-size 2048 "
      "--moe-router-load-balancing-type seq_aux_loss --moe-router-topk 8 --moe-router-num-groups 8 "
      "--moe-router-group-topk 4 --moe-router-pre-softmax --moe-router-score-function sigmoid "
      "--moe-router-topk-scaling-factor 2.5 --moe-router-enable-expert-bias --moe-router-bias-update-rate 1e-3 "
      "--moe-router-dtype fp32 --moe-aux-loss-coeff 1e-4 --moe-permute-fusion --moe-grouped-gemm "
      "--mtp-num-layers 1 --mtp-loss-scaling-factor 0.1 --moe-token-dispatcher-type flex --moe-enable-deepep "
      "--recompute-granularity selective --recompute-modules mla_up_proj layernorm --pipeline-model-parallel-size 16 "
      "--pipeline-model-parallel-layout 'Et*3|(tt|)*29m|L' --expert-model-parallel-size 64 "
      "--expert-tensor-parallel-size 1 --use-distributed-optimizer --cross-entropy-loss-fusion --manual-gc "
      "--manual-gc-interval 5 --micro-batch-size 1 --global-batch-size 8192 --seq-length 4096 --bf16",
      "v3.sh", catalog("deepseek-v3"));
  EXPECT_THAT(job.notes, IsEmpty());
  EXPECT_THAT(job.unknown, IsEmpty());
  EXPECT_EQ(job.strategy.vpp, 2);
  EXPECT_EQ(job.strategy.dispatcher, Dispatcher::two_level);
  EXPECT_EQ(job.strategy.stages[30].num_mtp, 1);
  EXPECT_THAT(violations(job.model, job.strategy, job.batch, 2048), IsEmpty());
}

}  // namespace
}  // namespace orrery::planner
