// SPDX-License-Identifier: Apache-2.0
#include "planner/strategy_text.h"

#include "program/names.h"

#include <set>

#include <fmt/format.h>

namespace orrery::planner {

std::string layout_text(const Strategy& strategy) {
  std::string text;
  const std::vector<StageLayout>& stages = strategy.stages;
  for (std::size_t i = 0; i < stages.size();) {
    std::size_t run = 1;
    while (i + run < stages.size() && stages[i + run].num_layers == stages[i].num_layers) ++run;
    if (!text.empty()) text += '+';
    text += run == 1 ? fmt::format("{}", stages[i].num_layers) : fmt::format("{}x{}", run, stages[i].num_layers);
    i += run;
  }
  return text;
}

std::string recompute_text(const Strategy& strategy) {
  std::set<RecomputeModule> modules;
  for (const StageLayout& stage : strategy.stages) modules.insert(stage.recompute.begin(), stage.recompute.end());
  std::string text;
  for (const RecomputeModule module : modules) {
    text += fmt::format("{}{}", text.empty() ? "" : "+", name_of(module));
  }
  return text.empty() ? "none" : text;
}

std::string schedule_text(const Strategy& strategy) {
  std::string text(name_of(strategy.schedule));
  if (strategy.schedule == Schedule::interleaved) text += fmt::format(" x{}", strategy.vpp);
  return text;
}

std::string overlap_text(const Strategy& strategy) {
  const Overlap& overlap = strategy.overlap;
  std::string text;
  const auto add = [&](bool is_on, std::string_view what) {
    if (is_on) text += fmt::format("{}{}", text.empty() ? "" : "+", what);
  };
  add(overlap.ep_batch_level, "ep");
  add(overlap.dp_buckets, "dp");
  add(overlap.tp, "tp");
  add(overlap.shared_expert, "shared");
  add(overlap.delayed_wgrad, "wgrad");
  add(strategy.offload_optimizer, "offload states");
  add(strategy.offload_activations, "offload activations");
  add(strategy.cuda_graphs, "graphs");
  return text.empty() ? "none" : text;
}

std::string zero_text(const Strategy& strategy) {
  const std::int64_t instances = strategy.num_optimizer_instances;
  return fmt::format("{}/{}{}", strategy.zero_dense, strategy.zero_expert,
                     instances > 1 ? fmt::format(" x{}", instances) : "");
}

std::string short_text(const Strategy& strategy) {
  std::string text;
  const auto add = [&](std::string_view name, std::int64_t degree) {
    if (degree > 1) text += fmt::format("{} {} ", name, degree);
  };
  add("tp", strategy.tp);
  add("cp", strategy.cp);
  text += fmt::format("pp {} ep {} ", strategy.pp, strategy.ep);
  add("etp", strategy.etp);
  text += fmt::format("zero {} micro-batch {} {}", zero_text(strategy), strategy.micro_batch, schedule_text(strategy));
  if (strategy.dispatcher != Dispatcher::all_to_all) {
    text += fmt::format(" {}", name_of(kDispatcherNames, strategy.dispatcher));
  }
  if (overlap_text(strategy) != "none") text += fmt::format(" overlap {}", overlap_text(strategy));
  text += fmt::format(" recompute {} stages {}", recompute_text(strategy), layout_text(strategy));
  return strategy.order == Strategy().order ? text : text + fmt::format(" order {}", strategy.order);
}

}  // namespace orrery::planner
