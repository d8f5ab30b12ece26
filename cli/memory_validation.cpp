// SPDX-License-Identifier: Apache-2.0
#include "cli/memory_validation.h"

#include "base/errors.h"
#include "base/json_writer.h"
#include "costmodel/validation/cross_validation.h"
#include "costmodel/validation/memory_intervals.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::cli {
namespace {

Value ratio(const std::optional<double>& value) { return value ? Value::percent(*value) : Value::unknown("-"); }

Table table_of(const std::vector<costmodel::MemoryErrorsOfGroup>& groups) {
  Table table;
  table.columns = {{"group", "group"},
                   {"figure", "figure"},
                   {"figures", "figures"},
                   {"refused", "refused"},
                   {"mean", "mean |e|"},
                   {"median", "median |e|"},
                   {"bias", "bias"},
                   {"mean_with_refused", "refused as 100 %"},
                   {"over_allocated", "over allocated"},
                   {"worst", "worst"},
                   {"worst_run", "of run"}};
  for (const costmodel::MemoryErrorsOfGroup& group : groups) {
    const bool any = group.num_figures > 0;
    const auto percent = [&](double x) { return any ? Value::percent(x) : Value::unknown("-"); };
    const auto error = [&](double x) { return any ? Value::error(x) : Value::unknown("-"); };
    table.rows.push_back({group.group, name_of(group.figure), group.num_figures, group.num_refused,
                          percent(group.mean_absolute), percent(group.median_absolute), error(group.bias),
                          Value::percent(group.mean_with_refused),
                          group.median_over_allocated ? Value(*group.median_over_allocated) : Value::unknown("-"),
                          error(group.worst), any ? Value(group.worst_run) : Value::unknown("-")});
  }
  return table;
}

Table table_of(const std::vector<costmodel::Feasibility>& feasibility) {
  Table table;
  table.columns = {{"framework", "framework"},
                   {"hidden", "hidden"},
                   {"ran", "ran"},
                   {"ran_unlike_said", "said not to fit"},
                   {"ran_if_recomputing", "fit if recomputing"},
                   {"failed", "ran out of memory"},
                   {"failed_as_said", "as said"},
                   {"precision", "precision"},
                   {"recall", "recall"}};
  for (const costmodel::Feasibility& counts : feasibility) {
    table.rows.push_back({counts.framework, counts.hidden == 0 ? Value("all") : Value(counts.hidden), counts.num_ran,
                          counts.num_ran_unlike_said, counts.num_ran_if_recomputing, counts.num_failed,
                          counts.num_failed_as_said, ratio(counts.precision()), ratio(counts.recall())});
  }
  return table;
}

Table table_of(const std::vector<costmodel::RefusedRuns>& refused) {
  Table table{.columns = {{"reason", "reason"}, {"runs", "runs"}, {"ids", "which"}}, .rows = {}};
  for (const costmodel::RefusedRuns& runs : refused) {
    table.rows.push_back({runs.reason, runs.ids.size(), Value::list(fmt::format("{}", fmt::join(runs.ids, " ")))});
  }
  return table;
}

/// Runs whose outcome was another one than said, by name.
Table surprises(const std::vector<costmodel::Feasibility>& feasibility) {
  Table table{.columns = {{"run", "run"}, {"said", "said"}, {"outcome", "outcome"}}, .rows = {}};
  for (const costmodel::Feasibility& counts : feasibility) {
    if (counts.hidden != 0) continue;
    for (const std::string& id : counts.ran_unlike_said) table.rows.push_back({id, "does not fit", "ran"});
    for (const std::string& id : counts.failed_unlike_said) table.rows.push_back({id, "fits", "out of memory"});
  }
  return table;
}

/// Precision and recall of both limits; of a fold without a fit, the preset's alone.
std::vector<Value> row_of(const costmodel::Feasibility& preset, const costmodel::Feasibility& cross, Value fitted_on,
                          Value fragmentation) {
  return {preset.framework,
          preset.hidden == 0 ? Value("all") : Value(preset.hidden),
          std::move(fitted_on),
          std::move(fragmentation),
          preset.num_ran,
          cross.num_ran_unlike_said,
          preset.num_failed,
          cross.num_failed_as_said,
          ratio(cross.precision()),
          ratio(cross.recall()),
          ratio(preset.precision()),
          ratio(preset.recall())};
}

Table table_of(const std::vector<costmodel::CrossValidation>& frameworks) {
  Table table;
  table.columns = {{"framework", "framework"},
                   {"hidden", "held out"},
                   {"fitted_on", "fitted on"},
                   {"fragmentation", "fragmentation"},
                   {"ran", "ran"},
                   {"ran_unlike_said", "said not to fit"},
                   {"failed", "ran out of memory"},
                   {"failed_as_said", "as said"},
                   {"precision", "precision"},
                   {"recall", "recall"},
                   {"preset_precision", "preset's precision"},
                   {"preset_recall", "preset's recall"}};
  for (const costmodel::CrossValidation& framework : frameworks) {
    table.rows.push_back(
        row_of(framework.preset, framework.cross_judged, Value::unknown("-"), Value::unknown("by fold")));
    for (const costmodel::Fold& fold : framework.folds) {
      table.rows.push_back(row_of(fold.preset, fold.cross_judged, fold.num_fitted_on,
                                  fold.fragmentation ? Value(*fold.fragmentation) : Value::unknown("-")));
    }
  }
  return table;
}

void add_cross_validation(const std::vector<costmodel::JudgedRun>& runs, Report& report) {
  const std::vector<costmodel::CrossValidation> frameworks = costmodel::cross_validate(runs);
  if (frameworks.empty()) {
    report.note("cross-validation: no modelled run ran out of memory");
    return;
  }
  report.table("cross_validation", "Each width judged by what the others show", table_of(frameworks));
  for (const costmodel::CrossValidation& framework : frameworks) {
    const auto range = framework.fitted_range();
    const std::string preset =
        fmt::format("{}: the preset's fragmentation is {:.4g}", framework.framework, framework.folds.front().of_preset);
    report.note(range ? fmt::format("{}, the folds' {:.4g} to {:.4g}", preset, range->first, range->second)
                      : fmt::format("{}, no fold has runs of other widths to fit on", preset));
  }
}

Table table_of(const std::vector<costmodel::MemoryInterval>& intervals) {
  Table table{.columns = {{"framework", "framework"},
                          {"figure", "figure"},
                          {"figures", "figures"},
                          {"low", "from"},
                          {"high", "to"},
                          {"coverage", "in 80 %, other widths'"},
                          {"width_over_error", "half-width / error"}},
              .rows = {}};
  for (const costmodel::MemoryInterval& of : intervals) {
    table.rows.push_back({of.framework, of.figure, of.interval.num_runs, of.interval.low, of.interval.high,
                          ratio(of.coverage), of.width_over_error ? Value(*of.width_over_error) : Value::unknown("-")});
  }
  return table;
}

}  // namespace

