// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/bridge_recipes.h"

#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

PublishedRun run_of(std::string model, std::string gpu, std::string precision, const std::string& release) {
  PublishedRun run;
  run.is_moe = true;
  run.model = std::move(model);
  run.gpu = std::move(gpu);
  run.precision = std::move(precision);
  run.software = "Megatron-Bridge, NeMo container " + release;
  return run;
}

TEST(BridgeRecipes, ReadsTheReleaseWithItsPatch) {
  EXPECT_EQ(bridge_release_of("Megatron-Bridge, NeMo container 26.04.01"), 260401);
  EXPECT_EQ(bridge_release_of("Megatron-Bridge, NeMo container 25.11"), 251100);
  EXPECT_EQ(bridge_release_of("Megatron-Bridge a8038f6d99, nemo:26.06"), 260600);
  EXPECT_EQ(bridge_release_of("Megatron-Bridge"), 0);
}

TEST(BridgeRecipes, KnowsFromWhichReleaseOnTokensAreSentOnce) {
  const auto sends_once = [](const char* model, const char* gpu, const char* precision, const char* release) {
    return bridge_recipe_of(run_of(model, gpu, precision, release)) == BridgeRecipe{.sends_tokens_once = true};
  };
  EXPECT_TRUE(sends_once("qwen3-30b-a3b", "GB200", "mxfp8", "26.02"));
  EXPECT_FALSE(sends_once("qwen3-30b-a3b", "GB200", "mxfp8", "25.11"));
  EXPECT_FALSE(sends_once("qwen3-30b-a3b", "B200", "mxfp8", "26.02"));  // micro-batches of 1, no library yet
  EXPECT_TRUE(sends_once("qwen3-30b-a3b", "B200", "mxfp8", "26.02.01"));
  EXPECT_FALSE(sends_once("qwen3-30b-a3b", "H100-SXM-80GB", "fp8", "26.02.01"));  // PP 2, EP 8 in a node
  EXPECT_TRUE(sends_once("qwen3-30b-a3b", "H100-SXM-80GB", "fp8", "26.04"));      // EP 16 over two
  EXPECT_TRUE(sends_once("gpt-oss-120b", "B300", "bf16", "26.04"));
  EXPECT_FALSE(sends_once("gpt-oss-120b", "GB300", "bf16", "26.04"));
  for (const char* gpu : {"B200", "B300"}) {
    EXPECT_FALSE(sends_once("gpt-oss-120b", gpu, "bf16", "26.02")) << gpu;  // EP 64 over eight nodes
    EXPECT_TRUE(sends_once("gpt-oss-120b", gpu, "bf16", "26.02.01")) << gpu;
  }
  EXPECT_TRUE(sends_once("deepseek-v3", "H100-SXM-80GB", "fp8", "25.11"));
  EXPECT_FALSE(sends_once("mixtral-8x7b", "GB300", "bf16", "26.04"));
}

TEST(BridgeRecipes, SwitchesAllOnInMxFormatsFromJune2026On) {
  const BridgeRecipe all{.sends_tokens_once = true,
                         .overlaps_exchanges = true,
                         .fused_experts = true,
                         .graphs_whole_iteration = true,
                         .attends_in_fp8 = true};
  EXPECT_EQ(bridge_recipe_of(run_of("qwen3-30b-a3b", "GB200", "mxfp8", "26.06")), all);
  EXPECT_EQ(bridge_recipe_of(run_of("qwen3-30b-a3b", "B300", "mxfp8", "26.06")), all);
  for (const char* model :
       {"gpt-oss-120b", "deepseek-v3", "qwen3-235b-a22b"}) {  // whose recipes for this GPU switch none of it on
    EXPECT_EQ(bridge_recipe_of(run_of(model, "B300", "mxfp8", "26.06")), BridgeRecipe{.sends_tokens_once = true});
  }
  EXPECT_EQ(bridge_recipe_of(run_of("gpt-oss-120b", "GB300", "mxfp8", "26.04.01")), BridgeRecipe());
  EXPECT_EQ(bridge_recipe_of(run_of("gpt-oss-120b", "GB300", "bf16", "26.06")), BridgeRecipe());
  EXPECT_EQ(bridge_recipe_of(run_of("gpt-oss-120b", "B200", "mxfp8", "26.06")),
            BridgeRecipe{.sends_tokens_once = true});
  EXPECT_FALSE(bridge_recipe_of(run_of("mixtral-8x7b", "GB200", "mxfp8", "26.06")).attends_in_fp8);  // not said of it
  const BridgeRecipe fp4 = bridge_recipe_of(run_of("deepseek-v3", "GB300", "nvfp4", "26.06"));
  EXPECT_TRUE(fp4.fused_experts && fp4.graphs_whole_iteration);
  EXPECT_FALSE(fp4.overlaps_exchanges || fp4.attends_in_fp8);
}

TEST(BridgeRecipes, MultipliesTheHeadInFp8OfTwoModelsOnRacks) {
  const auto has_fp8_head = [](const char* model, const char* gpu, const char* precision, const char* release) {
    return bridge_recipe_of(run_of(model, gpu, precision, release)).fp8_head;
  };
  EXPECT_TRUE(has_fp8_head("gpt-oss-120b", "GB200", "mxfp8", "26.06"));
  EXPECT_TRUE(has_fp8_head("gpt-oss-120b", "GB300", "mxfp8", "26.08"));
  EXPECT_TRUE(has_fp8_head("deepseek-v3", "GB200", "mxfp8", "26.06"));
  EXPECT_FALSE(has_fp8_head("gpt-oss-120b", "B300", "mxfp8", "26.06"));
  EXPECT_FALSE(has_fp8_head("gpt-oss-120b", "GB200", "mxfp8", "26.04"));
  EXPECT_FALSE(has_fp8_head("gpt-oss-120b", "GB200", "bf16", "26.06"));
  EXPECT_FALSE(has_fp8_head("qwen3-30b-a3b", "GB200", "mxfp8", "26.06"));
}

TEST(BridgeRecipes, OverlapsExchangesOfGptOssOnGb200FromApril2026OnAndSendsTokensOnceInOneRelease) {
  const auto recipe = [](const char* release) {
    return bridge_recipe_of(run_of("gpt-oss-120b", "GB200", "bf16", release));
  };
  EXPECT_EQ(recipe("26.02.01"), BridgeRecipe());
  EXPECT_EQ(recipe("26.04"), (BridgeRecipe{.sends_tokens_once = true, .overlaps_exchanges = true}));
  EXPECT_EQ(recipe("26.04.01"), BridgeRecipe{.overlaps_exchanges = true});
  EXPECT_EQ(recipe("26.06"), BridgeRecipe{.overlaps_exchanges = true});
}

TEST(BridgeRecipes, HasExchangesBesideAnotherMicroBatchOfOneModelOnHopper) {
  const BridgeRecipe recipe = bridge_recipe_of(run_of("qwen3-235b-a22b", "H100-SXM-80GB", "bf16", "26.02"));
  EXPECT_EQ(recipe, BridgeRecipe{.overlaps_exchanges = true});
}

TEST(BridgeRecipes, SaysNothingOfDenseModels) {
  PublishedRun run = run_of("llama3-8b", "GB200", "mxfp8", "26.06");
  run.is_moe = false;
  EXPECT_EQ(bridge_recipe_of(run), BridgeRecipe());
}

}  // namespace
}  // namespace orrery::costmodel
