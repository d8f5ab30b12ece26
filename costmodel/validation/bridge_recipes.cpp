// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/bridge_recipes.h"

#include "base/lower_case.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <regex>
#include <string_view>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

enum class Format { any, bf16, fp8, mx, nvfp4 };

/// One line of the recipes: of releases from `since` on and before `until`, on these GPUs.
struct Line {
  std::string_view model;                        // its beginning
  std::initializer_list<std::string_view> gpus;  // beginnings of names in runs/1
  Format format;
  int since;
  BridgeRecipe recipe;
  int until = std::numeric_limits<int>::max();
};

using R = RecomputeModule;
const BridgeRecipe kOnce{.sends_tokens_once = true};
const BridgeRecipe kOverlapped{.overlaps_exchanges = true};
const BridgeRecipe kWholeMx{
    .sends_tokens_once = true, .overlaps_exchanges = true, .fused_experts = true, .graphs_whole_iteration = true};
const BridgeRecipe kWholeFp4{.sends_tokens_once = true, .fused_experts = true, .graphs_whole_iteration = true};
const BridgeRecipe kFp8Attention{.attends_in_fp8 = true};
const BridgeRecipe kFp8Head{.fp8_head = true};
const BridgeRecipe kTensors{.overlaps_tensors = true};
const BridgeRecipe kWithoutMtp{.no_prediction_module = true};
const BridgeRecipe kUpProjection{.recompute = {R::mla_up_proj}};
const BridgeRecipe kDense{.recompute = {R::mlp}};
const BridgeRecipe kActivation{.recompute = {R::moe_act}};

// Source: NVIDIA-NeMo/Megatron-Bridge,
// scripts/performance/configs/{qwen,qwen3,gpt_oss,deepseek,kimi,llama}/*workload_base_configs.py
// (moe_flex_dispatcher_backend, moe_a2a_overlap, fp8_dot_product_attention, recompute_modules), *_llm_pretrain.py
// (fp8_output_proj) and src/megatron/bridge/perf_recipes/** (the settings of whole iterations in MX formats: HybridEP,
// overlap_moe_expert_parallel_comm, delay_wgrad_compute, use_transformer_engine_op_fuser), llama3_llm_pretrain.py,
// llama31_llm_pretrain.py and src/megatron/bridge/training/comm_overlap.py (tp_comm_overlap), read in versions of 2025
// and 2026; releases by the plans that their tables show, by the release notes of 0.5.1 and by the dates of pull
// requests 2906, 2915, 3031, 3368, 3490, 3561, 4249 and 4606. docs/design/bridge-recipes.md has them one by one.
const Line kLines[] = {
    {"llama3", {""}, Format::bf16, 250900, kTensors},
    {"llama3", {""}, Format::fp8, 250900, kTensors},
    {"llama3", {""}, Format::mx, 250900, kTensors},
    {"qwen3-30b-a3b", {"GB", "B300"}, Format::any, 260200, kOnce},
    {"qwen3-30b-a3b", {"B200"}, Format::any, 260201, kOnce},
    {"qwen3-30b-a3b", {"H100"}, Format::any, 260400, kOnce},
    {"qwen3-235b-a22b", {"GB"}, Format::any, 251100, kOnce},
    {"qwen3-235b-a22b", {"B300"}, Format::any, 260401, kOnce},
    {"qwen3-235b-a22b", {"B200"}, Format::any, 251100, kOverlapped, 260200},
    {"qwen3-235b-a22b", {"B300"}, Format::any, 260200, kOverlapped, 260201},
    {"qwen3-235b-a22b", {"H100"}, Format::any, 251100, kOverlapped},
    {"gpt-oss-120b", {"B200", "B300"}, Format::any, 260201, kOnce},
    {"gpt-oss-120b", {"GB200"}, Format::any, 260400, kOnce, 260401},
    {"gpt-oss-120b", {"GB200"}, Format::any, 260400, kOverlapped},
    {"deepseek-v3", {"GB"}, Format::any, 251100, kOnce},
    {"deepseek-v3", {"B200", "B300"}, Format::any, 260200, kOnce},
    {"deepseek-v3", {"H100"}, Format::any, 250900, kOnce},
    {"deepseek-v3", {"H100"}, Format::any, 250900, kOverlapped, 260200},
    {"deepseek-v3", {"GB"}, Format::any, 251100, kWithoutMtp, 260200},
    {"deepseek-v3", {"B200"}, Format::mx, 260401, kOverlapped, 260600},
    {"deepseek-v3", {"B200"}, Format::any, 250900, kUpProjection},
    {"deepseek-v3", {"B200"}, Format::mx, 260401, kDense, 260600},
    {"deepseek-v3", {"GB200"}, Format::any, 250900, kUpProjection, 260400},
    {"deepseek-v3", {"GB200"}, Format::bf16, 260400, kUpProjection},
    {"deepseek-v3", {"GB200"}, Format::fp8, 260400, kDense},
    {"deepseek-v3", {"GB200"}, Format::mx, 260400, kDense, 260600},
    {"deepseek-v3", {"GB200"}, Format::mx, 260600, kUpProjection},
    {"deepseek-v3", {"GB200"}, Format::nvfp4, 260400, kDense},
    {"deepseek-v3", {"B300"}, Format::any, 260200, kUpProjection},
    {"deepseek-v3", {"GB300"}, Format::bf16, 260200, kActivation},
    {"deepseek-v3", {"GB300"}, Format::fp8, 260200, kUpProjection},
    {"deepseek-v3", {"GB300"}, Format::mx, 260200, kUpProjection, 260600},
    {"deepseek-v3", {"GB300"}, Format::nvfp4, 260200, kUpProjection, 260600},
    {"deepseek-v3", {"H100"}, Format::any, 250900, kUpProjection},
    {"deepseek-v3", {"H100"}, Format::any, 250900, kDense},
    {"kimi-k2", {"GB"}, Format::any, 260200, kOnce},
    {"kimi-k2", {""}, Format::any, 260200, kUpProjection},
    {"kimi-k2", {"H100"}, Format::any, 260200, kDense},
    {"qwen3", {"GB"}, Format::mx, 260600, kWholeMx},
    {"gpt-oss-120b", {"GB"}, Format::mx, 260600, kWholeMx},
    {"deepseek-v3", {"GB"}, Format::mx, 260600, kWholeMx},
    {"qwen3-30b-a3b", {"B300"}, Format::mx, 260600, kWholeMx},
    {"qwen3-235b-a22b", {"B200", "B300"}, Format::mx, 260601, kWholeMx},
    {"", {"GB"}, Format::nvfp4, 260600, kWholeFp4},
    {"qwen3", {"GB"}, Format::mx, 260600, kFp8Attention},
    {"qwen3-30b-a3b", {"B300"}, Format::mx, 260600, kFp8Attention},
    {"qwen3-235b-a22b", {"B200", "B300"}, Format::mx, 260601, kFp8Attention},
    {"gpt-oss-120b", {"GB"}, Format::mx, 260600, kFp8Attention},
    {"deepseek-v3", {"GB300"}, Format::mx, 260600, kFp8Attention},
    {"gpt-oss-120b", {"GB"}, Format::mx, 260600, kFp8Head},
    {"deepseek-v3", {"GB"}, Format::mx, 260600, kFp8Head},
    {"kimi-k2", {"GB200"}, Format::mx, 260600, kFp8Head},
};

