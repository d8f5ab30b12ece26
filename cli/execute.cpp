// SPDX-License-Identifier: Apache-2.0
// orrery execute: trains for a few steps on CPU ranks, of this machine or of several, and says what that took.
#include "base/errors.h"
#include "base/files.h"
#include "cli/elastic_execution.h"
#include "cli/execution.h"
#include "cli/execution_checks.h"
#include "cli/exit_code.h"
#include "cli/job.h"
#include "cli/plan_search.h"
#include "cli/prediction.h"
#include "cli/step_report.h"
#include "cli/trace_files.h"
#include "cli/verbs.h"
#include "executor/checkpoint/checkpoint.h"
#include "executor/checkpoint/folder_lock.h"
#include "executor/meter/step_lines.h"
#include "executor/runtime/execution.h"
#include "executor/runtime/reproducible.h"
#include "executor/runtime/routing_file.h"
#include "executor/runtime/step_metrics.h"
#include "sim/memory_need.h"
#include "traces/summary.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <variant>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace orrery::cli {
namespace {

struct ExecuteOptions {
  CommonOptions common;
  std::string plan;
  TraceOptions trace;
  JobFlags job;
  ElasticFlags elastic;
  executor::TrainingSettings settings{.num_steps = 10};
  bool resume = false;
  bool reproducible = false;
  double time_out_seconds = 120.0;
};

std::chrono::milliseconds time_out_of(const ExecuteOptions& options) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(options.time_out_seconds * 1e3));
}

void report_execution(const ExecuteOptions& options, const Trace& trace, const Report& report) {
  write_trace_files(options.trace, trace);
  print(report, options.common.json);
}

/// What this machine has for the ranks that it starts.
void check_before_start(const Plan& plan, const StepProgram& program, const executor::Job* job) {
  const LocalRanks local = job == nullptr ? LocalRanks{.first = 0, .count = program.mesh.world()}
                                          : LocalRanks{.first = job->first_rank(), .count = job->num_local()};
  check_memory(memory_of_ranks(program, plan.load, local), sim::memory_available(), local.count);
  const std::int64_t on_host = job == nullptr ? local.count : job->num_ranks_on_host();
  const std::string note = note_of_shared_cores(on_host, std::max(1U, std::thread::hardware_concurrency()));
  if (!note.empty() && (job == nullptr || job->is_first())) fmt::print(stderr, "orrery: execute: {}\n", note);
}

/// A run that has been looked at and may start.
struct Run {
  Plan plan;
  StepProgram program;
  executor::TrainingSettings settings;
  std::optional<executor::StartPoint> start;                  // none: from the first step
  std::optional<Loaded<costmodel::Calibration>> calibration;  // with --elastic
  std::optional<executor::FolderLock> lock;                   // on the folder of checkpoints, at process 0

  std::int64_t first_step() const { return start ? start->step : 0; }
};

/// Looks at all that the options name, and changes nothing but the lock. Throws: ConfigError, BackendError.
Run look_at(const ExecuteOptions& options, bool is_first) {
  Plan plan = read_plan(options.plan);
  if (options.reproducible) plan = executor::reproducible(std::move(plan));
  StepProgram program = lower(plan);
  Run run{.plan = std::move(plan),
          .program = std::move(program),
          .settings = options.settings,
          .start = {},
          .calibration = {},
          .lock = {}};
  executor::TrainingSettings& settings = run.settings;
  settings.time_out = time_out_of(options);
  check_executable(options.plan, run.plan, run.program);
  if (options.elastic.on)
    run.calibration = load_calibration(options.common.inputs, options.elastic.calibration, run.plan);
  if (is_first) check_trace_files(options.trace);
  // What another run saves there now is not looked at, nor what it has not saved yet taken for a leftover.
  if (is_first && std::filesystem::is_directory(settings.checkpoint)) run.lock.emplace(settings.checkpoint);
  run.start = executor::checkpoint_to_start_from(run.plan, run.program, settings, options.resume);
  if (run.first_step() >= settings.num_steps) return run;
  if (run.start) {
    settings.resume_from = run.start->path.string();
  } else if (!settings.init_from.empty()) {
    for (const std::string& departure : executor::check_init_from(run.plan, run.program, settings)) {
      fmt::print(stderr, "orrery: execute: {}: {}\n", settings.init_from, departure);
    }
  }
  if (!settings.replay_routing.empty()) {
    executor::check_routing(settings.replay_routing, run.program, run.first_step(), settings.num_steps);
  }
  check_corpus(run.program, settings);
  return run;
}

/// The same, and when the user's input is wrong the job is told: process 0 would wait for this process.
Run look_at_or_refuse(const ExecuteOptions& options) {
  try {
    return look_at(options, is_first_process(options.job));
  } catch (const ConfigError& error) {
    refuse_job(options.job, error.what(), time_out_of(options));
    throw;
  }
}

