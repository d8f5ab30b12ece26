// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_search.h"

#include "base/errors.h"
#include "base/units_format.h"
#include "cli/exit_code.h"
#include "cli/intervals.h"
#include "cli/placement_report.h"
#include "cli/prediction.h"
#include "cli/progress.h"
#include "cli/step_report.h"
#include "costmodel/analytic_interpreter.h"
#include "costmodel/power.h"
#include "planner/conditions.h"
#include "planner/demands.h"
#include "planner/disagreement.h"
#include "planner/pareto.h"
#include "planner/strategy_text.h"
#include "program/lower.h"
#include "program/mesh.h"
#include "sim/worker_interpreter.h"
#include "traces/activities.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

/// The step time that a tier predicted, or a dash.
Value time_of(const planner::RankedPlan& plan, std::string_view tier) {
  const auto found = std::find_if(plan.predictions.begin(), plan.predictions.end(),
                                  [&](const Prediction& prediction) { return prediction.tier == tier; });
  return found == plan.predictions.end() ? Value::unknown("-") : Value(found->step_time);
}

/// With the intervals of what the last tier says, for machines.
Table table_of(const planner::SearchResult& result, std::int64_t num_devices, std::int64_t num_rows,
               const Intervals& intervals) {
  Table table;
  std::vector<std::optional<Interval80<Seconds>>> steps;
  std::vector<std::optional<Interval80<Bytes>>> memories;
  table.columns = {{"rank", "#"},          {"tp", "tp"},
                   {"cp", "cp"},           {"pp", "pp"},
                   {"ep", "ep"},           {"etp", "etp"},
                   {"dp", "dp"},           {"zero", "zero"},
                   {"micro_batch", "mb"},  {"schedule", "schedule"},
                   {"overlap", "overlap"}, {"recompute", "recompute"},
                   {"layout", "layers"},   {"peak_memory", "memory"},
                   {"closed", "closed"},   {"analytic", "analytic"},
                   {"simgrid", "simgrid"}};
  const auto shown = std::min(result.ranked.size(), static_cast<std::size_t>(num_rows));
  // Mostly the same for all.
  const bool shows_order =
      std::any_of(result.ranked.begin(), result.ranked.begin() + static_cast<std::ptrdiff_t>(shown),
                  [](const planner::RankedPlan& plan) { return plan.strategy.order != Strategy().order; });
  if (shows_order) table.columns.push_back({"order", "order"});
  for (std::size_t i = 0; i < shown; ++i) {
    const planner::RankedPlan& plan = result.ranked[i];
    const Strategy& s = plan.strategy;
    table.rows.push_back({i + 1, s.tp, s.cp, s.pp, s.ep, s.etp, Mesh(s, num_devices).dp(), planner::zero_text(s),
                          s.micro_batch, planner::schedule_text(s), planner::overlap_text(s),
                          planner::recompute_text(s), planner::layout_text(s), plan.predictions.back().peak_memory,
                          time_of(plan, "closed"), time_of(plan, "analytic"), time_of(plan, "simgrid")});
    if (shows_order) table.rows.back().push_back(s.order);
    const Prediction& last = plan.predictions.back();
    steps.push_back(intervals.of_step(last.step_time, plan.extrapolated));
    memories.push_back(intervals.of_memory(last.peak_memory, s));
  }
  add_interval_columns(table, "step_time", steps);
  add_interval_columns(table, "peak_memory", memories);
  return table;
}

void add_disagreement(Report& report, const std::vector<planner::RankedPlan>& plans) {
  Table table{.columns = {{"first", "tier"},
                          {"second", "beside"},
                          {"plans", "plans"},
                          {"median", "median distance"},
                          {"largest", "largest"},
                          {"swaps", "pairs in another order"},
                          {"pairs", "of pairs"}},
              .rows = {}};
  for (const planner::Disagreement& d : planner::disagreements(plans)) {
    table.rows.push_back({d.first, d.second, d.num_plans, Value::percent(d.median), Value::percent(d.largest),
                          d.num_swaps, d.num_pairs});
  }
  if (!table.rows.empty()) report.table("disagreement", "Disagreement between tiers", std::move(table));
}

/// Leaves the first `num_nodes` of a cluster.
void cut(Cluster& cluster, std::int64_t num_nodes) {
  const FabricKind fabric = cluster.fabric.kind;
  if (num_nodes > cluster.num_nodes()) {
    throw ConfigError(fmt::format("cluster \"{}\": expected at most its {} nodes, got {}", cluster.name,
                                  cluster.num_nodes(), num_nodes));
  }
  if (num_nodes == cluster.num_nodes()) return;
  if (fabric == FabricKind::torus || fabric == FabricKind::dragonfly) {
    throw ConfigError(
        fmt::format("cluster \"{}\": {} nodes of its fabric are none of its kind", cluster.name, num_nodes));
  }
  cluster.groups.front().num_nodes = num_nodes;
}

