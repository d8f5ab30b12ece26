// SPDX-License-Identifier: Apache-2.0
#include "cli/calibration.h"

#include "base/errors.h"
#include "base/files.h"
#include "cli/machine.h"
#include "cli/prediction.h"
#include "cli/progress.h"
#include "costmodel/analytic_interpreter.h"
#include "costmodel/validation/time_intervals.h"
#include "executor/calibration/calibration_run.h"
#include "executor/runtime/cpu_interpreter.h"
#include "planner/strategy_text.h"
#include "program/lower.h"
#include "traces/summary.h"

#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

/// As a plan of the probe's layout is predicted; nothing where a point is missing, as of rings that nobody timed.
std::optional<Seconds> predicted_step(const executor::Probe& probe, const MachineCalibration& machine) {
  Plan plan;
  plan.model = probe.model;
  plan.cluster = machine.cluster;
  plan.batch = probe.batch;
  plan.strategy = probe.strategy;
  try {
    const costmodel::AnalyticInterpreter analytic(cost_model_of(plan, machine.calibration), plan.cluster);
    return median_step_time(
        analytic.run(lower(plan), {.load = plan.load, .sequences = plan.sequences, .steps_only = true}));
  } catch (const ConfigError&) {
    return std::nullopt;
  }
}

}  // namespace

MachineCalibration calibrate_this_machine(const Source& source, const Model& model, const BatchShape& batch,
                                          DType precision, std::int64_t num_ranks, Seconds max_time,
                                          executor::Job* job) {
  MachineCalibration machine;
  const std::int64_t num_ranks_here = job == nullptr ? num_ranks : job->num_ranks_on_host();
  machine.cluster = this_machine(num_ranks_here);
  executor::CalibrationRequest request = executor::calibration_request(source, model, batch, precision, num_ranks_here);
  request.num_ranks = num_ranks;
  request.job = job;
  request.max_time = max_time;
  request.rank_executable = executor::rank_executable_beside_this();
  ProgressLine progress;
  if (job == nullptr || job->is_first()) {
    request.on_progress = [&](std::string_view, double done) {
      progress.update("calibrate", static_cast<std::int64_t>(100.0 * done), 100);
    };
  }
  const Measurements measured = executor::calibrate_machine(request);
  if (job != nullptr && !job->is_first()) return machine;
  machine.calibration = costmodel::calibration_of(measured);
  machine.calibration.device = machine.cluster.groups.front().device;
  add_step_residuals(machine, request.probes, measured.steps);
  return machine;
}

void add_step_residuals(MachineCalibration& machine, const std::vector<executor::Probe>& probes,
                        const std::vector<StepMeasurement>& steps) {
  std::vector<costmodel::HeldOut> errors;
  for (const StepMeasurement& measured : steps) {
    const executor::Probe& probe = probes.at(measured.run);
    const std::optional<Seconds> predicted = predicted_step(probe, machine);
    if (!predicted) continue;
    const std::string run = fmt::format("{}, {} x {} tokens, {}", probe.model.name, probe.batch.global_batch,
                                        probe.batch.seq, planner::short_text(probe.strategy));
    for (const Seconds step : measured.times) {
      errors.push_back({.group = {}, .framework = {}, .cell = run, .log_ratio = std::log(step / *predicted)});
    }
    machine.calibration.step_residuals.push_back({.run = run, .predicted = *predicted, .measured = measured.times});
  }
  if (!errors.empty()) machine.calibration.interval = costmodel::interval_of_few(errors);
}

Report calibration_report(const MachineCalibration& machine) {
  const costmodel::Calibration& measured = machine.calibration;
  Report report("Calibration");
  report.fact("device", "device", machine.cluster.groups.front().device.name)
      .fact("active_ranks", "ranks, busy at the same time", measured.conditions.active_ranks)
      .fact("threads_per_rank", "threads of a rank", measured.conditions.threads_per_rank.value_or(0))
      .fact("software", "software", measured.software)
      .fact("points", "measured ops", measured.points.size())
      .fact("collectives", "measured collectives", measured.collectives.size());
  if (measured.interval) {
    report.fact("step_residuals", "runs that were measured once more", measured.step_residuals.size())
        .fact("interval_low", "80 % of their steps over predicted, from", measured.interval->low)
        .fact("interval_high", "80 % of their steps over predicted, to", measured.interval->high);
  }
  return report;
}

void write_calibration(const MachineCalibration& machine, const std::filesystem::path& calibration,
                       const std::filesystem::path& cluster) {
  write_file_atomically(calibration.string(), costmodel::to_json(machine.calibration));
  write_file_atomically(cluster.string(), to_json(machine.cluster));
}

}  // namespace orrery::cli
