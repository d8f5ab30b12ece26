// SPDX-License-Identifier: Apache-2.0
// torchtitan v0.2: the TOML of a job.
#include "planner/exporters/targets.h"
#include "planner/exporters/torchtitan_settings.h"

#include <fmt/format.h>

namespace orrery::planner {

Export write_torchtitan(const Plan& plan) {
  Export out;
  std::string text, section;
  for (const TorchtitanSetting& setting : torchtitan_settings(plan, TorchtitanVersion::v0_2, out)) {
    if (setting.section != section) text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", setting.section);
    section = setting.section;
    text += fmt::format("{} = {}\n", setting.key, setting.value);
  }
  if (out.refused.empty()) out.text = text + comments(out, "# ");
  return out;
}

}  // namespace orrery::planner
