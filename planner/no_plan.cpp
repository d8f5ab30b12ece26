// SPDX-License-Identifier: Apache-2.0
#include "planner/no_plan.h"

#include "base/check.h"
#include "base/units_format.h"
#include "planner/strategy_text.h"
#include "program/legality.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

namespace orrery::planner {

Infeasible nothing_is_legal(const SearchSpace& space, const SearchProblem& problem) {
  struct Rule {
    std::int64_t num_broken = 0;
    Violation example;
  };
  std::map<std::string, Rule> rules;
  std::int64_t num_candidates = 0;
  for (std::int64_t index = 0; index < space.size(); ++index) {
    const std::optional<Strategy> strategy = space.at(index);
    if (!strategy) continue;
    ++num_candidates;
    for (Violation& violation : violations(problem.model, *strategy, problem.batch, problem.cluster.num_devices())) {
      Rule& rule = rules[violation.key];
      if (rule.num_broken++ == 0) rule.example = std::move(violation);
    }
  }
  CHECK(!rules.empty(), space.size());
  const auto most = std::max_element(rules.begin(), rules.end(), [](const auto& a, const auto& b) {
    return a.second.num_broken < b.second.num_broken;
  });
  const auto& [key, rule] = *most;
  return {.reason = fmt::format("none of {} strategies is legal; {} of them break a rule about {}, for example: {}",
                                num_candidates, rule.num_broken, key, rule.example.expected),
          .hint = rule.example.hint};
}

Infeasible nothing_fits(const Strategy& smallest, Bytes memory, const SearchProblem& problem) {
  const Device& device = problem.cluster.groups.front().device;
  CHECK(device.memory.has_value(), device.name);
  return {.reason = fmt::format("no strategy fits: the smallest ({}) needs {} on its fullest rank, {} has {}",
                                short_text(smallest), memory, device.name, *device.memory),
          .hint = "use more devices, devices with more memory, or a shorter sequence"};
}

}  // namespace orrery::planner
