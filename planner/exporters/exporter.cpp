// SPDX-License-Identifier: Apache-2.0
#include "planner/exporters/exporter.h"

#include "planner/dimension_visit.h"
#include "planner/exporters/targets.h"
#include "program/mesh.h"
#include "program/rank_devices.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

constexpr std::array kExporters = {
    Exporter{"megatron", "Megatron-LM 0.20.0", "command line arguments", write_megatron},
    Exporter{"bridge", "Megatron-Bridge 0.7.0", "overrides of a ConfigContainer", write_bridge},
    Exporter{"deepspeed", "DeepSpeed 0.19.6", "ds_config JSON", write_deepspeed},
    Exporter{"torchtitan", "torchtitan v0.2.2", "job config TOML", write_torchtitan},
    Exporter{"torchtitan-head", "torchtitan b5bcd76 (2026-08)", "arguments of a Trainer.Config", write_torchtitan_head},
};

bool has_work(const StageLayout& stage) { return stage.num_layers + stage.num_mtp > 0; }

/// Layers that recompute, of those the stage has.
std::int64_t layers_of(const StageLayout& stage) { return stage.num_recompute_layers.value_or(stage.num_layers); }

}  // namespace

std::span<const Exporter> exporters() { return kExporters; }

const Exporter* find_exporter(std::string_view target) {
  const auto* found = std::find_if(kExporters.begin(), kExporters.end(),
                                   [&](const Exporter& exporter) { return exporter.target == target; });
  return found == kExporters.end() ? nullptr : found;
}

std::int64_t num_micro_batches(const Plan& plan) {
  return plan.batch.global_batch / (Mesh(plan.strategy, plan.num_ranks()).dp() * plan.strategy.micro_batch);
}

std::optional<std::set<RecomputeModule>> uniform_recompute(const Strategy& strategy) {
  std::optional<std::set<RecomputeModule>> modules;
  for (const StageLayout& stage : strategy.stages) {
    if (!has_work(stage)) continue;
    if (layers_of(stage) != stage.num_layers) return std::nullopt;
    if (!modules) modules = stage.recompute;
    if (*modules != stage.recompute) return std::nullopt;
  }
  return modules;
}

std::optional<std::int64_t> uniform_full_layers(const Strategy& strategy) {
  std::int64_t most = 0;
  for (const StageLayout& stage : strategy.stages) {
    if (!has_work(stage)) continue;
    if (stage.recompute != std::set{RecomputeModule::full}) return std::nullopt;
    most = std::max(most, layers_of(stage));
  }
  for (const StageLayout& stage : strategy.stages) {
    if (has_work(stage) && layers_of(stage) != std::min(most, stage.num_layers)) return std::nullopt;
  }
  return most;
}

bool recomputes_fully(const Strategy& strategy) {
  return uniform_recompute(strategy) == std::set{RecomputeModule::full};
}

std::string same_recompute_condition(const Strategy& strategy) {
  std::set<RecomputeModule> all;
  for (const StageLayout& stage : strategy.stages) all.insert(stage.recompute.begin(), stage.recompute.end());
  if (all.contains(RecomputeModule::full)) all = {RecomputeModule::full};
  if (all.contains(RecomputeModule::moe)) {
    all.erase(RecomputeModule::moe_act);
    all.erase(RecomputeModule::shared_experts);
  }
  return "recompute=" + modules_text(all);
}

std::string default_order_condition() { return "order=" + Strategy().order; }

bool same_sharding(const Plan& plan) {
  const Strategy& s = plan.strategy;
  if (!plan.model.moe || s.zero_dense == s.zero_expert) return true;
  const Mesh mesh(s, plan.num_ranks());
  return mesh.size(Group::edp) == 1 || mesh.size(Group::dp) == 1;
}

int zero_of(const Plan& plan) {
  const Strategy& s = plan.strategy;
  return plan.model.moe ? std::max(s.zero_dense, s.zero_expert) : s.zero_dense;
}

void check_same_sharding(const Plan& plan, Export& out) {
  const Strategy& s = plan.strategy;
  if (!same_sharding(plan)) {
    out.refuse("zero_expert",
               fmt::format("it shards states of dense parameters and of experts alike, not {} and {}", s.zero_dense,
                           s.zero_expert),
               {fmt::format("zero_dense={}", zero_of(plan)), fmt::format("zero_expert={}", zero_of(plan))});
  } else if (plan.model.moe && s.zero_dense != s.zero_expert) {
    const char* key = s.zero_dense < s.zero_expert ? "zero_dense" : "zero_expert";
    out.list(key, fmt::format("written as {}, like the other: no two ranks share these parameters", zero_of(plan)));
  }
}

void list_unused_fp8_recipe(const Plan& plan, Export& out) {
  const Strategy& s = plan.strategy;
  if (s.precision == DType::fp8 || s.fp8_recipe == Strategy().fp8_recipe) return;
  out.list("fp8_recipe", "left out: nothing is in fp8");
}

void list_placement(const Plan& plan, Export& out) {
  if (plan.device_of_rank.empty() || !is_rank_order(plan.strategy.order)) return;
  // A trainer counts its ranks in the order of the strategy, as devices of a launcher are counted.
  const RankDevices in_order(plan.strategy, plan.num_ranks());
  for (std::int32_t rank = 0; rank < plan.num_ranks(); ++rank) {
    const DeviceIndex device = plan.device_of(RankId(rank)), counted = in_order.of(RankId(rank));
    if (device == counted) continue;
    out.list("placement", fmt::format("rank {} is on device {}: only the launcher's list of hosts can say so",
                                      counted.value(), device.value()));
    return;
  }
}

bool needs_quotes(std::string_view value) { return value.find_first_of("|*(), ") != std::string_view::npos; }

std::string comments(const Export& out, std::string_view prefix) {
  std::string text;
  for (const ExportNote& note : out.listed) text += fmt::format("{}{}: {}\n", prefix, note.key, note.text);
  return text.empty() ? text : fmt::format("{}not expressed:\n{}", prefix, text);
}

}  // namespace orrery::planner
