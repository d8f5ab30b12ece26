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
  for (const char* release : {"25.09", "25.11", "26.02", "26.06"}) {
    EXPECT_TRUE(bridge_recipe_of(run_of("deepseek-v3", "H100-SXM-80GB", "fp8", release)).sends_tokens_once) << release;
    EXPECT_EQ(bridge_recipe_of(run_of("deepseek-v3", "GB200", "bf16", release)).sends_tokens_once,
              std::string(release) != "25.09");
    EXPECT_EQ(bridge_recipe_of(run_of("deepseek-v3", "B200", "mxfp8", release)).sends_tokens_once,
              std::string(release) >= "26.02");
  }
  EXPECT_TRUE(sends_once("qwen3-235b-a22b", "GB300", "bf16", "25.11"));
  EXPECT_FALSE(sends_once("qwen3-235b-a22b", "GB200", "mxfp8", "25.09"));
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
    BridgeRecipe recipe = bridge_recipe_of(run_of(model, "B300", "mxfp8", "26.06"));
    recipe.recompute = {};
    EXPECT_EQ(recipe, BridgeRecipe{.sends_tokens_once = true});
  }
  EXPECT_FALSE(bridge_recipe_of(run_of("kimi-k2", "GB200", "mxfp8", "26.06")).graphs_whole_iteration);
  EXPECT_FALSE(bridge_recipe_of(run_of("kimi-k2", "GB300", "mxfp8", "26.06")).graphs_whole_iteration);
  EXPECT_EQ(bridge_recipe_of(run_of("gpt-oss-120b", "GB300", "mxfp8", "26.04.01")), BridgeRecipe());
  EXPECT_EQ(bridge_recipe_of(run_of("gpt-oss-120b", "GB300", "bf16", "26.06")), BridgeRecipe());
  EXPECT_EQ(bridge_recipe_of(run_of("gpt-oss-120b", "B200", "mxfp8", "26.06")),
            BridgeRecipe{.sends_tokens_once = true});
  EXPECT_FALSE(bridge_recipe_of(run_of("mixtral-8x7b", "GB300", "mxfp8", "26.06")).attends_in_fp8);  // not said of it
  const BridgeRecipe fp4 = bridge_recipe_of(run_of("deepseek-v3", "GB300", "nvfp4", "26.06"));
  EXPECT_TRUE(fp4.fused_experts && fp4.graphs_whole_iteration);
  EXPECT_FALSE(fp4.overlaps_exchanges || fp4.attends_in_fp8);
}

