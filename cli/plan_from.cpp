// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_from.h"

#include "base/files.h"
#include "base/units_format.h"
#include "cli/cluster_check.h"
#include "cli/exit_code.h"
#include "cli/intervals.h"
#include "cli/number_list.h"
#include "cli/plan_search.h"
#include "cli/prediction.h"
#include "cli/progress.h"
#include "cli/step_report.h"
#include "planner/strategy_text.h"
#include "program/mesh.h"

#include <string_view>
#include <utility>
#include <variant>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

using planner::ReplanOption;
using planner::StateBytes;

std::vector<RankId> ranks_of(std::string_view text, std::int64_t num_ranks) {
  std::vector<RankId> ranks;
  for (const std::int64_t rank : number_list(text, num_ranks, "--lost: ranks")) {
    ranks.emplace_back(static_cast<std::int32_t>(rank));
  }
  return ranks;
}

Seconds step_time(const ReplanOption& option) { return option.plan.predictions.back().step_time; }

void add_bytes(Report& report, const std::string& key, const std::string& label, const StateBytes& state) {
  report.fact(key, label, state.total())
      .fact(key + "_weights", "of it weights", state.weights)
      .fact(key + "_masters", "master copies", state.masters)
      .fact(key + "_moments", "moments", state.moments);
}

/// With the intervals of what was predicted, for machines.
Table table_of(const planner::Replanned& result, const Intervals& intervals) {
  Table table;
  std::vector<std::optional<Interval80<Seconds>>> steps;
  std::vector<std::optional<Interval80<Bytes>>> memories;
  table.columns = {{"rank", "#"},
                   {"kind", "what"},
                   {"devices", "devices"},
                   {"idle", "idle"},
                   {"tp", "tp"},
                   {"pp", "pp"},
                   {"ep", "ep"},
                   {"dp", "dp"},
                   {"micro_batch", "mb"},
                   {"schedule", "schedule"},
                   {"recompute", "recompute"},
                   {"memory", "memory"},
                   {"step_time", "step"},
                   {"received", "moved"},
                   {"busiest", "busiest rank gets"},
                   {"move_time", "move"},
                   {"total", "total"},
                   {"break_even", "#1 is ahead after steps"}};
  for (std::size_t i = 0; i < result.options.size(); ++i) {
    const ReplanOption& option = result.options[i];
    const Strategy& s = option.plan.strategy;
    const auto devices = static_cast<std::int64_t>(option.device_of_rank.size());
    const std::optional<double> ahead = i == 0 ? std::nullopt : planner::break_even(result.options.front(), option);
    Value moved = Value::unknown("-"), busiest = moved, move_time = moved;
    if (option.move) {
      const planner::RankMove& most = option.move->of_rank[option.move->busiest().index()];
      moved = option.move->received().total();
      busiest = most.inside.total() + most.outside.total();
      move_time = option.move_time;
    }
    table.rows.push_back({i + 1, option.keeps_split ? "old split" : "searched", devices, result.num_left - devices,
                          s.tp, s.pp, s.ep, Mesh(s, devices).dp(), s.micro_batch, planner::schedule_text(s),
                          planner::recompute_text(s), option.plan.predictions.back().peak_memory, step_time(option),
                          moved, busiest, move_time, option.total, ahead ? Value(*ahead) : Value::unknown("-")});
    steps.push_back(intervals.of_step(step_time(option), option.plan.extrapolated));
    memories.push_back(intervals.of_memory(option.plan.predictions.back().peak_memory, s));
  }
  add_interval_columns(table, "step_time", steps);
  add_interval_columns(table, "memory", memories);
  return table;
}

void note_idle(Report& report, const planner::Replanned& result, const Plan& plan) {
  const std::int64_t idle = result.num_left - plan.num_ranks();
  if (idle == 0) return;
  report.note(
      fmt::format("{} of the {} devices that are left stay idle: of the largest worlds that can split {} sequences by "
                  "the rules, this one comes out ahead",
                  idle, result.num_left, plan.batch.global_batch));
}

