// SPDX-License-Identifier: Apache-2.0
// orrery explain: where the time of a plan goes and why; what tells it from another plan; and the same for a job that
// somebody runs with Megatron-LM.
#include "base/errors.h"
#include "base/files.h"
#include "base/units_parse.h"
#include "cli/cluster_check.h"
#include "cli/exit_code.h"
#include "cli/explain_report.h"
#include "cli/intervals.h"
#include "cli/placement_report.h"
#include "cli/plan_check.h"
#include "cli/plan_search.h"
#include "cli/step_report.h"
#include "cli/verbs.h"
#include "planner/even_layout.h"
#include "planner/importers/megatron_arguments.h"
#include "planner/strategy_text.h"
#include "program/json_parts.h"
#include "program/legality.h"
#include "program/sequence_json.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::cli {
namespace {

struct ExplainOptions {
  CommonOptions common;
  std::vector<std::string> files;
  std::string against, calibration, from_megatron, measured, load = "balanced";
  bool next = false;
};

/// What is said of any plan.
void add_explanation(Report& report, const Plan& plan, const planner::StepTimer& timer, const Trace& trace,
                     const costmodel::Calibration& calibration, const std::filesystem::path& catalog) {
  const Seconds step = trace.steps.front().time;
  add_placement(report, plan);
  add_memory_limit(report, plan, catalog);
  Report where("Time");
  add_step_time(where, plan, step);
  add_time_interval(where, plan, step, trace.header.extrapolated, calibration);
  add_time_parts(where, trace);
  report.section("time", std::move(where));
  Report what("What binds");
  add_sensitivity(what, plan, timer, step);
  note_extrapolated(what, trace.header.extrapolated);
  report.section("binding", std::move(what));
  add_model_notes(report, plan.model, plan.strategy.mtp);
}

Report about(const Plan& plan) {
  Report report("Plan");
  report.fact("model", "model", plan.model.name);
  add_workload(report, plan);
  add_strategy(report, plan);
  return report;
}

std::string text_of(const LoadModel& load) {
  JsonWriter out;
  write_load(out, load);
  return out.text();
}

/// What tells the jobs of two plans apart; only plans of one job differ by their strategies alone.
std::vector<std::string> differences_of_jobs(const Plan& a, const Plan& b) {
  std::vector<std::string> found;
  const auto compare = [&](bool same, const char* what) {
    if (!same) found.emplace_back(what);
  };
  compare(a.model_source.sha256 == b.model_source.sha256, "model");
  compare(to_json(a.cluster) == to_json(b.cluster), "cluster");
  compare(a.batch == b.batch, "batch");
  compare(text_of(a.load) == text_of(b.load), "load");
  compare(to_json(a.sequences) == to_json(b.sequences), "sequences");
  compare(a.device_of_rank == b.device_of_rank, "placement");
  compare(a.calibration_source.sha256 == b.calibration_source.sha256, "calibration");
  return found;
}

/// The best plan of the search that is not this one, and what tells them apart.
void add_next(Report& report, const Plan& plan, const Loaded<costmodel::Calibration>& calibration,
              const planner::StepTimer& timer, const Intervals& intervals, bool json) {
  const auto found = search_plans(plan, calibration);
  if (const auto* result = std::get_if<planner::SearchResult>(&found)) {
    for (const planner::RankedPlan& ranked : result->ranked) {
      if (ranked.strategy == plan.strategy) continue;
      Report next("The best other plan of the search");
      next.fact("next", "it is", planner::short_text(ranked.strategy));
      add_difference(next, plan, ranked.strategy, timer, intervals, json);
      report.section("next", std::move(next));
      return;
    }
  }
  report.note("the search knows no other plan");
}

int explain_plan(const ExplainOptions& options) {
  if (options.files.size() != 1) {
    throw ConfigError(fmt::format("explain: expected PLAN, got {} files", options.files.size()),
                      "MODEL CLUSTER stand beside --from-megatron ARGUMENTS");
  }
  const Plan plan = load_plan(options.files.front());
  std::optional<Plan> other;
  if (!options.against.empty()) {
    other = load_plan(options.against);
    const std::vector<std::string> differences = differences_of_jobs(plan, *other);
    if (!differences.empty()) {
      throw ConfigError(fmt::format("{}: expected a plan of the same job as {}, got another {}", options.against,
                                    options.files.front(), fmt::join(differences, ", ")));
    }
  }
  const auto calibration = load_calibration(options.common.inputs, options.calibration, plan);
  const planner::StepTimer timer(plan, calibration.value);
  const std::filesystem::path& catalog = options.common.inputs.catalog;
  const Intervals intervals(plan, calibration.value, catalog);
  Report report = about(plan);
  if (other) {
    Report difference("Against " + options.against);
    add_difference(difference, plan, other->strategy, timer, intervals, options.common.json);
    report.section("against", std::move(difference));
  } else if (options.next) {
    add_next(report, plan, calibration, timer, intervals, options.common.json);
  } else {
    add_explanation(report, plan, timer, timer.trace(plan.strategy), calibration.value, catalog);
  }
  print(report, options.common.json);
  return kSuccess;
}

/// The job as a plan; what was read as something near it, or not at all, in `notes`.
Plan plan_of_job(const ExplainOptions& options, const Loaded<Model>& model, Loaded<Cluster> cluster,
                 const Source& calibration, std::vector<std::string>& notes) {
  planner::MegatronJob job =
      planner::read_megatron_arguments(read_file(options.from_megatron), options.from_megatron, model.value);
  notes = std::move(job.notes);
  if (!job.unknown.empty()) {
    notes.push_back(fmt::format("not read, since nobody here knows them: {}", fmt::join(job.unknown, ", ")));
  }
  Plan plan = plan_without_strategy({std::move(job.model), model.source, model.path}, std::move(cluster), calibration,
                                    job.batch, parse_load(options.load));
  plan.strategy = std::move(job.strategy);
  plan.framework = "megatron";
  return plan;
}

/// The best plan that the search knows, and how far the job is from it.
void add_gap(Report& report, const Plan& plan, const Loaded<costmodel::Calibration>& calibration, Seconds step,
             const Intervals& intervals, std::optional<Seconds> measured) {
  const auto found = search_plans(plan, calibration);
  if (const auto* none = std::get_if<planner::Infeasible>(&found)) {
    report.fact("best", "best plan", Value::unknown("none: " + none->reason));
    return;
  }
  const planner::RankedPlan& best = std::get<planner::SearchResult>(found).ranked.front();
  const Seconds time = best.predictions.back().step_time;
  const Bytes memory = best.predictions.back().peak_memory;
  report.fact("best", "best plan of the search", planner::short_text(best.strategy))
      .fact("best_time", "its step time", time);
  add_interval(report, "best_time", "80 % interval,", intervals.of_step(time, best.extrapolated));
  report.fact("best_memory", "its memory", memory);
  add_interval(report, "best_memory", "memory, 80 %", intervals.of_memory(memory, best.strategy));
  report.fact("gap", "the job's step over it", Value::error(step / time - 1.0));
  if (measured) report.fact("best_expected", "its step time, as far off as the job's", *measured * (time / step));
}

int explain_job(const ExplainOptions& options) {
  if (options.files.size() != 2) {
    throw ConfigError(
        fmt::format("explain: expected MODEL CLUSTER beside --from-megatron, got {} files", options.files.size()));
  }
  std::optional<Seconds> measured;
  if (!options.measured.empty()) {
    const std::optional<double> value = parse_units(options.measured, unit_table<Seconds>());
    if (!value || *value <= 0.0) {
      throw ConfigError(
          fmt::format("--measured: expected a time above 0 such as \"22.4s\", got \"{}\"", options.measured));
    }
    measured = seconds(*value);
  }
  const Loaded<Model> model = load_model(options.common.inputs, options.files[0]);
  Loaded<Cluster> cluster = load_cluster(options.common.inputs, options.files[1]);
  const auto calibration = load_calibration(options.common.inputs, options.calibration, cluster.value);
  std::vector<std::string> said;
  const Plan plan = plan_of_job(options, model, std::move(cluster), calibration.source, said);
  const std::vector<Violation> broken = violations(plan.model, plan.strategy, plan.batch, plan.num_ranks());
  if (!broken.empty()) return report_broken_rules(plan, broken, options.common.json, said);

  const planner::StepTimer timer(plan, calibration.value);
  const Trace trace = timer.trace(plan.strategy);
  const Seconds step = trace.steps.front().time;
  Report report = about(plan);
  report.fact("predicted", "predicted step time", step);
  if (measured) {
    report.fact("measured", "measured step time", *measured)
        .fact("error", "error of the prediction", Value::error(step / *measured - 1.0));
  }
  const std::filesystem::path& catalog = options.common.inputs.catalog;
  add_explanation(report, plan, timer, trace, calibration.value, catalog);
  const Intervals intervals(plan, calibration.value, catalog);
  Report better("What would be faster");
  add_gap(better, plan, calibration, step, intervals, measured);
  const std::vector<planner::SingleChange> changes = planner::single_changes(plan, timer);
  const bool gains = !changes.empty() && changes.front().time < step;
  better.fact("best_change", "the change that gains most", gains ? Value(changes.front().text) : Value::unknown("none"))
      .fact("best_change_gain", "it changes the step by",
            gains ? Value::error(changes.front().time / step - 1.0) : Value::unknown("-"));
  add_single_changes(better, changes, step, 5, intervals, trace.header.extrapolated);
  report.section("better", std::move(better));
  for (std::string& note : said) report.note(std::move(note));
  print(report, options.common.json);
  return kSuccess;
}

}  // namespace

