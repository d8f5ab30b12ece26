// SPDX-License-Identifier: Apache-2.0
#include "cli/trial.h"

#include "cli/execution.h"
#include "cli/prediction.h"
#include "cli/recorded_load.h"
#include "cli/step_report.h"
#include "costmodel/analytic_interpreter.h"
#include "costmodel/memory.h"
#include "planner/strategy_text.h"
#include "sim/worker_interpreter.h"
#include "traces/activities.h"
#include "traces/compare.h"
#include "traces/summary.h"
#include "traces/trace_io.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

constexpr std::size_t kMostClasses = 16;

}  // namespace

Trial run_trial(const std::string& title, const Plan& plan, const Loaded<costmodel::Calibration>& calibration,
                const std::filesystem::path& path, const executor::TrainingSettings& settings) {
  const StepProgram program = lower(plan);
  const RunInput input{.load = plan.load, .sequences = plan.sequences, .all_ranks = true};
  const costmodel::AnalyticInterpreter analytic(cost_model_of(plan, calibration.value), plan.cluster,
                                                plan.device_of_rank);
  const sim::WorkerInterpreter simulator(plan, calibration.path);
  Trial trial{.title = title,
              .plan = plan,
              .analytic = run(analytic, program, input, path.string()),
              .simulated = run(simulator, program, input, path.string()),
              .measured = execute_plan(plan, settings, path.string(), /*complete=*/true),
              .afterwards = {}};
  if (!settings.balanced_routing && !trial.measured.loads.empty()) {
    trial.afterwards =
        run(analytic, program, {.load = recorded_load(trial.measured), .all_ranks = true}, path.string());
  }
  const auto write = [&](const char* interpreter, const Trace& trace) {
    std::filesystem::path file = path;
    write_trace_file(file.replace_extension(fmt::format("{}.trace", interpreter)).string(), trace);
  };
  write("analytic", trial.analytic);
  write("simgrid", trial.simulated);
  write("cpu", trial.measured);
  return trial;
}

Report trial_report(const Trial& trial) {
  const TraceSummary analytic = summarize(trial.analytic), simulated = summarize(trial.simulated);
  const TraceSummary measured = summarize(trial.measured);
  const auto row = [&](const char* name, const TraceSummary& summary, const Trace& trace, Value memory) {
    const double error = (summary.step_time - measured.step_time) / measured.step_time;
    return std::vector<Value>{name,
                              summary.step_time,
                              summary.interpreter == measured.interpreter ? Value::unknown("-") : Value::error(error),
                              summary.tokens_per_second,
                              Value::percent(compute_utilisation(trace)),
                              std::move(memory),
                              energy_of(summary)};
  };
  Table table;
  table.columns = {{"interpreter", ""},
                   {"step_time", "step time"},
                   {"error", "error"},
                   {"tokens_per_second", "tokens/s"},
                   {"utilisation", "compute at work"},
                   {"peak_memory", "memory of the fullest rank"},
                   {"energy", "energy of a step"}};
  const Bytes memory = costmodel::fullest(memory_of(trial.plan));
  table.rows.push_back(row("analytic", analytic, trial.analytic, memory));
  table.rows.push_back(row("simulated", simulated, trial.simulated, memory));
  if (!trial.afterwards.steps.empty()) {
    const Bytes of_recorded = costmodel::fullest(memory_of(trial.plan, fullest_rank(trial.measured)));
    table.rows.push_back(row("analytic, recorded loads", summarize(trial.afterwards), trial.afterwards, of_recorded));
  }
  table.rows.push_back(row("measured", measured, trial.measured, measured.peak_memory));
  Report report(trial.title);
  report.fact("strategy", "strategy", planner::short_text(trial.plan.strategy));
  const std::vector<StepRecord>& steps = trial.measured.steps;
  report.fact("first_loss", "loss of the first step", steps.front().loss)
      .fact("last_loss", fmt::format("loss of step {}", steps.size()), steps.back().loss)
      .fact("threads_per_rank", "threads of a rank", trial.measured.header.threads_per_rank);
  note_extrapolated(report, trial.analytic.header.extrapolated);
  report.note(trial.afterwards.steps.empty() ? "every expert gets the same number of tokens, as the prediction assumes"
                                             : "the model's own, untrained router decides");
  for (const std::string& note : trial.measured.header.notes) report.note(note);
  return std::move(report.table("step", "Predicted and measured", std::move(table)));
}

Report op_errors_report(const Trial& trial) {
  const Comparison comparison = compare(trial.analytic, trial.measured);
  Table table{.columns = {{"op", "op"},
                          {"pass", "pass"},
                          {"num_ops", "ops"},
                          {"predicted", "predicted"},
                          {"measured", "measured"},
                          {"error", "error"},
                          {"median_error", "median |err|"}},
              .rows = {}};
  const std::size_t num_rows = std::min(comparison.classes.size(), kMostClasses);
  for (const OpClassComparison& c : std::span(comparison.classes).first(num_rows)) {
    table.rows.push_back({name_of(c.op), name_of(c.pass), c.num_ops, c.time.predicted, c.time.measured,
                          Value::error(c.time.error()), Value::percent(c.median_error)});
  }
  Report report("Ops of the best plan, analytic against measured");
  report.table("classes", fmt::format("The {} of {} op classes that take longest", num_rows, comparison.classes.size()),
               std::move(table));
  return report;
}

}  // namespace orrery::cli
