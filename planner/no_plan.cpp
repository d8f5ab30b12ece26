// SPDX-License-Identifier: Apache-2.0
#include "planner/no_plan.h"

#include "base/check.h"
#include "base/units_format.h"
#include "planner/strategy_text.h"
#include "program/legality.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include <fmt/format.h>

namespace orrery::planner {

Infeasible nothing_is_legal(const Domains& d, const SearchProblem& problem) {
  struct Rule {
    std::int64_t num_broken = 0;
    Violation example;
  };
  std::map<std::string, Rule> rules;
  std::int64_t num_candidates = 0;
  Strategy s = d.base;
  const auto count = [&] {
    ++num_candidates;
    s.sp = s.tp > 1;
    s.stages = stages_of_layout(problem.model, d.layouts.front(), s);
    std::set<std::string> broken;  // two rules may blame one key
    for (Violation& violation : violations(problem.model, s, problem.batch, problem.num_ranks())) {
      if (!broken.insert(violation.key).second) continue;
      Rule& rule = rules[violation.key];
      if (rule.num_broken++ == 0) rule.example = std::move(violation);
    }
  };
  for (const std::int64_t tp : d.tp) {
    for (const std::int64_t cp : d.cp) {
      for (const std::int64_t pp : d.pp) {
        for (const std::int64_t ep : d.ep) {
          for (const std::int64_t etp : d.etp) {
            for (const std::int64_t micro_batch : d.micro_batch) {
              s.tp = tp;
              s.cp = cp;
              s.pp = pp;
              s.ep = ep;
              s.etp = etp;
              s.micro_batch = micro_batch;
              count();
            }
          }
        }
      }
    }
  }
  CHECK(!rules.empty(), num_candidates);
  const auto most = std::max_element(rules.begin(), rules.end(), [](const auto& a, const auto& b) {
    return a.second.num_broken < b.second.num_broken;
  });
  const auto& [key, rule] = *most;
  return {.reason = fmt::format("no strategy is legal: of {} ways to choose tp, cp, pp, ep, etp and micro_batch, {} "
                                "break a rule about {}, for example: {}",
                                num_candidates, rule.num_broken, key, rule.example.expected),
          .hint = rule.example.hint,
          .saw_everything = true};
}

Infeasible nothing_fits(const Strategy& smallest, Bytes memory, const SearchProblem& problem, Bytes limit,
                        bool everything) {
  const Device& device = problem.cluster.groups.front().device;
  const bool is_less = device.memory && limit < *device.memory;
  return {.reason = fmt::format(
              "nothing fits{}: the smallest that was tried ({}) needs at least {} on its fullest rank, {} {} {}",
              everything ? "" : " of what was tried, which is not all", short_text(smallest), memory, device.name,
              is_less ? "may hold" : "has", limit),
          .hint = everything ? "use more devices, devices with more memory, or a shorter sequence"
                             : "search on with --time-budget, or use more devices or devices with more memory",
          .saw_everything = everything};
}

}  // namespace orrery::planner