/// Layers of the first stage, of each one between, and of the last, which has prediction modules and the head, too.
/// Source: the same repository, src/megatron/bridge/recipes/deepseek/deepseek_v3.py@05d003fb
/// (set_deepseek_v3_pipeline_model_parallel_layout), which has them by (pp, vpp), alike where pp * vpp are; 32 stages:
/// scripts/performance/configs/deepseek/deepseek_llm_pretrain.py@69655bff, kimi/kimi_llm_pretrain.py@013180a7.
struct Layout {
  std::int64_t num_stages, first, between, last;
};
constexpr std::int64_t kLayersOfLayouts = 61;
constexpr Layout kLayouts[] = {{4, 16, 16, 13}, {8, 8, 8, 5}, {16, 4, 4, 1}, {32, 1, 2, 0}};

Format format_of(const std::string& precision) {
  const std::string words = lower_case(precision);
  const auto has = [&](std::string_view word) { return words.find(word) != std::string::npos; };
  return has("fp4") ? Format::nvfp4 : has("mx") ? Format::mx : has("fp8") ? Format::fp8 : Format::bf16;
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
    all.overlaps_tensors |= line.recipe.overlaps_tensors;
    all.fused_experts |= line.recipe.fused_experts;
    all.graphs_whole_iteration |= line.recipe.graphs_whole_iteration;
    all.attends_in_fp8 |= line.recipe.attends_in_fp8;
    all.fp8_head |= line.recipe.fp8_head;
    all.no_prediction_module |= line.recipe.no_prediction_module;
    all.recompute.insert(line.recipe.recompute.begin(), line.recipe.recompute.end());
  }
  return all;
}

std::string bridge_layout_of(const PublishedRun& run, std::int64_t num_layers, std::int64_t num_stages,
                             std::int64_t num_mtp) {
  const bool has_layouts = run.model.starts_with("deepseek-v3") || run.model.starts_with("kimi-k2");
  if (!has_layouts || num_layers != kLayersOfLayouts) return "";
  const auto found = std::find_if(std::begin(kLayouts), std::end(kLayouts),
                                  [&](const Layout& layout) { return layout.num_stages == num_stages; });
  if (found == std::end(kLayouts)) return "";
  const auto symbols = [](std::int64_t count, char symbol) {
    return std::string(static_cast<std::size_t>(count), symbol);
  };
  return fmt::format("E{}|({}|)*{}{}{}L", symbols(found->first, 't'), symbols(found->between, 't'), num_stages - 2,
                     symbols(found->last, 't'), symbols(num_mtp, 'm'));
}

}  // namespace orrery::costmodel
