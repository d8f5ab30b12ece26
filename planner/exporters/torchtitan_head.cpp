// SPDX-License-Identifier: Apache-2.0
// torchtitan's development head, where a job is a Python function that returns a Trainer.Config: the arguments of that
// call which a plan decides. Model, data and learning rate are the function's own.
#include "planner/exporters/targets.h"
#include "planner/exporters/torchtitan_settings.h"

#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

constexpr std::pair<std::string_view, std::string_view> kClasses[] = {{"training", "TrainingConfig"},
                                                                      {"parallelism", "ParallelismConfig"}};

/// A value of TOML in Python.
std::string python(const std::string& value) {
  if (value == "true") return "True";
  if (value == "false") return "False";
  std::string text;
  for (const char c : value) text += c == '\n' ? std::string("\n    ") : std::string(1, c);
  return text;
}

}  // namespace

Export write_torchtitan_head(const Plan& plan) {
  Export out;
  const std::vector<TorchtitanSetting> settings = torchtitan_settings(plan, TorchtitanVersion::head, out);
  std::string text = "Trainer.Config(\n";
  for (const auto& [section, name] : kClasses) {
    text += fmt::format("  {}={}(\n", section, name);
    for (const TorchtitanSetting& setting : settings) {
      if (setting.section == section) text += fmt::format("    {}={},\n", setting.key, python(setting.value));
    }
    text += "  ),\n";
  }
  const bool full = uniform_recompute(plan.strategy) == std::set{RecomputeModule::full};
  text += fmt::format("  activation_checkpoint={},\n", full ? "FullAC.Config()" : "None");
  if (plan.strategy.overlap.tp) {
    text += "  compile=CompileConfig(enable=True, enable_async_tensor_parallel=True),\n";
  }
  text += ")\n";
  if (out.refused.empty()) out.text = text + comments(out, "# ");
  return out;
}

}  // namespace orrery::planner