Verb add_explain(CLI::App& app) {
  auto options = std::make_shared<ExplainOptions>();
  CLI::App* command = app.add_subcommand("explain", "where the time of a plan or of a job goes, and what would gain");
  command->add_option("files", options->files, "PLAN, or MODEL CLUSTER of a job")->required();
  auto* against =
      command->add_option("--against", options->against, "another plan/1 of the same job: what each choice is worth");
  auto* next =
      command->add_flag("--next", options->next, "search, and say what tells the best other plan from this one");
  next->excludes(against);
  command->add_option("--calibration", options->calibration, "calibration/1, or its name");
  auto* job = command
                  ->add_option("--from-megatron", options->from_megatron,
                               "arguments of Megatron-LM in a file: the job that runs on CLUSTER")
                  ->excludes(against)
                  ->excludes(next);
  command->add_option("--measured", options->measured, "step time of that job, such as 22.4s")->needs(job);
  command->add_option("--load", options->load, "of the job's experts, as in orrery plan")
      ->needs(job)
      ->capture_default_str();
  add_model_options(*command, options->common.inputs);
  add_cluster_options(*command, options->common.inputs);
  for (const char* of_job : {"--ignore-key", "--platform", "--hosts"}) command->get_option(of_job)->needs(job);
  add_common_options(*command, options->common);
  return {command,
          [options] { return options->from_megatron.empty() ? explain_plan(*options) : explain_job(*options); }};
}

}  // namespace orrery::cli