Report memory_report(const costmodel::MemoryScore& score, bool cross_validate) {
  Report report("Memory against published runs");
  report.fact("runs", "runs", score.num_runs).fact("modelled", "modelled", score.num_modelled);
  report.table("errors", "Predicted against measured", table_of(score.groups));
  const std::vector<costmodel::MemoryInterval> intervals = costmodel::memory_intervals(score.errors);
  if (!intervals.empty()) report.table("intervals", "80 % intervals, measured over predicted", table_of(intervals));
  report.table("feasibility", "Whether it fits", table_of(score.feasibility));
  if (cross_validate) add_cross_validation(score.judged, report);
  Table unlike_said = surprises(score.feasibility);
  if (!unlike_said.rows.empty()) report.table("surprises", "Outcomes unlike what was said", std::move(unlike_said));
  if (!score.refused.empty()) report.table("not_modelled", "Not modelled", table_of(score.refused));
  for (const std::string& assumption : score.assumptions) report.note("assumed: " + assumption);
  for (const std::string& device : score.devices_not_in_catalog) {
    report.note(fmt::format("the catalog has no memory of {}: whether its runs fit is not scored", device));
  }
  return report;
}

std::string memory_intervals_file(const costmodel::MemoryScore& score) {
  if (score.errors.empty()) throw ConfigError("--memory-intervals-out: expected runs whose memory can be predicted");
  return costmodel::to_json(costmodel::memory_intervals(score.errors),
                            fmt::format("orrery validate on {} figures", score.errors.size()));
}

std::string memory_lines(const costmodel::MemoryScore& score) {
  std::string out;
  for (const costmodel::MemoryError& error : score.errors) {
    JsonWriter line(JsonWriter::Layout::line);
    line.begin_object().field("run", error.run).field("figure", name_of(error.figure));
    line.field("measured_bytes", error.measured.in(unit::byte));
    line.field("predicted_bytes", error.predicted.in(unit::byte)).end_object();
    out += line.text() + '\n';
  }
  for (const costmodel::RefusedRuns& runs : score.refused) out += not_modelled_lines("memory", runs.reason, runs.ids);
  return out;
}

std::string not_modelled_lines(const char* part, const std::string& reason, const std::vector<std::string>& ids) {
  std::string out;
  for (const std::string& id : ids) {
    JsonWriter line(JsonWriter::Layout::line);
    line.begin_object().field("run", id).field("not_modelled", part).field("reason", reason).end_object();
    out += line.text() + '\n';
  }
  return out;
}

}  // namespace orrery::cli