/// Makes room for what process 0 writes.
void start_files(const ExecuteOptions& options, Run& run) {
  const executor::TrainingSettings& settings = run.settings;
  if (!settings.checkpoint.empty()) {
    if (!run.lock) run.lock.emplace(settings.checkpoint);
    executor::remove_incomplete(settings.checkpoint);
  }
  if (!settings.record_routing.empty()) executor::start_routing(settings.record_routing, run.program);
  if (!settings.metrics_file.empty()) {
    executor::start_metrics_file(settings.metrics_file, run.program,
                                 options.resume ? executor::RunStart::resumed : executor::RunStart::anew);
  }
  if (!settings.metrics_lines.empty()) executor::start_step_lines(settings.metrics_lines, run.first_step());
}

/// Requires: files to be written have been started.
int execute_until_done(const ExecuteOptions& options, const Run& run) {
  const ElasticResult result = execute_elastically(run.plan, run.start, run.settings, options.elastic, *run.calibration,
                                                   options.plan, is_wanted(options.trace));
  if (const auto* end = std::get_if<GaveUp>(&result.outcome)) {
    fmt::print(stderr, "orrery: execute: gives up: {}\n", end->why);
    return end->infeasible ? report_infeasible(*end->infeasible, options.common.json) : kBackend;
  }
  const auto& trace = std::get<Trace>(result.outcome);
  Report report = execution_report(result.plan, trace, result.steps);
  add_restarts(report, result);
  report_execution(options, trace, report);
  return kSuccess;
}

int execute(const ExecuteOptions& options) {
  if (options.elastic.on && is_shared(options.job)) {
    throw ConfigError("--elastic: expected all ranks on this host, got a job of several processes",
                      "after a failure: orrery plan --from PLAN --lost RANKS, then execute --resume under its plan");
  }
  Run run = look_at_or_refuse(options);
  if (run.first_step() >= run.settings.num_steps) {
    fmt::print(stderr, "orrery: execute: {} has {} steps already: nothing to train\n", run.settings.checkpoint,
               run.first_step());
    return kSuccess;
  }
  const std::unique_ptr<executor::Job> job =
      join_job(options.job, run.program, run.settings, run.first_step(), options.plan);
  check_before_start(run.plan, run.program, job.get());
  const bool is_first = !job || job->is_first();
  if (is_first) start_files(options, run);
  if (options.elastic.on) return execute_until_done(options, run);
  const Trace trace = execute_plan(run.plan, run.settings, options.plan, is_wanted(options.trace), job.get());
  if (is_first) report_execution(options, trace, execution_report(run.plan, trace, trace.steps));
  if (job) job->finish();
  return kSuccess;
}

}  // namespace

Verb add_execute(CLI::App& app) {
  auto options = std::make_shared<ExecuteOptions>();
  CLI::App* command =
      app.add_subcommand("execute", "trains for a few steps on CPU ranks, of this machine or of several hosts");
  command->add_option("plan", options->plan, "plan/1, from orrery plan")->required();
  command->add_option("--steps", options->settings.num_steps, "steps to train")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  command->add_option("--corpus", options->settings.corpus, "text to train on, bytes are tokens (default: synthetic)");
  command->add_option("--seed", options->settings.seed, "of the weights and the synthetic corpus")
      ->capture_default_str();
  command->add_option("--init-from", options->settings.init_from,
                      "Hugging Face folder (config.json, safetensors) with the first weights (default: random ones)");
  CLI::Option* checkpoint = command->add_option("--checkpoint", options->settings.checkpoint,
                                                "folder to save weights and optimizer in, in steps of --every");
  command->add_option("--every", options->settings.checkpoint_every, "steps between checkpoints; 0: after the last one")
      ->capture_default_str()
      ->check(CLI::Range(0, 1'000'000))
      ->needs(checkpoint);
  command
      ->add_flag("--resume", options->resume,
                 "go on from the last complete checkpoint in that folder; --steps counts its steps, too")
      ->needs(checkpoint);
  command
      ->add_option("--time-out", options->time_out_seconds,
                   "seconds after which a rank that does nothing new ends the run; it gets 5 s more to end by itself")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 1e6));
  command->add_option(
      "--metrics-textfile", options->settings.metrics_file,
      "file for the textfile collector of Prometheus, renewed after each step; with --resume its counters go on");
  command->add_option("--metrics-jsonl", options->settings.metrics_lines,
                      "file to write a line of JSON in after each step; with --resume behind the steps before");
  command->add_option("--record-routing", options->settings.record_routing,
                      "folder to write the experts of every token in, a file for each step (routing/1)");
  CLI::Option* replay =
      command->add_option("--replay-routing", options->settings.replay_routing,
                          "folder that a run has recorded, under any plan: tokens go to the experts that they went to");
  CLI::Option* balanced = command
                              ->add_flag("--balanced-routing", options->settings.balanced_routing,
                                         "every expert gets the same number of tokens, whatever the router says")
                              ->excludes(replay);
  command
      ->add_flag(
          "--reproducible", options->reproducible,
          "adds gradients up in whole numbers, sequence by sequence: ranks, micro-batches and restarts change no bit "
          "of the result, for 8 bytes a gradient")
      ->excludes(balanced);
  add_job_options(*command, options->job);
  add_elastic_options(*command, options->elastic);
  add_trace_options(*command, options->trace);
  add_common_options(*command, options->common);
  return {command, [options] { return execute(*options); }};
}

}  // namespace orrery::cli
