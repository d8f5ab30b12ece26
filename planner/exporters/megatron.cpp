// SPDX-License-Identifier: Apache-2.0
// Megatron-LM: a file of arguments, one a line, for `xargs -a FILE torchrun ... pretrain_gpt.py` or to paste. Comments
// say what is left out. `planner/importers/megatron_arguments.h` reads it back.
#include "planner/exporters/megatron_settings.h"
#include "planner/exporters/targets.h"

#include <fmt/format.h>

namespace orrery::planner {
namespace {

/// A value as a shell reads it.
std::string quoted(const std::string& value) { return needs_quotes(value) ? "'" + value + "'" : value; }

}  // namespace

Export write_megatron(const Plan& plan) {
  Export out;
  std::string text;
  for (const MegatronSetting& setting : megatron_settings(plan, out)) {
    if (setting.flag.empty()) continue;
    text += setting.flag;
    for (const std::string& value : setting.values) text += " " + quoted(value);
    text += "\n";
  }
  if (out.refused.empty()) out.text = text + comments(out, "# ");
  return out;
}

}  // namespace orrery::planner