Report report_of(const Plan& plan, const planner::Replanned& result, const Intervals& intervals) {
  const ReplanOption& best = result.options.front();
  Report report("Plan for what is left");
  report.fact("model", "model", plan.model.name);
  add_workload(report, plan);
  report.fact("devices_left", "devices that are left", result.num_left)
      .fact("devices_idle", "of them idle", result.num_left - plan.num_ranks());
  add_strategy(report, plan);
  report.fact("tier", "predicted by", best.plan.predictions.back().tier);
  add_step_time(report, plan, step_time(best));
  add_interval(report, "step_time", "80 % interval,", intervals.of_step(step_time(best), best.plan.extrapolated));
  const Bytes memory = best.plan.predictions.back().peak_memory;
  add_memory(report, memory, plan.cluster.groups.front().device);
  add_interval(report, "peak_memory", "memory, 80 %", intervals.of_memory(memory, plan.strategy));
  add_bytes(report, "received", "moves between devices", best.move->received());
  add_bytes(report, "from_checkpoint", "comes from a checkpoint", best.move->from_checkpoint());
  add_bytes(report, "lost_alone", "held by lost ranks alone", result.lost_alone);
  report.fact("move_time", "time of the move, at least", best.move_time)
      .fact("steps", "steps of the horizon", result.num_steps)
      .fact("total", "move and steps", best.total);
  note_idle(report, result, plan);
  if (result.lost_alone.total() > Bytes()) {
    report.note(
        "what only lost ranks held is as old as the checkpoint: unless that is of the last step, every rank goes "
        "back to it, and all states are read");
  }
  if (result.searched_whole_space) report.note("the whole space was searched, not only what is near the old plan");
  add_model_notes(report, plan.model, plan.strategy.mtp);
  note_extrapolated(report, best.plan.extrapolated);
  if (!result.options.back().move) {
    report.note(
        "plans without a move lose whatever theirs takes: their total is that of their steps, and the steps after "
        "which #1 is ahead are at most that");
  }
  report.table("options", "Where to go", table_of(result, intervals));
  add_certificate(report, result.certificate);
  return report;
}

}  // namespace

Plan plan_of(const Plan& from, const ReplanOption& option, const planner::Replanned& result, Source calibration) {
  Plan plan = from;
  plan.calibration_source = std::move(calibration);
  plan.strategy = option.plan.strategy;
  plan.device_of_rank = option.device_of_rank;
  plan.predictions = option.plan.predictions;
  plan.certificate = result.certificate;
  plan.provenance = {.version = version(), .seed = from.provenance.seed, .command = command_line()};
  return plan;
}

int plan_from(const PlanFromOptions& options) {
  const Plan from = load_plan(options.from);
  const Loaded<costmodel::Calibration> calibration = load_calibration(options.common.inputs, options.calibration, from);
  planner::ReplanWishes wishes{.whole_space = options.whole_space,
                               .num_worlds = options.num_worlds,
                               .conditions = options.where,
                               .memory_limit = options.memory_limit};
  if (options.steps_left) wishes.horizon = *options.steps_left;
  if (options.horizon) wishes.horizon = *options.horizon;
  note_limit(options.memory_limit, from.cluster.groups.front().device);
  BatchShape batch = from.batch;
  if (options.global_batch > 0) batch.global_batch = options.global_batch;
  ProgressLine progress;
  const auto outcome = planner::replan(
      from, ranks_of(options.lost, from.num_ranks()), batch, cost_model_of(from, calibration.value), wishes,
      [&](const planner::Progress& p) { progress.update(p.tier, p.done, p.total, detail_of(p)); });
  if (const auto* infeasible = std::get_if<planner::Infeasible>(&outcome)) {
    return report_infeasible(*infeasible, options.common.json);
  }
  const auto& result = std::get<planner::Replanned>(outcome);
  Plan plan = plan_of(from, result.options.front(), result, calibration.source);
  plan.batch = batch;
  set_intervals(plan, result.options.front().plan.extrapolated, calibration.value, options.common.inputs.catalog);
  if (!options.out.empty()) write_file_atomically(options.out, to_json(plan));
  const Intervals intervals(plan, calibration.value, options.common.inputs.catalog);
  print(report_of(plan, result, intervals), options.common.json);
  return kSuccess;
}

}  // namespace orrery::cli
