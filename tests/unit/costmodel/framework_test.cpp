// SPDX-License-Identifier: Apache-2.0
#include "costmodel/framework.h"

#include "costmodel/memory.h"
#include "program/hf_config.h"
#include "tests/unit/program/small_models.h"

#include <string_view>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

Model catalog_model(const std::string& file) { return read_model(std::string(ORRERY_SOURCE_DIR) + "/" + file); }

/// 12 layers of Llama 3 70B, as SimuMax ran them.
Model llama_70b() {
  Model model = catalog_model("catalog/models/llama3-70b.json");
  model.layers.resize(12);
  return model;
}

Strategy strategy_of(const Model& model, std::int64_t pp, int zero) {
  Strategy strategy;
  strategy.pp = pp;
  strategy.zero_dense = strategy.zero_expert = zero;
  strategy.stages = even_stages(model.num_layers(), pp);
  return strategy;
}

Bytes buffers(const Framework& framework, const Model& model, const Strategy& strategy, std::int64_t world,
              std::size_t stage = 0) {
  return buffers_of(framework, model, strategy, 4096, Mesh(strategy, world), {strategy.stages[stage]});
}

TEST(Framework, IsFoundByThePublishedName) {
  EXPECT_EQ(framework_of("nanotron"), nanotron());
  EXPECT_EQ(framework_of("Megatron-LM 0.14-era + TE 2.11"), megatron());
  EXPECT_EQ(framework_of("Pai-Megatron-Patch 2b201af"), megatron());
  EXPECT_EQ(framework_of("NVIDIA NeMo Framework Release 25.09"), megatron());
  EXPECT_EQ(framework_of("Megatron-Bridge, NeMo container 26.08"), megatron_bridge());
  EXPECT_EQ(framework_of("torchtitan 9dec370, torch 1963fc8 (2024-12)"), torchtitan(false));
  EXPECT_EQ(framework_of("torchtitan 820504e, torch 38410cf9 (2025-06)"), torchtitan(true));
  EXPECT_EQ(framework_of("Megatron-DeepSpeed"), megatron_deepspeed());
  EXPECT_EQ(framework_of("llm-foundry/Composer FSDP (torch version not stated in table)"), composer());
  EXPECT_EQ(framework_of("InternEvo"), internevo());
  for (const std::string_view mlperf :
       {"PyTorch NVIDIA Release 25.09", "NVIDIA NGC Pytorch 25.04 HugeCTR Nemo 25.09, DGL 25.03", "NVIDIA NEMO",
        "DGL NVIDIA Release 24.09", "Primus, ROCm 7.1.0, PyTorch 2.9.0, rocm/megatron-lm v25.10", "LLMBoost 1.2.0",
        "CUDA 12.3"}) {
    EXPECT_EQ(framework_of(mlperf), megatron()) << mlperf;
  }
  EXPECT_FALSE(framework_of("JAX, MaxText").has_value());
}

TEST(Framework, AddsNothingByDefault) {
  const Model model = llama_70b();
  const Strategy strategy = strategy_of(model, 2, 1);
  EXPECT_EQ(buffers(Framework(), model, strategy, 8), Bytes());
  EXPECT_EQ(update_copies_of(Framework(), model, strategy, Mesh(strategy, 8), strategy.stages.front()), Bytes());
  EXPECT_EQ(saved_beside(Framework(), model, strategy, LayerKind::dense, 1000.0), 0.0);
}

// qkv, projection, fc1 and fc2 of all layers are of four shapes; the router, norms, embedding and head have none.
TEST(Framework, KeepsOneWgradBufferForEachShape) {
  const Model model = llama_70b();
  const double shapes = 8192.0 * (8192 + 2 * 1024) + 8192.0 * 8192 + 8192.0 * 2 * 28672 + 28672.0 * 8192;
  EXPECT_EQ(buffers(megatron(), model, strategy_of(model, 1, 1), 8), bytes(2.0 * shapes) + mib(96));
}

TEST(Framework, DividesWgradBuffersByTensorParallelism) {
  const Model model = llama_70b();
  Strategy strategy = strategy_of(model, 1, 1);
  const Bytes whole = buffers(megatron(), model, strategy, 8) - mib(96);
  strategy.tp = 4;
  EXPECT_EQ(buffers(megatron(), model, strategy, 8) - mib(96), 0.25 * whole);
}

TEST(Framework, CountsOneExpertForAllAndWorkspacesOfGroupedProducts) {
  Model model = testing::small_moe(2);  // a dense layer, then one with experts
  const Strategy strategy = strategy_of(model, 2, 1);
  const double attention = 64.0 * (64 + 2 * 32) + 64.0 * 64;
  EXPECT_EQ(buffers(megatron(), model, strategy, 4, 0), bytes(2.0 * (attention + 3 * 64.0 * 128)) + mib(96));
  // An expert's fc1 happens to have the shape of the projection.
  EXPECT_EQ(buffers(megatron(), model, strategy, 4, 1), bytes(2.0 * (attention + 64.0 * 32)) + mib(96 + 128));
}

TEST(Framework, HasBucketsOnlyWhereGradientsAreReduced) {
  const Model model = llama_70b();
  const Strategy strategy = strategy_of(model, 1, 0);
  const auto parameters = (buffers(nanotron(), model, strategy, 8) - mib(64)).in(unit::byte) / 2.0;
  EXPECT_GT(parameters, 12e9);
  EXPECT_EQ(buffers(nanotron(), model, strategy, 1), mib(64));
}

