// SPDX-License-Identifier: Apache-2.0
// orrery estimate and orrery simulate: the two interpreters that predict, on the same plan.
#include "base/errors.h"
#include "base/units_format.h"
#include "cli/cluster_check.h"
#include "cli/exit_code.h"
#include "cli/hashed_paths.h"
#include "cli/intervals.h"
#include "cli/prediction.h"
#include "cli/progress.h"
#include "cli/shared_fabric.h"
#include "cli/simulation_report.h"
#include "cli/step_report.h"
#include "cli/trace_files.h"
#include "cli/verbs.h"
#include "costmodel/analytic_interpreter.h"
#include "costmodel/exchange_multiprocessors.h"
#include "costmodel/memory.h"
#include "program/disturbances.h"
#include "program/lower_order.h"
#include "program/mesh.h"
#include "program/rank_devices.h"
#include "sim/bound_check.h"
#include "sim/flow_plan.h"
#include "sim/memory_need.h"
#include "sim/worker_interpreter.h"
#include "traces/summary.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace orrery::cli {
namespace {

struct PredictOptions {
  CommonOptions common;
  std::string plan, calibration, disturbances;
  TraceOptions trace;
  bool all_replicas = false;
  std::vector<std::string> fidelity;
  FabricOptions fabric;
  PathOptions paths;
};

Disturbances disturbances_of(const PredictOptions& options, const Plan& plan, bool simulated) {
  if (options.disturbances.empty()) return {};
  Disturbances disturbances = read_disturbances(options.disturbances);
  require_existing(disturbances, plan.num_ranks(), plan.cluster, options.disturbances);
  if (disturbances.on_links() && !simulated) {
    throw ConfigError(
        fmt::format("{}: expected no links and no traffic, since estimate lets every communication have its "
                    "links alone",
                    options.disturbances),
        "orrery simulate PLAN --disturbances FILE");
  }
  return disturbances;
}

/// A predicted step. Spans are many, and kept only where they are written.
struct Predicted {
  Trace trace;
  ActivityCount work;
  sim::UseOfLinks use;
  std::vector<sim::BoundedOps> bounds;
};

Predicted estimated(const PredictOptions& options, const Plan& plan, const StepProgram& program, const RunInput& input,
                    const costmodel::Calibration& calibration) {
  const costmodel::AnalyticInterpreter analytic(cost_model_of(plan, calibration), plan.cluster, plan.device_of_rank);
  Predicted step{.trace = run(analytic, program, input, options.plan), .work = {}, .use = {}, .bounds = {}};
  step.work.add(step.trace, step.trace.spans);
  return step;
}

Predicted simulated_by(sim::Simulation simulation, const PredictOptions& options, const Plan& plan,
                       const StepProgram& program, const RunInput& input) {
  Predicted step;
  sim::BoundCheck bounds(program, plan.cluster, plan.device_of_rank, input, plan.fidelity,
                         options.paths.seed.has_value());
  Spans kept;
  sim::Simulation::Result result = simulation.finish(program, [&](const Trace& record, const Spans& spans) {
    step.work.add(record, spans);
    bounds.add(record, spans);
    if (!is_wanted(options.trace)) return;
    for (std::size_t i = 0; i < spans.size(); ++i) kept.push_back(spans.at(i));
  });
  step.trace = std::move(result.trace);
  step.trace.spans = std::move(kept);
  step.trace.header.version = version();
  step.trace.header.plan = options.plan;
  step.use = std::move(result.use.value());
  step.bounds = bounds.rows();
  return step;
}

/// How much of a device a library takes for exchanges that send a token once, where anything says so.
void add_exchanges(Report& report, const Plan& plan, const costmodel::Calibration& calibration) {
  const Mesh mesh(plan.strategy, plan.num_ranks());
  const RankDevices devices(plan.strategy, plan.num_ranks(), plan.device_of_rank);
  const auto held = costmodel::held_by_exchanges(*cost_model_of(plan, calibration), plan.model, plan.strategy, mesh,
                                                 [&](RankId rank) { return devices.of(rank); });
  if (held) report.fact("exchange_multiprocessors", "multiprocessors that exchanges hold", std::llround(*held));
}

/// `simulated`: whether the interpreter is SimGrid.
int predict(const PredictOptions& options, const std::string& title, bool simulated) {
  Fidelities().set(options.fidelity);  // so that a mistake is told before the plan is read
  Plan plan = load_plan(options.plan);
  plan.fidelity.set(options.fidelity);
  const auto calibration = load_calibration(options.common.inputs, options.calibration, plan);
  std::vector<sim::OtherPlan> others = place_jobs(options.fabric, options.common.inputs, plan);
  for (sim::OtherPlan& other : others) other.plan.fidelity.set(options.fidelity);
  bool in_pairs = false;
  if (simulated && options.fidelity.empty()) {
    in_pairs = sim::prefer_pairs(plan.fidelity, plan.cluster);
    for (sim::OtherPlan& other : others) sim::prefer_pairs(other.plan.fidelity, plan.cluster);
  }
  const bool alone = others.empty(), hashed = options.paths.hashed();
  const bool raised = hashed && raise_to_pairs(plan.fidelity);
  if (hashed) std::ranges::for_each(others, [](sim::OtherPlan& other) { raise_to_pairs(other.plan.fidelity); });
  const std::vector<sim::OtherPlan> beside = options.paths.num_seeds > 0 ? others : std::vector<sim::OtherPlan>();
  const bool complete = !options.trace.trace.empty();
  const Disturbances disturbances = disturbances_of(options, plan, simulated);
  require_paths(options.paths, plan, disturbances);
  const bool unfolds = simulated && sim::need_every_rank(plan.fidelity, plan.cluster, disturbances.on_links(),
                                                         options.paths.seed.has_value());
  const RunInput input{.load = plan.load,
                       .sequences = plan.sequences,
                       .disturbances = disturbances,
                       .all_ranks = options.trace.all_ranks || !alone || unfolds,
                       .all_replicas = options.all_replicas,
                       .complete = complete};
  // The worker lowers the plan while this process does.
  std::optional<sim::Simulation> simulation;
  if (simulated) {
    sim::WorkerInterpreter simgrid(plan, calibration.path);
    simgrid.run_beside(std::move(others));
    simgrid.draw_paths(options.paths.seed);
    simulation.emplace(simgrid.start(input, true));
  }
  const StepProgram program = complete ? lower(plan) : lower_order(plan);
  if (!simulated) {  // a worker asks this itself, since it adds the jobs beside
    sim::require_memory(sim::memory_needed(program, plan.cluster, plan.device_of_rank, input, Fidelity::l0),
                        sim::memory_available());
  }
  if (simulated) {
    const Seconds needed = sim::exchange_time_needed(program, input, plan.fidelity);
    if (needed > seconds(20.0)) {
      log_info(
          fmt::format("exchanges in pairs of devices whose sizes a router decides take about {} of CPU; L2 shows "
                      "the busiest device of each node and takes little",
                      needed));
    }
  }
  const Predicted step = simulated ? simulated_by(std::move(*simulation), options, plan, program, input)
                                   : estimated(options, plan, program, input, calibration.value);
  std::vector<Seconds> on_hashed_paths;
  if (options.paths.num_seeds > 0) {
    RunInput every_rank = input;
    every_rank.all_ranks = true;
    on_hashed_paths =
        steps_on_hashed_paths(plan, calibration.path, beside, program, every_rank, options.paths.num_seeds);
  }
  write_trace_files(options.trace, step.trace, tracks_of(step.use));

  Report report(title);
  report.fact("model", "model", plan.model.name);
  add_workload(report, plan);
  add_strategy(report, plan);
  add_exchanges(report, plan, calibration.value);
  report.fact("ops", "ops of a replica", program.num_ops());
  add_prediction(report, plan, step.trace, step.work, calibration.value);
  const Bytes peak = costmodel::fullest(memory_of(plan));
  add_memory(report, peak, plan.cluster.groups.front().device);
  add_memory_interval(report, plan, peak, options.common.inputs.catalog);
  if (simulated) {
    add_bounds(report, step.bounds);
    add_links(report, step.use);
  }
  if (!on_hashed_paths.empty()) add_path_spread(report, median_step_time(step.trace), on_hashed_paths);
  for (const std::string& note : slower_than_nics(plan.cluster)) report.note(note);
  if (in_pairs) {
    report.note(
        "simulated at L2, since groups meet on cables between routers only in pairs; --fidelity L1 is faster and "
        "lets each group have them alone");
  }
  if (raised) report.note("paths are drawn for pairs: communications below L2 are simulated at L2");
  print(report, options.common.json);
  return kSuccess;
}

/// The options that both verbs have.
CLI::App* add_command(CLI::App& app, const char* name, const char* description, PredictOptions& options) {
  CLI::App* command = app.add_subcommand(name, description);
  command->add_option("plan", options.plan, "plan/1, from orrery plan")->required();
  command->add_option("--calibration", options.calibration, "another calibration than the plan's, name or path");
  command->add_option("--disturbances", options.disturbances,
                      "disturbances/1: slow ranks, noise, links that are down or slow, traffic of others");
  command->add_flag("--all-replicas", options.all_replicas,
                    "simulate each data-parallel replica for itself, with one rank for each set of equal ranks in it");
  add_trace_options(*command, options.trace);
  add_common_options(*command, options.common);
  return command;
}

}  // namespace

Verb add_estimate(CLI::App& app) {
  auto options = std::make_shared<PredictOptions>();
  CLI::App* command = add_command(app, "estimate", "predicts a step: every communication alone on its links", *options);
  return {command, [options] { return predict(*options, "Estimate", false); }};
}

Verb add_simulate(CLI::App& app) {
  auto options = std::make_shared<PredictOptions>();
  CLI::App* command = add_command(app, "simulate", "predicts a step with contention on the links (SimGrid)", *options);
  command
      ->add_option(
          "--fidelity", options->fidelity,
          "L0: communication as in estimate; L1 (default): flows between nodes; L2 (default on a torus or dragonfly): "
          "pairs of nodes; L3: pairs of devices; OP=LEVEL for one communication, such as moe.dispatch=L3; may be "
          "repeated, and goes before what the plan says")
      ->allow_extra_args(false)
      ->option_text("[OP=]LEVEL");
  add_fabric_options(*command, options->fabric);
  add_path_options(*command, options->paths);
  return {command, [options] { return predict(*options, "Simulation", true); }};
}

}  // namespace orrery::cli
