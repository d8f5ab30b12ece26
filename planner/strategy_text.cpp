// SPDX-License-Identifier: Apache-2.0
#include "planner/strategy_text.h"

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

std::string short_text(const Strategy& strategy) {
  return fmt::format("pp {} ep {} zero {}/{} micro-batch {} {} recompute {} stages {}", strategy.pp, strategy.ep,
                     strategy.zero_dense, strategy.zero_expert, strategy.micro_batch, name_of(strategy.schedule),
                     recompute_text(strategy), layout_text(strategy));
}

}  // namespace orrery::planner
