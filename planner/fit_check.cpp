// SPDX-License-Identifier: Apache-2.0
#include "planner/fit_check.h"

#include "costmodel/memory.h"
#include "program/legality.h"
#include "program/mesh.h"

#include <optional>
#include <vector>

#include <fmt/format.h>

namespace orrery::planner {

FitCheck FitChecker::check(const Strategy& strategy, const BatchShape& batch, std::int64_t num_devices) const {
  const std::vector<Violation> broken = violations(model_, strategy, batch, num_devices);
  FitCheck out;
  if (!broken.empty()) {
    out.why = fmt::format("{}: {}", broken.front().key, broken.front().expected);
    return out;
  }
  out.legal = true;
  auto parameters = costmodel::MemoryModel::of(device_, framework_);
  parameters.rho = fullest_share_.of(strategy);
  const auto ranks = costmodel::memory_per_stage(model_, strategy, batch, Mesh(strategy, num_devices), parameters);
  out.memory = costmodel::fullest(ranks);
  const std::optional<std::string> problem = costmodel::why_it_does_not_fit(ranks, device_);
  out.fits = !problem;
  out.why = problem.value_or("");
  return out;
}

}  // namespace orrery::planner
