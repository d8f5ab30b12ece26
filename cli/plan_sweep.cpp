// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_sweep.h"

#include "base/errors.h"
#include "base/units_format.h"
#include "cli/exit_code.h"
#include "cli/intervals.h"
#include "cli/plan_search.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/sweep_results.h"
#include "costmodel/power.h"
#include "planner/conditions.h"
#include "planner/strategy_text.h"
#include "planner/sweep.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::cli {
namespace {

using planner::SweepPoint;

void search_legal_point(const SweepOptions& options, const SweepPoint& point, const std::string& path) {
  Loaded<costmodel::Calibration> calibration;
  Plan base = plan_to_search(options.inputs,
                             {.model = point.model,
                              .cluster = point.cluster,
                              .calibration = options.calibration,
                              .num_nodes = point.num_nodes,
                              .batch = {.seq = point.seq, .global_batch = point.global_batch},
                              .load = options.load,
                              .sequences = "",
                              .framework = options.framework},
                             &calibration);
  if (options.precision) base.strategy.precision = *options.precision;
  SweepResult result{.point = point, .num_devices = base.num_ranks()};
  SearchWishes wishes{.conditions = point.where};
  wishes.memory_limit = planner::take_memory_limit(wishes.conditions, {});
  const auto found = search_plans(base, calibration, wishes);
  if (const auto* infeasible = std::get_if<planner::Infeasible>(&found)) {
    result.infeasible = infeasible->reason;
    log_info(fmt::format("infeasible: {}", infeasible->reason));
    return append_result(path, result, nullptr);
  }
  const auto& plans = std::get<planner::SearchResult>(found);
  const planner::RankedPlan& best = plans.ranked.front();
  result.step_time = best.predictions.back().step_time;
  result.peak_memory = best.predictions.back().peak_memory;
  const Intervals intervals(base, calibration.value, options.inputs.catalog);
  result.step_time_80 = intervals.of_step(result.step_time, best.extrapolated);
  result.peak_memory_80 = intervals.of_memory(result.peak_memory, best.strategy);
  result.usd = costmodel::cost_of_step(base.cluster, std::nullopt, result.step_time, {}, result.num_devices).usd;
  result.gap = plans.certificate.gap;
  result.strategy = planner::short_text(best.strategy);
  log_info(fmt::format("best {}{}", result.step_time,
                       result.gap ? fmt::format(", gap {:.1f} %", 100.0 * *result.gap) : ", no certificate"));
  append_result(path, result, &best.strategy);
}

/// The last line of a point holds: one that was refused is asked again.
const SweepResult* known(const std::vector<SweepResult>& results, const SweepPoint& point) {
  const auto found =
      std::find_if(results.rbegin(), results.rend(), [&](const SweepResult& result) { return result.point == point; });
  return found == results.rend() ? nullptr : &*found;
}

/// In one line, since a sweep has one for each point.
std::string text_of(const ConfigError& error) {
  std::vector<std::string> messages;
  for (const Problem& problem : error.problems()) {
    Problem without_hint = problem;
    without_hint.hint.clear();
    messages.push_back(to_text(without_hint));
  }
  return fmt::format("{}", fmt::join(messages, "; "));
}

/// What holds for all points and is not as it is without a word: results under other options are of other points.
std::string text_of(const SweepOptions& options) {
  std::vector<std::string> words;
  if (!options.calibration.empty()) words.push_back("calibration " + options.calibration);
  if (options.load != SearchInputs().load) words.push_back("load " + options.load);
  if (!options.framework.empty()) words.push_back("framework " + options.framework);
  if (options.precision) words.push_back(fmt::format("precision {}", name_of(*options.precision)));
  return fmt::format("{}", fmt::join(words, ", "));
}

/// What is wrong with one point ends no sweep. `before`: what is known of it.
void search_point(const SweepOptions& options, const SweepPoint& point, const std::string& path,
                  const SweepResult* before) {
  try {
    search_legal_point(options, point, path);
  } catch (const ConfigError& error) {
    SweepResult result{.point = point};
    result.refused = text_of(error);
    log_info(fmt::format("refused: {}", result.refused));
    if (before == nullptr || before->refused != result.refused) append_result(path, result, nullptr);
  }
}

double tokens_of(const SweepResult& result) {
  return static_cast<double>(result.point.seq * result.point.global_batch);
}

/// US dollars for a million tokens.
std::optional<double> price_of(const SweepResult& result) {
  if (!result.usd) return std::nullopt;
  return *result.usd / tokens_of(result) * 1e6;
}

Table table_of(const std::vector<const SweepResult*>& results) {
  Table table;
  table.columns = {{"model", "model"},
                   {"cluster", "cluster"},
                   {"devices", "devices"},
                   {"sequence", "sequence"},
                   {"global_batch", "batch"},
                   {"where", "where"},
                   {"step_time", "step time"},
                   {"tokens_per_second", "tokens/s"},
                   {"price_per_million_tokens", "USD per M tokens"},
                   {"gap", "gap"},
                   {"plan", "plan"}};
  std::vector<std::optional<Interval80<Seconds>>> steps;
  std::vector<std::optional<Interval80<Bytes>>> memories;
  for (const SweepResult* r : results) {
    steps.push_back(r->step_time_80);
    memories.push_back(r->peak_memory_80);
    const bool runs = r->runs();
    const std::string& why_not = r->refused.empty() ? r->infeasible : r->refused;
    const Value none = Value::unknown("-");
    const std::optional<double> price = runs ? price_of(*r) : std::nullopt;
    table.rows.push_back(
        {r->point.model, r->point.cluster, r->num_devices > 0 ? Value(r->num_devices) : none, r->point.seq,
         r->point.global_batch, fmt::format("{}", fmt::join(r->point.where, " ")), runs ? Value(r->step_time) : none,
         runs ? Value((tokens_of(*r) / r->step_time).in(unit::hertz)) : none, price ? Value(*price) : none,
         r->gap ? Value::percent(*r->gap) : none, runs ? r->strategy : why_not});
  }
  add_interval_columns(table, "step_time", steps);
  add_interval_columns(table, "peak_memory", memories);
  return table;
}

using Less = std::function<bool(const SweepResult&, const SweepResult&)>;

/// A line with the least of `results`, by `less`, of those that `wanted` holds for.
void add_best(Report& report, const std::string& key, const std::string& label,
              const std::vector<const SweepResult*>& results, const std::function<bool(const SweepResult&)>& wanted,
              const Less& less) {
  const SweepResult* best = nullptr;
  for (const SweepResult* r : results) {
    if (!r->runs() || !wanted(*r)) continue;
    if (best == nullptr || less(*r, *best)) best = r;
  }
  if (best == nullptr) {
    report.fact(key, label, Value::unknown("none"));
    return;
  }
  report.fact(key, label,
              fmt::format("{} on {} of {}, {} x {} tokens: {} a step", best->point.model, best->num_devices,
                          best->point.cluster, best->point.global_batch, best->point.seq, best->step_time));
}

Report report_of(const SweepOptions& options, const std::vector<SweepPoint>& points,
                 const std::vector<SweepResult>& all) {
  std::vector<const SweepResult*> results;
  for (const SweepPoint& point : points) {
    if (const SweepResult* result = known(all, point)) results.push_back(result);
  }
  Report report("Sweep");
  const auto num_refused = std::ranges::count_if(results, [](const SweepResult* r) { return !r->refused.empty(); });
  report.fact("points", "points", points.size())
      .fact("done", "of them searched", std::ssize(results) - num_refused)
      .fact("refused", "of them refused, as bad input", num_refused);
  const auto any = [](const SweepResult&) { return true; };
  const auto has_price = [](const SweepResult& r) { return r.usd.has_value(); };
  const auto in_time = [&](const SweepResult& r) { return r.step_time <= *options.deadline; };
  const Less faster = [](const SweepResult& a, const SweepResult& b) {
    return tokens_of(a) / a.step_time > tokens_of(b) / b.step_time;
  };
  const Less cheaper = [](const SweepResult& a, const SweepResult& b) { return *price_of(a) < *price_of(b); };
  const Less smaller = [&](const SweepResult& a, const SweepResult& b) {
    return a.num_devices != b.num_devices ? a.num_devices < b.num_devices : faster(a, b);
  };
  add_best(report, "fastest", "most tokens/s", results, any, faster);
  add_best(report, "cheapest", "least price of a token", results, has_price, cheaper);
  const bool runs_unpriced =
      std::any_of(results.begin(), results.end(), [&](const SweepResult* r) { return r->runs() && !r->usd; });
  if (runs_unpriced) report.note("clusters that state no price are in no answer about prices");
  if (options.deadline) {
    add_best(report, "fewest_devices", fmt::format("fewest devices for {}", *options.deadline), results, in_time,
             smaller);
    add_best(
        report, "cheapest_in_time", fmt::format("cheapest for {}", *options.deadline), results,
        [&](const SweepResult& r) { return has_price(r) && in_time(r); }, cheaper);
  }
  report.table("results", "Results", table_of(results));
  return report;
}

}  // namespace

int sweep_plans(const SweepOptions& options) {
  std::vector<SweepPoint> points = planner::read_sweep(options.sweep);
  for (SweepPoint& point : points) point.with = text_of(options);
  const SweepShare share = SweepShare::of_environment();
  const std::string path = results_path(options.out, share);
  const std::vector<SweepResult> before = read_results(options.out);
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (static_cast<std::int64_t>(i) % share.count != share.index) continue;
    const SweepResult* found = known(before, points[i]);
    const bool is_done = found != nullptr && found->refused.empty();
    std::fputs(fmt::format("orrery: point {} of {}: {} on {}{}\n", i + 1, points.size(), points[i].model,
                           points[i].cluster, is_done ? ", known" : "")
                   .c_str(),
               stderr);
    if (!is_done) search_point(options, points[i], path, found);
  }
  const std::vector<SweepResult> after = read_results(options.out);
  print(report_of(options, points, after), options.json);
  const bool all_refused = std::ranges::all_of(points, [&](const SweepPoint& point) {
    const SweepResult* result = known(after, point);
    return result != nullptr && !result->refused.empty();
  });
  return all_refused ? kBadInput : kSuccess;
}

}  // namespace orrery::cli
