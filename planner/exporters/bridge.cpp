// SPDX-License-Identifier: Apache-2.0
// Megatron-Bridge: overrides of a recipe's ConfigContainer, one a line, as its scripts take them on the command line.
#include "planner/exporters/megatron_settings.h"
#include "planner/exporters/targets.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::planner {
namespace {

/// A value in the grammar of overrides: lists in brackets, text with signs in quotes.
std::string value_of(const MegatronSetting& setting) {
  const std::vector<std::string>& values = setting.values;
  if (values.empty()) return "true";
  const bool is_list = setting.flag.ends_with("-modules");
  if (is_list) return fmt::format("[{}]", fmt::join(values, ","));
  return needs_quotes(values[0]) ? "\"" + values[0] + "\"" : values[0];
}

}  // namespace

Export write_bridge(const Plan& plan) {
  Export out;
  std::string text;
  for (const MegatronSetting& setting : megatron_settings(plan, out)) {
    for (const std::string& key : setting.bridge) {
      text += key.find('=') != std::string::npos ? key : key + "=" + value_of(setting);
      text += "\n";
    }
  }
  if (out.refused.empty()) out.text = text + comments(out, "# ");
  return out;
}

}  // namespace orrery::planner