TEST(BridgeRecipes, MultipliesTheHeadInFp8OfSomeModelsOnRacks) {
  const auto has_fp8_head = [](const char* model, const char* gpu, const char* precision, const char* release) {
    return bridge_recipe_of(run_of(model, gpu, precision, release)).fp8_head;
  };
  EXPECT_TRUE(has_fp8_head("gpt-oss-120b", "GB200", "mxfp8", "26.06"));
  EXPECT_TRUE(has_fp8_head("gpt-oss-120b", "GB300", "mxfp8", "26.08"));
  EXPECT_TRUE(has_fp8_head("deepseek-v3", "GB200", "mxfp8", "26.06"));
  EXPECT_TRUE(has_fp8_head("deepseek-v3", "GB300", "mxfp8", "26.06"));
  EXPECT_FALSE(has_fp8_head("kimi-k2", "GB300", "mxfp8", "26.06"));
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

TEST(BridgeRecipes, OverlapsExchangesOfLargeModelsInSomeReleasesOnly) {
  const auto overlaps = [](const char* model, const char* gpu, const char* release) {
    return bridge_recipe_of(run_of(model, gpu, "bf16", release)).overlaps_exchanges;
  };
  EXPECT_TRUE(overlaps("qwen3-235b-a22b", "B200", "25.11"));
  EXPECT_FALSE(overlaps("qwen3-235b-a22b", "B200", "26.02"));
  EXPECT_TRUE(overlaps("qwen3-235b-a22b", "B300", "26.02"));
  EXPECT_FALSE(overlaps("qwen3-235b-a22b", "B300", "26.02.01"));
  const BridgeRecipe late = bridge_recipe_of(run_of("qwen3-235b-a22b", "B300", "mxfp8", "26.06.01"));
  EXPECT_TRUE(late.overlaps_exchanges && late.graphs_whole_iteration && late.attends_in_fp8);
  EXPECT_TRUE(overlaps("deepseek-v3", "H100-SXM-80GB", "25.11"));
  EXPECT_FALSE(overlaps("deepseek-v3", "H100-SXM-80GB", "26.02"));
}

TEST(BridgeRecipes, RecomputesModulesOfLargeModelsByGpuAndFormat) {
  using Modules = std::set<RecomputeModule>;
  const auto modules = [](const char* model, const char* gpu, const char* precision, const char* release) {
    return bridge_recipe_of(run_of(model, gpu, precision, release)).recompute;
  };
  const Modules up{RecomputeModule::mla_up_proj}, both{RecomputeModule::mla_up_proj, RecomputeModule::mlp};
  EXPECT_EQ(modules("deepseek-v3", "GB200", "bf16", "25.11"), up);
  EXPECT_EQ(modules("deepseek-v3", "GB300", "bf16", "25.11"), Modules());
  EXPECT_EQ(modules("deepseek-v3", "GB300", "bf16", "26.02"), Modules{RecomputeModule::moe_act});
  EXPECT_EQ(modules("deepseek-v3", "GB300", "mxfp8", "26.04"), up);
  EXPECT_EQ(modules("deepseek-v3", "GB300", "mxfp8", "26.06"), Modules());
  EXPECT_EQ(modules("deepseek-v3", "GB200", "fp8", "26.06"), Modules{RecomputeModule::mlp});
  EXPECT_EQ(modules("deepseek-v3", "GB200", "mxfp8", "26.04"), Modules{RecomputeModule::mlp});
  EXPECT_EQ(modules("deepseek-v3", "GB200", "mxfp8", "26.06"), up);
  EXPECT_EQ(modules("deepseek-v3", "B200", "mxfp8", "26.04"), up);
  EXPECT_EQ(modules("deepseek-v3", "B200", "mxfp8", "26.04.01"), both);
  EXPECT_EQ(modules("deepseek-v3", "H100-SXM-80GB", "fp8_sc", "26.02"), both);
  EXPECT_EQ(modules("kimi-k2", "B300", "mxfp8", "26.04"), up);
  EXPECT_EQ(modules("kimi-k2", "GB300", "mxfp8", "26.06"), up);
  EXPECT_EQ(modules("qwen3-235b-a22b", "GB300", "bf16", "25.11"), Modules());
}

TEST(BridgeRecipes, TrainsWithoutPredictionModuleOnRacksInOneRelease) {
  const auto without = [](const char* gpu, const char* release) {
    return bridge_recipe_of(run_of("deepseek-v3", gpu, "bf16", release)).no_prediction_module;
  };
  EXPECT_TRUE(without("GB200", "25.11") && without("GB300", "25.11"));
  EXPECT_FALSE(without("GB200", "26.02") || without("B200", "25.11"));
}

TEST(BridgeRecipes, LaysOutStagesOf61Layers) {
  const PublishedRun run = run_of("deepseek-v3", "GB200", "bf16", "26.02");
  EXPECT_EQ(bridge_layout_of(run, 61, 16, 1), "Etttt|(tttt|)*14tmL");
  EXPECT_EQ(bridge_layout_of(run, 61, 8, 0), "Etttttttt|(tttttttt|)*6tttttL");
  EXPECT_EQ(bridge_layout_of(run, 61, 32, 1), "Et|(tt|)*30mL");
  EXPECT_EQ(bridge_layout_of(run, 61, 24, 1), "");  // no recipe has so many
  EXPECT_EQ(bridge_layout_of(run, 16, 16, 1), "");  // a part of the model
  EXPECT_EQ(bridge_layout_of(run_of("qwen3-235b-a22b", "GB200", "bf16", "26.02"), 94, 16, 0), "");
}

TEST(BridgeRecipes, OverlapsTensorParallelismOfLlamaButInNvfp4) {
  for (const char* model : {"llama3-8b", "llama3-70b", "llama3.1-405b"}) {
    EXPECT_EQ(bridge_recipe_of(run_of(model, "GB200", "mxfp8", "26.06")), BridgeRecipe{.overlaps_tensors = true});
    EXPECT_EQ(bridge_recipe_of(run_of(model, "GB200", "nvfp4", "26.02")).overlaps_tensors, false);
  }
  EXPECT_EQ(bridge_recipe_of(run_of("gemma", "GB200", "mxfp8", "26.06")), BridgeRecipe());
}

}  // namespace
}  // namespace orrery::costmodel
