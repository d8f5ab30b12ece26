// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_front.h"

#include "base/errors.h"
#include "cli/exit_code.h"
#include "cli/intervals.h"
#include "cli/step_report.h"
#include "costmodel/power.h"
#include "planner/pareto.h"
#include "planner/strategy_text.h"
#include "program/mesh.h"

#include <utility>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

using planner::Objective;

/// What an objective is about on given devices: price is time, and carbon is energy.
Objective kind_of(Objective objective) {
  if (objective == Objective::cost) return Objective::time;
  return objective == Objective::carbon ? Objective::energy : objective;
}

std::pair<Objective, Objective> two_of(const std::string& text) {
  const std::size_t comma = text.find(',');
  if (comma == std::string::npos) {
    throw ConfigError(fmt::format("--pareto: expected two objectives, such as \"time,memory\", got \"{}\"", text));
  }
  const Objective first = planner::objective_of(text.substr(0, comma), "--pareto");
  const Objective second = planner::objective_of(text.substr(comma + 1), "--pareto");
  if (kind_of(first) == kind_of(second)) {
    throw ConfigError(
        fmt::format("--pareto: expected two objectives that differ: on given devices {} and {} have the "
                    "same plans",
                    name_of(first), name_of(second)));
  }
  return {first, second};
}

Table table_of(const Plan& base, const planner::Front& front, const std::optional<costmodel::PowerModel>& power,
               const Intervals& intervals) {
  Table table;
  std::vector<std::optional<Interval80<Seconds>>> steps;
  std::vector<std::optional<Interval80<Bytes>>> memories;
  table.columns = {{"rank", "#"},
                   {"step_time", "step"},
                   {"energy", "energy"},
                   {"cost", "USD"},
                   {"kg_co2e", "kg CO2e"},
                   {"peak_memory", "memory"},
                   {"tp", "tp"},
                   {"cp", "cp"},
                   {"pp", "pp"},
                   {"ep", "ep"},
                   {"etp", "etp"},
                   {"dp", "dp"},
                   {"zero", "zero"},
                   {"micro_batch", "mb"},
                   {"schedule", "schedule"},
                   {"overlap", "overlap"},
                   {"recompute", "recompute"},
                   {"layout", "layers"},
                   {"gap", "gap"}};
  const auto or_unknown = [](const auto& x) { return x ? Value(*x) : Value::unknown("-"); };
  for (std::size_t i = 0; i < front.points.size(); ++i) {
    const planner::RankedPlan& plan = front.points[i].plan;
    const Strategy& s = plan.strategy;
    const Seconds step = plan.predictions.back().step_time;
    const auto known = plan.active.compute() > Seconds() ? power : std::nullopt;
    const auto cost = costmodel::cost_of_step(base.cluster, known, step, plan.active, base.num_ranks());
    const Value energy = cost.energy ? Value(cost.energy->all()) : Value::unknown("-");
    const std::optional<double> gap = front.points[i].certificate.gap;
    table.rows.push_back({i + 1, step, energy, or_unknown(cost.usd), or_unknown(cost.kg_co2e),
                          plan.predictions.back().peak_memory, s.tp, s.cp, s.pp, s.ep, s.etp,
                          Mesh(s, base.num_ranks()).dp(), planner::zero_text(s), s.micro_batch,
                          planner::schedule_text(s), planner::overlap_text(s), planner::recompute_text(s),
                          planner::layout_text(s), gap ? Value::percent(*gap) : Value::unknown("-")});
    steps.push_back(intervals.of_step(step, plan.extrapolated));
    memories.push_back(intervals.of_memory(plan.predictions.back().peak_memory, s));
  }
  add_interval_columns(table, "step_time", steps);
  add_interval_columns(table, "peak_memory", memories);
  return table;
}

}  // namespace

int print_front(const Plan& base, const Loaded<costmodel::Calibration>& calibration, const SearchWishes& wishes,
                const std::string& objectives, std::int64_t most, const std::filesystem::path& catalog, bool json) {
  const auto [first, second] = two_of(objectives);
  for (const Objective objective : {first, second}) require_known(base, objective);
  const auto power = costmodel::power_of(base.cluster.groups.front().device, calibration.value);
  const Searcher searcher(base, calibration, wishes);
  const planner::SearchWith search = [&](std::optional<Bytes> limit, const planner::StepWeights& weights) {
    return searcher.search(limit, weights);
  };
  const bool has_memory = first == Objective::memory || second == Objective::memory;
  const bool takes_second = has_memory ? first == Objective::memory : kind_of(first) == Objective::time;
  const planner::StepWeights weights = planner::weights_of(takes_second ? second : first, power);
  const auto outcome = has_memory ? planner::memory_front(search, weights, wishes.memory_limit, most)
                                  : planner::time_front(search, weights, wishes.memory_limit, most);
  if (const auto* infeasible = std::get_if<planner::Infeasible>(&outcome)) {
    return report_infeasible(searcher.blame_wishes(*infeasible), json);
  }
  const auto& front = std::get<planner::Front>(outcome);
  Report report("Front");
  report.fact("model", "model", base.model.name);
  add_workload(report, base);
  report.fact("objectives", "least", objectives).fact("claim", "what was searched", front.claim);
  const Intervals intervals(base, calibration.value, catalog);
  report.table("points", "Plans that no other beats in both", table_of(base, front, power, intervals));
  if (!front.points.empty()) intervals.note(report, front.points.front().plan.extrapolated);
  std::string gap = "gap: by how much the search that found a plan may be above the least of what it made least";
  if (has_memory) gap += ", within its limit; that none found less memory than that of the last plan is no proof";
  report.note(gap);
  add_model_notes(report, base.model, base.strategy.mtp);
  print(report, json);
  return kSuccess;
}

}  // namespace orrery::cli
