// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/bridge_recipes.h"

#include "base/lower_case.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <regex>
#include <string_view>

namespace orrery::costmodel {
namespace {

enum class Format { any, mx, nvfp4 };

/// One line of the recipes: of releases from `since` on and before `until`, on these GPUs.
struct Line {
  std::string_view model;                        // its beginning
  std::initializer_list<std::string_view> gpus;  // beginnings of names in runs/1
  Format format;
  int since;
  BridgeRecipe recipe;
  int until = std::numeric_limits<int>::max();
};

constexpr BridgeRecipe kOnce{.sends_tokens_once = true};
constexpr BridgeRecipe kOverlapped{.overlaps_exchanges = true};
constexpr BridgeRecipe kWholeMx{
    .sends_tokens_once = true, .overlaps_exchanges = true, .fused_experts = true, .graphs_whole_iteration = true};
constexpr BridgeRecipe kWholeFp4{.sends_tokens_once = true, .fused_experts = true, .graphs_whole_iteration = true};
constexpr BridgeRecipe kFp8Attention{.attends_in_fp8 = true};
constexpr BridgeRecipe kFp8Head{.fp8_head = true};

// Source: NVIDIA-NeMo/Megatron-Bridge,
// scripts/performance/configs/{qwen,gpt_oss,deepseek,kimi}/*_workload_base_configs.py (moe_flex_dispatcher_backend,
// moe_a2a_overlap, fp8_dot_product_attention), *_llm_pretrain.py (fp8_output_proj) and
// src/megatron/bridge/perf_recipes/*/common.py (the settings of whole iterations in MX formats: HybridEP,
// overlap_moe_expert_parallel_comm, delay_wgrad_compute, use_transformer_engine_op_fuser), read in versions of 2026;
// releases by the plans that their tables show, by the release notes of 0.5.1 and by the dates of pull requests 2906,
// 2915, 3561, 4249 and 4606. docs/design/bridge-recipes.md has them one by one.
const Line kLines[] = {
    {"qwen3-30b-a3b", {"GB", "B300"}, Format::any, 260200, kOnce},
    {"qwen3-30b-a3b", {"B200"}, Format::any, 260201, kOnce},
    {"qwen3-30b-a3b", {"H100"}, Format::any, 260400, kOnce},
    {"qwen3-235b-a22b", {"GB"}, Format::any, 260200, kOnce},
    {"qwen3-235b-a22b", {"B300"}, Format::any, 260600, kOnce},
    {"qwen3-235b-a22b", {"H100"}, Format::any, 260200, kOverlapped},
    {"gpt-oss-120b", {"B200", "B300"}, Format::any, 260201, kOnce},
    {"gpt-oss-120b", {"GB200"}, Format::any, 260400, kOnce, 260401},
    {"gpt-oss-120b", {"GB200"}, Format::any, 260400, kOverlapped},
    {"deepseek-v3", {""}, Format::any, 251100, kOnce},
    {"kimi-k2", {"GB"}, Format::any, 260200, kOnce},
    {"", {"GB"}, Format::mx, 260600, kWholeMx},
    {"qwen3-30b-a3b", {"B300"}, Format::mx, 260600, kWholeMx},
    {"", {"GB"}, Format::nvfp4, 260600, kWholeFp4},
    {"qwen3", {"GB"}, Format::mx, 260600, kFp8Attention},
    {"qwen3-30b-a3b", {"B300"}, Format::mx, 260600, kFp8Attention},
    {"gpt-oss-120b", {"GB"}, Format::mx, 260600, kFp8Attention},
    {"gpt-oss-120b", {"GB"}, Format::mx, 260600, kFp8Head},
    {"deepseek-v3", {"GB200"}, Format::mx, 260600, kFp8Head},
};

Format format_of(const std::string& precision) {
  const std::string words = lower_case(precision);
  const auto has = [&](std::string_view word) { return words.find(word) != std::string::npos; };
  return has("fp4") ? Format::nvfp4 : has("mx") ? Format::mx : Format::any;
}

}  // namespace

int bridge_release_of(const std::string& software) {
  std::smatch found;
  if (!std::regex_search(software, found, std::regex(R"((\d\d)\.(\d\d)(\.(\d\d))?)"))) return 0;
  const int patch = found[4].matched ? std::stoi(found[4]) : 0;
  return 10000 * std::stoi(found[1]) + 100 * std::stoi(found[2]) + patch;
}

BridgeRecipe bridge_recipe_of(const PublishedRun& run) {
  BridgeRecipe all;
  if (!run.is_moe) return all;
  const int release = bridge_release_of(run.software);
  const Format format = format_of(run.precision);
  for (const Line& line : kLines) {
    const bool is_of_gpu =
        std::any_of(line.gpus.begin(), line.gpus.end(), [&](std::string_view gpu) { return run.gpu.starts_with(gpu); });
    const bool applies = is_of_gpu && run.model.starts_with(line.model) && release >= line.since &&
                         release < line.until && (line.format == Format::any || line.format == format);
    if (!applies) continue;
    all.sends_tokens_once |= line.recipe.sends_tokens_once;
    all.overlaps_exchanges |= line.recipe.overlaps_exchanges;
    all.fused_experts |= line.recipe.fused_experts;
    all.graphs_whole_iteration |= line.recipe.graphs_whole_iteration;
    all.attends_in_fp8 |= line.recipe.attends_in_fp8;
    all.fp8_head |= line.recipe.fp8_head;
  }
  return all;
}

}  // namespace orrery::costmodel