/// Of the mean device under the best plan. A search asks for it only where work counts.
Activities work_of(const Plan& best, const planner::RankedPlan& found, const costmodel::Calibration& calibration) {
  if (found.active.compute() > Seconds()) return found.active;
  const costmodel::AnalyticInterpreter analytic(cost_model_of(best, calibration), best.cluster);
  return activities(analytic.run(lower(best), {.load = best.load, .sequences = best.sequences}));
}

}  // namespace

std::string detail_of(const planner::Progress& progress) {
  std::string text = fmt::format("{} evaluated, {} pruned", progress.evaluated, progress.pruned);
  if (progress.best) text += fmt::format(", best {}", *progress.best);
  if (progress.gap) text += fmt::format(", gap {:.1f} %", 100.0 * *progress.gap);
  return text;
}

void note_limit(std::optional<Bytes> limit, const Device& device) {
  if (!limit || !device.memory || *limit <= *device.memory) return;
  log_info(fmt::format("--memory-limit {}: {} has {}, which is the limit", *limit, device.name, *device.memory));
}

Plan plan_to_search(const InputOptions& options, const SearchInputs& inputs,
                    Loaded<costmodel::Calibration>* calibration) {
  Loaded<Model> model = load_model(options, inputs.model);
  Loaded<Cluster> cluster = load_cluster(options, inputs.cluster);
  if (inputs.num_nodes > 0) cut(cluster.value, inputs.num_nodes);
  Source source;
  if (calibration != nullptr) {
    *calibration = load_calibration(options, inputs.calibration, cluster.value);
    source = calibration->source;
  }
  Plan plan = plan_without_strategy(std::move(model), std::move(cluster), std::move(source), inputs.batch,
                                    parse_load(inputs.load), load_sequences(inputs.sequences, inputs.batch.seq));
  set_framework(plan, inputs.framework);
  if (plan.cluster.groups.front().device.kind == DeviceKind::cpu) plan.strategy.precision = DType::f32;
  return plan;
}

Searcher::Searcher(const Plan& base, const Loaded<costmodel::Calibration>& calibration, const SearchWishes& wishes)
    : base_(base),
      calibration_(calibration),
      wishes_(wishes),
      domains_(planner::domains_of(base.model, base.cluster, base.batch, base.strategy)),
      cost_model_(cost_model_of(base, calibration.value)) {
  planner::keep_where(domains_, wishes.conditions);
}

planner::SearchProblem Searcher::problem(std::optional<Bytes> memory_limit, const planner::StepWeights& weights) const {
  return {.model = base_.model,
          .cluster = base_.cluster,
          .batch = base_.batch,
          .load = base_.load,
          .sequences = base_.sequences,
          .memory_limit = memory_limit,
          .framework = base_.framework,
          .weights = weights};
}

planner::Infeasible Searcher::blame_wishes(planner::Infeasible infeasible) const {
  const costmodel::AnalyticInterpreter analytic(cost_model_, base_.cluster);
  // Any plan will do, so the search looks at little beyond the first that fits.
  constexpr planner::SearchLimits kAnyPlan{.num_families = 32,
                                           .num_refined = 32,
                                           .num_analytic = 1,
                                           .num_closing = 0,
                                           .num_reordered = 0,
                                           .num_simulated = 0,
                                           .num_seeds = 1};
  return planner::blame_demands(
      std::move(infeasible), planner::domains_of(base_.model, base_.cluster, base_.batch, base_.strategy),
      {.conditions = wishes_.conditions, .memory_limit = wishes_.memory_limit},
      [&](const planner::Domains& domains, std::optional<Bytes> limit) {
        return planner::search(domains, problem(limit, {}), *cost_model_, analytic, nullptr, kAnyPlan);
      });
}

std::variant<planner::SearchResult, planner::Infeasible> Searcher::search(std::optional<Bytes> memory_limit,
                                                                          const planner::StepWeights& weights) const {
  const costmodel::AnalyticInterpreter analytic(cost_model_, base_.cluster);
  std::optional<sim::WorkerInterpreter> simulator;
  if (wishes_.simulate) simulator.emplace(base_, calibration_.path);
  ProgressLine progress;
  return planner::search(domains_, problem(memory_limit, weights), *cost_model_, analytic,
                         simulator ? &*simulator : nullptr, {.time_budget = wishes_.time_budget},
                         [&](const planner::Progress& p) { progress.update(p.tier, p.done, p.total, detail_of(p)); });
}

