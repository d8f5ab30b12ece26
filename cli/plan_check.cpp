// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_check.h"

#include "cli/exit_code.h"
#include "cli/fit_report.h"
#include "cli/intervals.h"
#include "cli/step_report.h"
#include "planner/nearest_legal.h"
#include "program/strategy_check.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::cli {
namespace {

/// The same rule, broken by one stage after the other, once: "stages/0/recompute" to "stages/15/recompute".
struct BrokenRule {
  Violation violation;
  std::string last_key;
};

std::vector<BrokenRule> merged(const std::vector<Violation>& broken) {
  std::vector<BrokenRule> rules;
  for (const Violation& violation : broken) {
    const auto same = std::find_if(rules.begin(), rules.end(), [&](const BrokenRule& rule) {
      return violation.key.starts_with("stages/") && rule.violation.key.starts_with("stages/") &&
             rule.violation.expected == violation.expected;
    });
    if (same == rules.end()) {
      rules.push_back({violation, violation.key});
    } else {
      same->last_key = violation.key;
    }
  }
  return rules;
}

void add_broken_rules(Report& report, const Plan& plan, const std::vector<Violation>& broken) {
  Table table{.columns = {{"key", "key"}, {"rule", "what the rule says"}, {"nearest", "nearest that obeys it"}},
              .rows = {}};
  for (const auto& [violation, last_key] : merged(broken)) {
    const std::vector<std::string> nearest = planner::nearest_legal(plan, violation);
    const std::string keys =
        last_key == violation.key ? violation.key : fmt::format("{} to {}", violation.key, last_key);
    const Value cure = !nearest.empty()                       ? Value(fmt::format("{}", fmt::join(nearest, "; ")))
                       : violation.key.starts_with("stages/") ? Value::unknown("as the rule says")
                                                              : Value::unknown("no change of two");
    table.rows.push_back({keys, violation.expected, cure});
  }
  report.table("broken", "Rules that it breaks", std::move(table));
}

Report head_of(const Plan& plan, bool legal) {
  Report report("Check");
  report.fact("model", "model", plan.model.name);
  add_workload(report, plan);
  report.fact("legal", "legal", legal);
  return report;
}

}  // namespace

int report_broken_rules(const Plan& plan, const std::vector<Violation>& broken, bool json,
                        const std::vector<std::string>& notes) {
  Report report = head_of(plan, false);
  report.fact("fits", "fits", Value::unknown("unknown: only a legal strategy can be counted"));
  add_broken_rules(report, plan, broken);
  const Strategy& s = plan.strategy;
  if (plan.num_ranks() % (s.tp * s.cp * s.pp) != 0 || plan.num_ranks() % (s.etp * s.ep * s.pp) != 0) {
    report.note("what other rules say is known once tp * cp * pp and etp * ep * pp divide the devices");
  }
  for (const std::string& note : notes) report.note(note);
  print(report, json);
  return kInfeasible;
}

int check_strategy(Plan base, const std::string& path, const std::filesystem::path& catalog, bool json) {
  auto [strategy, broken] = orrery::check_strategy(path, base.model, base.batch, base.num_ranks());
  base.strategy = std::move(strategy);
  const Plan& plan = base;
  if (!broken.empty()) return report_broken_rules(plan, broken, json);
  Report report = head_of(plan, true);
  const auto ranks = memory_of(plan);
  const auto problem = costmodel::why_it_does_not_fit(ranks, plan.cluster.groups.front().device);
  const Bytes peak = costmodel::fullest(ranks);
  add_memory(report, peak, plan.cluster.groups.front().device);
  add_memory_interval(report, plan, peak, catalog);
  report.fact("fits", "fits", !problem);
  if (problem) {
    report.note(*problem);
    add_remedies(report, plan, catalog);
  }
  print(report, json);
  return problem ? kInfeasible : kSuccess;
}

}  // namespace orrery::cli
