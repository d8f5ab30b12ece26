// SPDX-License-Identifier: Apache-2.0
// orrery validate: how far are we from what others measured? Scores predictions against published runs (runs/1).
#include "base/errors.h"
#include "base/json_reader.h"
#include "cli/collective_validation.h"
#include "cli/exit_code.h"
#include "cli/kernel_validation.h"
#include "cli/report.h"
#include "cli/time_validation.h"
#include "cli/verbs.h"
#include "costmodel/validation/cross_validation.h"
#include "costmodel/validation/memory_score.h"
#include "costmodel/validation/runs.h"
#include "program/json_parts.h"

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace orrery::cli {
namespace {

struct ValidateOptions {
  CommonOptions common;
  std::string runs;
  bool memory = false, collectives = false;
  TimeOptions time;
  bool cross_validate = false;
};

std::optional<Device> device_of_catalog(const std::filesystem::path& catalog, const std::string& name) {
  const std::filesystem::path path = catalog / "devices" / (name + ".json");
  if (!std::filesystem::exists(path)) return std::nullopt;
  const JsonDocument document = JsonDocument::parse_file(path.string());
  Device device = read_device(document.root());
  document.throw_if_problems();
  return device;
}

Value ratio(const std::optional<double>& value) { return value ? Value::percent(*value) : Value::unknown("-"); }

Table table_of(const std::vector<costmodel::MemoryErrorsOfGroup>& groups) {
  Table table;
  table.columns = {{"group", "group"},
                   {"figure", "figure"},
                   {"figures", "figures"},
                   {"mean", "mean |e|"},
                   {"median", "median |e|"},
                   {"bias", "bias"},
                   {"over_allocated", "over allocated"},
                   {"worst", "worst"},
                   {"worst_run", "of run"}};
  for (const costmodel::MemoryErrorsOfGroup& group : groups) {
    table.rows.push_back({group.group, name_of(group.figure), group.num_figures, Value::percent(group.mean_absolute),
                          Value::percent(group.median_absolute), Value::error(group.bias),
                          group.median_over_allocated ? Value(*group.median_over_allocated) : Value::unknown("-"),
                          Value::error(group.worst), group.worst_run});
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
  Table table{.columns = {{"reason", "reason"}, {"runs", "runs"}, {"example", "first"}}, .rows = {}};
  for (const costmodel::RefusedRuns& runs : refused) table.rows.push_back({runs.reason, runs.num_runs, runs.example});
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

Report memory_report(const costmodel::MemoryScore& score, bool cross_validate) {
  Report report("Memory against published runs");
  report.fact("runs", "runs", score.num_runs).fact("modelled", "modelled", score.num_modelled);
  report.table("errors", "Predicted against measured", table_of(score.groups));
  report.table("feasibility", "Whether it fits", table_of(score.feasibility));
  if (cross_validate) add_cross_validation(score.judged, report);
  Table unlike_said = surprises(score.feasibility);
  if (!unlike_said.rows.empty()) report.table("surprises", "Outcomes unlike what was said", std::move(unlike_said));
  report.table("not_modelled", "Not modelled", table_of(score.refused));
  for (const std::string& assumption : score.assumptions) report.note("assumed: " + assumption);
  for (const std::string& device : score.devices_not_in_catalog) {
    report.note(fmt::format("the catalog has no memory of {}: whether its runs fit is not scored", device));
  }
  return report;
}

/// What is asked of step times alone, or of curves.
void check(const ValidateOptions& options) {
  if (options.time.wanted) return;
  if (!options.time.runs_out.empty() && !options.collectives) {
    throw ConfigError("--runs-out: expected --time too, whose results it writes");
  }
  for (const auto& [flag, value] :
       {std::pair("--plot", &options.time.plot), std::pair("--factors-out", &options.time.factors_out)}) {
    if (!value->empty()) throw ConfigError(fmt::format("{}: expected --time too, whose results it writes", flag));
  }
}

int validate(const ValidateOptions& options) {
  check(options);
  const auto lookup = [&](const std::string& name) { return device_of_catalog(options.common.inputs.catalog, name); };
  const JsonDocument document = JsonDocument::parse_file(options.runs);
  if (options.collectives) {
    print(collective_report(document, lookup, options.common.inputs.catalog, options.time.runs_out),
          options.common.json);
    return kSuccess;
  }
  if (const JsonValue schema = document.root().required("schema"); schema.is_text("calibration/1")) {
    print(kernel_report(costmodel::read_calibration(options.runs), lookup), options.common.json);
    return kSuccess;
  }
  const costmodel::RunsFile file = costmodel::read_runs(document);
  if (options.time.wanted) {
    print(time_report(file, lookup, options.common.inputs.catalog, options.time, options.cross_validate),
          options.common.json);
    return kSuccess;
  }
  print(memory_report(costmodel::score_memory(file, lookup), options.cross_validate), options.common.json);
  return kSuccess;
}

}  // namespace

Verb add_validate(CLI::App& app) {
  auto options = std::make_shared<ValidateOptions>();
  CLI::App* command = app.add_subcommand("validate", "how far predictions are from published, measured runs");
  command->add_option("runs", options->runs, "runs/1, or a calibration/1 whose kernels are scored by its own points")
      ->required();
  command->add_flag("--memory", options->memory, "score memory: the default");
  command->add_flag("--time", options->time.wanted, "score step times");
  command->add_flag("--collectives", options->collectives, "score measured curves of collectives");
  command->add_option("--runs-out", options->time.runs_out,
                      "write each prediction of a run or curve there, a JSON line each");
  command->add_option("--plot", options->time.plot, "draw predicted over measured there (SVG)");
  command->add_option("--factors-out", options->time.factors_out,
                      "write the factors that --cross-validate fits to all runs there (time_factors/1)");
  command->add_flag(
      "--cross-validate", options->cross_validate,
      "memory: judge each width by the fragmentation of the others; time: fit anew, each model and GPU held out");
  add_common_options(*command, options->common);
  return {command, [options] { return validate(*options); }};
}

}  // namespace orrery::cli
