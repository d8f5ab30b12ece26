// SPDX-License-Identifier: Apache-2.0
#include "planner/even_layout.h"

#include <set>
#include <utility>

namespace orrery::planner {

void lay_evenly(Strategy& s, const Model& model) {
  const std::set<RecomputeModule> modules = s.stages.back().recompute;
  s.stages = even_stages(model.num_layers(), s.num_stages());
  for (StageLayout& stage : s.stages) stage.recompute = modules;
  if (s.mtp == Mtp::on) s.stages = with_mtp(std::move(s.stages), model.num_mtp_modules);
}

}  // namespace orrery::planner
