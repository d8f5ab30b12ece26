// SPDX-License-Identifier: Apache-2.0
// orrery plan: the search, from files to a ranked table and a plan/1.
#include "base/errors.h"
#include "base/files.h"
#include "base/units_parse.h"
#include "cli/exit_code.h"
#include "cli/output_file.h"
#include "cli/plan_check.h"
#include "cli/plan_from.h"
#include "cli/plan_front.h"
#include "cli/plan_place.h"
#include "cli/plan_search.h"
#include "cli/plan_sweep.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "planner/conditions.h"
#include "planner/explain/dimensions.h"
#include "planner/on_demand.h"

#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <malloc.h>

namespace orrery::cli {
namespace {

struct PlanOptions {
  CommonOptions common;
  WorkloadOptions workload;
  std::string model, cluster, calibration, framework, strategy, check, out;
  std::optional<DType> precision;
  std::int64_t top = 5;
  bool no_simulation = false;
  std::optional<double> time_budget;
  std::vector<std::string> where;
  std::string memory_limit, sweep, deadline, horizon, objective = "time", pareto;
  std::int64_t points = 16;
  PlanFromOptions from;
  PlanPlaceOptions place;
};

/// What an option says, above 0. Throws: ConfigError, that `expected` was.
template <class Q>
Q quantity_of(std::string_view option, std::string_view expected, const std::string& text) {
  const std::optional<double> value = parse_units(text, unit_table<Q>());
  if (!value || !(*value > 0.0)) throw ConfigError(fmt::format("{}: expected {}, got {}", option, expected, text));
  return Q::from_si(*value);
}

std::optional<Bytes> memory_limit_of(const PlanOptions& options) {
  if (options.memory_limit.empty()) return std::nullopt;
  return quantity_of<Bytes>("--memory-limit", "a size with its unit, such as \"70 GiB\"", options.memory_limit);
}

Seconds time_budget_of(double stated) {
  if (std::isfinite(stated) && stated > 0.0) return seconds(stated);
  throw ConfigError(fmt::format("--time-budget: expected seconds above 0, got {}", stated));
}

PlanFromOptions from_of(const PlanOptions& options) {
  if (options.from.lost.empty()) throw ConfigError("--from: expected --lost RANKS, such as \"3,8-15\"");
  PlanFromOptions out = options.from;
  out.common = options.common;
  out.calibration = options.calibration;
  out.out = options.out;
  out.global_batch = options.workload.global_batch;
  out.where = options.where;
  out.memory_limit = planner::take_memory_limit(out.where, memory_limit_of(options));
  if (!options.horizon.empty()) {
    out.horizon = quantity_of<Seconds>("--horizon", "a time with its unit, such as \"1 h\"", options.horizon);
  }
  return out;
}

PlanPlaceOptions place_of(const PlanOptions& options) {
  PlanPlaceOptions out = options.place;
  out.common = options.common;
  out.calibration = options.calibration;
  out.out = options.out;
  if (options.workload.load != WorkloadOptions().load) out.load = options.workload.load;
  return out;
}

SweepOptions sweep_of(const PlanOptions& options) {
  if (options.out.empty()) throw ConfigError("--sweep: expected --out FILE for its results, as JSON Lines");
  SweepOptions out{.inputs = options.common.inputs,
                   .sweep = options.sweep,
                   .out = options.out,
                   .calibration = options.calibration,
                   .load = options.workload.load,
                   .framework = options.framework,
                   .precision = options.precision,
                   .json = options.common.json};
  if (!options.deadline.empty()) {
    out.deadline = quantity_of<Seconds>("--deadline", "a time with its unit, such as \"20 s\"", options.deadline);
  }
  return out;
}

/// Says on stderr what of a stated strategy is searched all the same.
void note_searched(const Strategy& stated) {
  std::set<std::string_view> kept = {"stages", "recompute", "sp"};  // tried beside others, or goes with tp
  planner::Domains domains;
  planner::visit_on_demand(domains, [&](std::string_view name, const auto&, auto, const auto&) { kept.insert(name); });
  Strategy unsaid;
  unsaid.stages = stated.stages;
  const planner::StrategyMix mix(unsaid, stated);
  std::vector<std::string> searched;
  for (const planner::StrategyDimension* dimension : mix.dimensions()) {
    if (kept.contains(dimension->name)) continue;
    searched.push_back(fmt::format("{} {}", dimension->name, dimension->text(stated)));
  }
  if (searched.empty()) return;
  log_info(fmt::format("--strategy: {} {} searched, whatever it states: conditions (--where) keep a value",
                       fmt::join(searched, ", "), searched.size() == 1 ? "is" : "are"));
}

/// Interpreters take and give back the memory of whole programs, one run after the other: let it stay with the process.
void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

int make_plan(const PlanOptions& options) {
  keep_freed_memory();
  require_place_for(options.out);
  require_place_for(options.place.placement);
  if (!options.sweep.empty()) return sweep_plans(sweep_of(options));
  if (!options.from.from.empty()) return plan_from(from_of(options));
  if (!options.place.plan.empty()) return place_experts(place_of(options));
  if (options.model.empty() || options.cluster.empty()) {
    throw ConfigError("expected a model and a cluster, or --sweep FILE with many of them", "orrery plan --help");
  }
  if (options.workload.sequence == 0 || options.workload.global_batch == 0) {
    throw ConfigError("expected --sequence and --global-batch, the work of one step", "orrery plan --help");
  }
  Loaded<costmodel::Calibration> calibration;
  Plan base =
      plan_to_search(options.common.inputs,
                     {.model = options.model,
                      .cluster = options.cluster,
                      .calibration = options.calibration,
                      .batch = {.seq = options.workload.sequence, .global_batch = options.workload.global_batch},
                      .load = options.workload.load,
                      .sequences = options.workload.sequences,
                      .framework = options.framework},
                     options.check.empty() ? &calibration : nullptr);
  if (!options.strategy.empty()) base.strategy = read_strategy(options.strategy, base.model);
  if (!options.check.empty()) {
    return check_strategy(std::move(base), options.check, options.common.inputs.catalog, options.common.json);
  }
  if (!options.strategy.empty()) note_searched(base.strategy);
  if (options.precision) base.strategy.precision = *options.precision;

  SearchWishes wishes{.simulate = !options.no_simulation, .conditions = options.where};
  if (options.time_budget) wishes.time_budget = time_budget_of(*options.time_budget);
  wishes.memory_limit = planner::take_memory_limit(wishes.conditions, memory_limit_of(options));
  note_limit(wishes.memory_limit, base.cluster.groups.front().device);
  wishes.objective = planner::objective_of(options.objective);
  if (!options.pareto.empty()) {
    return print_front(base, calibration, wishes, options.pareto, options.points, options.common.inputs.catalog,
                       options.common.json);
  }
  const auto found = search_plans(base, calibration, wishes);
  if (const auto* infeasible = std::get_if<planner::Infeasible>(&found)) {
    return report_infeasible(Searcher(base, calibration, wishes).blame_wishes(*infeasible), options.common.json);
  }
  const auto& result = std::get<planner::SearchResult>(found);
  const Plan best = plan_of(base, result.ranked.front(), result, calibration.value, options.common.inputs.catalog);
  if (!options.out.empty()) write_file_atomically(options.out, to_json(best));
  Report report = plan_report(best, result, options.top, calibration.value, options.common.inputs.catalog);
  add_objective(report, best, result.ranked.front(), wishes.objective, calibration.value);
  print(report, options.common.json);
  return kSuccess;
}

void add_from_options(CLI::App& command, PlanFromOptions& options, std::string& horizon_text) {
  CLI::Option* from =
      command.add_option("--from", options.from, "plan/1 whose devices are gone in part: plans for the rest");
  const auto goes_with = [&](CLI::Option* option) { option->needs(from); };
  goes_with(command.add_option("--lost", options.lost, "its ranks on the devices that are gone, such as 3,8-15"));
  goes_with(command.add_flag("--full", options.whole_space, "search the whole space, not only near that plan"));
  goes_with(command
                .add_option("--worlds", options.num_worlds,
                            "numbers of devices that are searched: the largest that the rules allow")
                ->capture_default_str()
                ->check(CLI::Range(1, 64)));
  CLI::Option* steps = command
                           .add_option("--steps-left", options.steps_left,
                                       "steps that are to come, to weigh a move against faster steps")
                           ->check(CLI::PositiveNumber);
  goes_with(steps);
  CLI::Option* horizon =
      command.add_option("--horizon", horizon_text, "time that is to come instead, such as \"8 h\" (default: 1 h)");
  goes_with(horizon);
  steps->excludes(horizon);
  for (const char* of_new :
       {"model", "cluster", "--check", "--sweep", "--strategy", "--precision", "--sequence", "--load", "--sequences",
        "--time-budget", "--top", "--no-simulation", "--objective", "--pareto"}) {
    from->excludes(command.get_option(of_new));
  }
}

void add_place_options(CLI::App& command, PlanPlaceOptions& options) {
  CLI::Option* place = command.add_option(
      "--place-experts", options.plan, "plan/1: search nothing, say which ranks shall hold which experts under --load");
  command
      .add_option("--redundant-experts", options.num_copies,
                  "copies of experts in each layer beyond one of each; a multiple of EP")
      ->capture_default_str()
      ->check(CLI::Range(0, 65536))
      ->needs(place);
  command.add_option("--placement", options.placement, "write where experts go to this file (placement/1)")
      ->needs(place);
  for (const char* of_search : {"model", "cluster", "--check", "--sweep", "--strategy", "--precision", "--sequence",
                                "--global-batch", "--sequences", "--time-budget", "--top", "--no-simulation",
                                "--objective", "--pareto", "--where", "--memory-limit", "--from"}) {
    place->excludes(command.get_option(of_search));
  }
}

}  // namespace

Verb add_plan(CLI::App& app) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command = app.add_subcommand("plan", "finds the fastest split of a model over a cluster");
  command->add_option("model", options->model, "config.json, or its name in the catalog");
  command->add_option("cluster", options->cluster, "cluster/1, or its name in the catalog");
  add_workload_options(*command, options->workload, true);
  CLI::Option* check = command->add_option("--check", options->check,
                                           "strategy/1: search nothing, say which rules it breaks and if it fits");
  command->add_option("--calibration", options->calibration,
                      "calibration/1, or its name; else the catalog's for these devices");
  add_framework_option(*command, options->framework);
  command->add_option("--strategy", options->strategy,
                      "strategy/1 with what is not searched; the stages that it lists are tried as well");
  add_precision_option(*command, options->precision, "the strategy's; without one bf16, on CPUs f32");
  command->add_option("--out", options->out, "write the best plan to this file (plan/1)");
  command->add_option("--top", options->top, "plans in the table")->capture_default_str()->check(CLI::Range(1, 32));
  command->add_option("--time-budget", options->time_budget,
                      "seconds after which no new plans are looked at; the gap says what that costs");
  command->add_option("--where", options->where,
                      "condition on the plan, such as \"pp=8\", \"tp at most 4\", \"schedule=zb_h1,zbv\", "
                      "\"recompute!=full\" or \"memory<=70 GiB\"; may be given several times");
  command->add_option("--memory-limit", options->memory_limit,
                      "what a device may hold, such as \"70 GiB\"; else all that it has");
  command
      ->add_option("--objective", options->objective,
                   "what is made least: time, energy, cost, carbon or memory of a step")
      ->capture_default_str();
  CLI::Option* pareto = command->add_option(
      "--pareto", options->pareto, "two objectives, such as time,memory: the plans that no other beats in both");
  command->add_option("--points", options->points, "of them at most")
      ->capture_default_str()
      ->check(CLI::Range(2, 256))
      ->needs(pareto);
  command->add_flag("--no-simulation", options->no_simulation, "rank by the analytic interpreter alone");
  for (const char* of_search : {"--calibration", "--strategy", "--precision", "--out", "--top", "--time-budget",
                                "--where", "--memory-limit", "--no-simulation", "--objective", "--pareto"}) {
    check->excludes(command->get_option(of_search));
  }
  for (const char* of_one_plan : {"--out", "--top", "--time-budget", "--objective"}) {
    pareto->excludes(command->get_option(of_one_plan));
  }
  CLI::Option* sweep =
      command->add_option("--sweep", options->sweep,
                          "sweep/1: searches a grid of models, clusters and batches; results go to --out, and a "
                          "sweep that was cut off goes on");
  command->add_option("--deadline", options->deadline, "of a step, such as \"20 s\": what of a sweep keeps it")
      ->needs(sweep);
  for (const char* of_one : {"model", "cluster", "--check", "--strategy", "--sequence", "--global-batch", "--sequences",
                             "--time-budget", "--where", "--memory-limit", "--top", "--objective", "--pareto"}) {
    sweep->excludes(command->get_option(of_one));
  }
  add_from_options(*command, options->from, options->horizon);
  add_place_options(*command, options->place);
  add_model_options(*command, options->common.inputs);
  add_cluster_options(*command, options->common.inputs);
  add_common_options(*command, options->common);
  return {command, [options] { return make_plan(*options); }};
}

}  // namespace orrery::cli