std::variant<planner::SearchResult, planner::Infeasible> search_plans(const Plan& base,
                                                                      const Loaded<costmodel::Calibration>& calibration,
                                                                      const SearchWishes& wishes) {
  require_known(base, wishes.objective);
  const Searcher searcher(base, calibration, wishes);
  const auto search = [&](std::optional<Bytes> limit, const planner::StepWeights& weights) {
    return searcher.search(limit, weights);
  };
  const auto power = costmodel::power_of(base.cluster.groups.front().device, calibration.value);
  if (wishes.objective == planner::Objective::memory) {
    return planner::search_least_memory(search, wishes.memory_limit);
  }
  return search(wishes.memory_limit, planner::weights_of(wishes.objective, power));
}

void add_certificate(Report& report, const Certificate& certificate) {
  Table domain{.columns = {{"name", "dimension"}, {"domain", "values searched"}, {"claim", "how"}}, .rows = {}};
  for (const Certificate::Dimension& d : certificate.domain) {
    domain.rows.push_back({d.name, Value::list(d.domain), d.claim});
  }
  report.table("domain", "Domain", std::move(domain));
  Table tiers{.columns = {{"tier", "tier"}, {"evaluated", "evaluated"}, {"rejected", "rejected"}, {"claim", "claim"}},
              .rows = {}};
  for (const Certificate::Tier& tier : certificate.tiers) {
    tiers.rows.push_back({tier.name, tier.evaluated, tier.rejected, planner::claim_of(tier)});
  }
  report.table("tiers", "Tiers", std::move(tiers));
  if (const std::optional<double> gap = certificate.gap) {
    report.fact("gap", "gap to the smallest bound", Value::percent(*gap));
  } else if (certificate.domain.front().claim == planner::kNoBoundHolds) {
    report.note(
        "no certificate: bounds hold for balanced loads, sequences of one length, one kind of device and ranks in the "
        "order tp-cp-ep-dp-pp");
  } else {
    report.note("no certificate: what was not searched, as the domain says, may be better by any amount");
  }
}

void require_known(const Plan& base, planner::Objective objective) {
  const bool has_price = base.cluster.usd_per_device_hour || base.cluster.groups.front().device.usd_per_hour;
  if (objective == planner::Objective::cost && !has_price) {
    throw ConfigError(fmt::format("cost: expected a price, of cluster \"{}\" or of its devices", base.cluster.name));
  }
  if (objective == planner::Objective::carbon && !base.cluster.kg_co2_per_kwh) {
    throw ConfigError(fmt::format("carbon: expected a carbon_intensity of cluster \"{}\"", base.cluster.name));
  }
}

Report plan_report(const Plan& best, const planner::SearchResult& result, std::int64_t num_rows,
                   const costmodel::Calibration& calibration, const std::filesystem::path& catalog) {
  Report report("Plan");
  report.fact("model", "model", best.model.name);
  add_workload(report, best);
  add_strategy(report, best);
  const planner::RankedPlan& first = result.ranked.front();
  report.fact("tier", "predicted by", first.predictions.back().tier);
  const Seconds step = first.predictions.back().step_time;
  add_step_time(report, best, step);
  add_time_interval(report, best, step, first.extrapolated, calibration);
  const Device& device = best.cluster.groups.front().device;
  add_memory(report, first.predictions.back().peak_memory, device);
  add_memory_interval(report, best, first.predictions.back().peak_memory, catalog);
  add_model_notes(report, best.model, best.strategy.mtp);
  note_extrapolated(report, first.extrapolated);
  report.table("ranked", "Best plans",
               table_of(result, best.num_ranks(), num_rows, Intervals(best, calibration, catalog)));
  add_placement(report, best);
  add_certificate(report, result.certificate);
  add_disagreement(report, result.ranked);
  if (result.certificate.gap && best.strategy.order != Strategy().order) {
    report.note(
        fmt::format("the gap is that of the best plan in the order {}: other orders have no bound", Strategy().order));
  }
  return report;
}

void add_objective(Report& report, const Plan& best, const planner::RankedPlan& found, planner::Objective objective,
                   const costmodel::Calibration& calibration) {
  if (objective != planner::Objective::time) report.fact("objective", "least", planner::name_of(objective));
  const Seconds step = found.predictions.back().step_time;
  const auto power = costmodel::power_of(best.cluster.groups.front().device, calibration);
  const Activities active = work_of(best, found, calibration);
  report.fact("utilisation", "compute queue at work", Value::percent(active.compute() / step));
  add_cost(report, best, costmodel::cost_of_step(best.cluster, power, step, active, best.num_ranks()));
}

int report_infeasible(const planner::Infeasible& infeasible, bool json) {
  if (json) print(Report().fact("infeasible", "", infeasible.reason).fact("hint", "", infeasible.hint), true);
  std::fputs(fmt::format("infeasible: {}\n", infeasible.reason).c_str(), stderr);
  if (!infeasible.hint.empty()) std::fputs(fmt::format("  hint: {}\n", infeasible.hint).c_str(), stderr);
  return kInfeasible;
}

}  // namespace orrery::cli