TEST(Framework, GathersRowsIntoTwoBuffersWithTensorParallelism) {
  const Model model = llama_70b();
  Strategy strategy = strategy_of(model, 1, 0);
  strategy.tp = 8;
  EXPECT_EQ(buffers(nanotron(), model, strategy, 8), bytes(2.0 * 2 * 8192 * 4096) + mib(64));
}

TEST(Framework, CopiesWeightsWhileTheOptimizerStepsUnderZero1) {
  const Model model = llama_70b();
  const auto copies = [&](int zero, std::int64_t world) {
    const Strategy strategy = strategy_of(model, 1, zero);
    return update_copies_of(nanotron(), model, strategy, Mesh(strategy, world), strategy.stages.front());
  };
  const Bytes weights = buffers(nanotron(), model, strategy_of(model, 1, 1), 8) - mib(64);
  EXPECT_EQ(copies(1, 8), 1.125 * weights);
  EXPECT_EQ(copies(0, 8), Bytes());
  EXPECT_EQ(copies(1, 1), Bytes());
}

TEST(Framework, SavesMoreWhereKernelsAreNotFused) {
  const Model model = llama_70b();
  const Strategy strategy = strategy_of(model, 1, 0);
  EXPECT_EQ(saved_beside(nanotron(), model, strategy, LayerKind::dense, 0.0), 2.0 * (2 * 8192 + 28672));
}

TEST(Framework, KeepsEveryOtherProductUnderSelectiveRecomputation) {
  const Model model = llama_70b();
  Framework framework = torchtitan();
  framework.saves_every_second_product = true;
  // Input, q, v, the attention's output and its statistics, gate, and the layer's output.
  const double kept = 2.0 * (8192 + 8192 + 1024 + 8192 + 28672 + 8192) + 4 * 64;
  EXPECT_EQ(saved_beside(framework, model, strategy_of(model, 1, 0), LayerKind::dense, 300000.0), kept - 300000.0);
}

// 66.55 GiB were measured on 8 x B200 (SimuMax, docs/b200/b200_release_v1.2_summary.md), 43.6 GiB of them states.
TEST(Framework, ExplainsAPublishedPeakOfMegatron) {
  const Model model = llama_70b();
  const Strategy strategy = strategy_of(model, 2, 1);
  const BatchShape batch{.seq = 4096, .global_batch = 16};
  const auto stages = memory_per_stage(model, strategy, batch, Mesh(strategy, 8), MemoryModel::of(megatron()));
  EXPECT_NEAR(stages[0].allocated().in(unit::gibibyte), 66.55, 0.008 * 66.55);
  EXPECT_NEAR(stages[0].buffers.in(unit::gibibyte), 1.59 + 0.09, 0.01);
  EXPECT_EQ(stages[0].fragmentation, 0.04 * stages[0].allocated());
  EXPECT_EQ(stages[0].reserve, gib(2));
}

TEST(Framework, AllocatesAGradientOfTheHeadInItsBackward) {
  const Model model = llama_70b();
  const Strategy strategy = strategy_of(model, 1, 1);
  const BatchShape batch{.seq = 4096, .global_batch = 16};
  Framework framework = megatron();
  const auto transients = [&] {
    return memory_per_stage(model, strategy, batch, Mesh(strategy, 8), MemoryModel::of(framework))[0].transients;
  };
  EXPECT_EQ(transients(), bytes(2.0 * 8192 * 4096 + 2.0 * 8192 * 128256));
  framework.head_wgrad_is_buffer = false;
  EXPECT_LT(transients(), gib(1));
}

TEST(Framework, SaysWhichKernelsItCalls) {
  const KernelParameters of_ours = with_kernels_of(Framework{}, KernelParameters{});
  EXPECT_EQ(of_ours, KernelParameters{});
  const KernelParameters numbers = with_kernels_of(nanotron(), KernelParameters{.matmul = 0.5});
  EXPECT_EQ(numbers.matmul, 0.5);
  EXPECT_EQ(numbers.attention, AttentionKernels::flash_2);
  // 38 bytes of a logit forward and 14 backward, where fused kernels move six each.
  EXPECT_DOUBLE_EQ(6.0 * numbers.loss_forward, 38.0);
  EXPECT_DOUBLE_EQ(6.0 * numbers.loss_backward, 14.0);
  EXPECT_EQ(megatron_deepspeed().attention, AttentionKernels::materialized);
  EXPECT_EQ(megatron_bridge().loss_forward, 1.0);
  EXPECT_GT(torchtitan(false).loss_backward, torchtitan(true).loss_backward);
  Framework frozen;
  frozen.weight_gradients = false;
  EXPECT_TRUE(with_kernels_of({}, {}).weight_gradients);
  EXPECT_FALSE(with_kernels_of(frozen, {}).weight_gradients);
  Framework with_wide_exchanges;
  with_wide_exchanges.exchange_holds = 32.0;
  EXPECT_EQ(with_kernels_of(with_wide_exchanges, {}).exchange_holds, 32.0);
  // A framework that says nothing leaves what a calibration says.
  EXPECT_EQ(with_kernels_of({}, {.exchange_holds = 24.0}).exchange_holds, 24.0);
}

TEST(Framework, IsFoundByItsName) {
  for (const char* name :
       {"megatron", "megatron-bridge", "torchtitan", "nanotron", "megatron-deepspeed", "composer", "internevo"}) {
    EXPECT_EQ(framework_named(name).name, name);
  }
  EXPECT_EQ(framework_named("a new one"), Framework{});
}

}  // namespace
}  // namespace orrery::costmodel
