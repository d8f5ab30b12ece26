// SPDX-License-Identifier: Apache-2.0
#include "cli/elastic_execution.h"

#include "base/files.h"
#include "base/units_format.h"
#include "cli/execution.h"
#include "cli/plan_from.h"
#include "cli/prediction.h"
#include "executor/checkpoint/checkpoint.h"
#include "executor/launch/ranks_failed.h"
#include "executor/meter/step_lines.h"
#include "executor/runtime/cpu_interpreter.h"
#include "executor/runtime/routing_file.h"
#include "executor/runtime/step_metrics.h"
#include "planner/replan/replan.h"
#include "planner/strategy_text.h"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::cli {
namespace {

constexpr const char* kPlanFile = "plan.elastic.json";  // in the folder of the checkpoints

Seconds between(executor::Instant from, executor::Instant to) {
  return seconds(std::chrono::duration<double>(to - from).count());
}

std::vector<std::int32_t> numbers_of(const std::vector<DeviceIndex>& devices) {
  std::vector<std::int32_t> numbers;
  for (const DeviceIndex device : devices) numbers.push_back(device.value());
  return numbers;
}

class CpuWorld final : public ElasticWorld {
 public:
  CpuWorld(executor::TrainingSettings settings, const ElasticFlags& flags, Loaded<costmodel::Calibration> calibration,
           std::string plan_name, bool complete)
      : settings_(std::move(settings)),
        flags_(flags),
        calibration_(std::move(calibration)),
        plan_name_(std::move(plan_name)),
        complete_(complete) {}

  Attempt train(const Plan& plan, const std::optional<executor::StartPoint>& start, std::int64_t restarts) override {
    executor::TrainingSettings settings = settings_;
    settings.resume_from = start ? start->path.string() : "";
    if (restarts > 0 && !settings.metrics_file.empty()) {
      executor::start_metrics_file(settings.metrics_file, lower(plan), executor::RunStart::restarted);
    }
    if (restarts > 0 && !settings.metrics_lines.empty()) {
      executor::start_step_lines(settings.metrics_lines, start ? start->step : 0);
    }
    executor::RunLog log;
    log.on_first_step([&] {
      if (restarts == 0) return;
      tell(fmt::format("restart {}: loaded in {}, the first step took {} more", restarts,
                       between(log.started(), *log.loaded()), between(*log.loaded(), *log.first_step())));
    });
    Attempt attempt;
    try {
      attempt.outcome = execute_plan(plan, settings, plan_name_, complete_, nullptr, &log);
    } catch (const executor::RanksFailed& failed) {
      const executor::FailureTimes& times = failed.times();
      Failure failure{.text = failed.what(),
                      .lost = {},
                      .detect = between(times.last_sign, times.noticed),
                      .stop = between(times.noticed, times.ended)};
      for (const int rank : failed.lost()) failure.lost.emplace_back(rank);
      attempt.outcome = std::move(failure);
    }
    attempt.steps = log.steps();
    if (log.loaded()) attempt.load = between(log.started(), *log.loaded());
    if (log.first_step()) attempt.first_step = between(*log.loaded(), *log.first_step());
    return attempt;
  }

  std::optional<executor::StartPoint> last_checkpoint(const Plan& plan) override {
    if (!std::filesystem::exists(settings_.checkpoint)) return std::nullopt;
    auto last = executor::checkpoint_to_start_from(plan, lower(plan), settings_, /*resume=*/true);
    executor::remove_incomplete(settings_.checkpoint);  // what the ranks that failed have left
    return last;
  }

  std::variant<Plan, planner::Infeasible> replan(const Plan& from, const std::vector<RankId>& lost,
                                                 std::int64_t steps_left) override {
    const planner::ReplanWishes wishes{.horizon = steps_left, .conditions = flags_.where};
    auto outcome = planner::replan(from, lost, from.batch, cost_model_of(from, calibration_.value), wishes);
    if (auto* infeasible = std::get_if<planner::Infeasible>(&outcome)) return std::move(*infeasible);
    const auto& result = std::get<planner::Replanned>(outcome);
    std::string why_not;
    for (const planner::ReplanOption& option : result.options) {
      Plan plan = plan_of(from, option, result, calibration_.source);
      const executor::CpuInterpreter interpreter(plan, "", {});
      const std::vector<Unsupported> reasons = interpreter.unsupported(lower(plan));
      if (reasons.empty()) return plan;
      if (why_not.empty()) why_not = reasons.front().reason;
    }
    return planner::Infeasible{.reason = "no plan for what is left runs on CPU ranks: " + why_not, .hint = ""};
  }

  void on_restart(const Restart& restart, const Plan& plan) override {
    const std::string from = restart.start ? fmt::format("goes on from {}", restart.start->path.string())
                                           : "starts again from step 0, since there is no checkpoint";
    ++num_restarts_;
    if (restart.lost.empty()) {
      tell(fmt::format("restart {} of at most {}: no rank is lost; the same plan {}", num_restarts_,
                       flags_.max_restarts, from));
      return;
    }
    tell(fmt::format("restart {} of at most {}: lost {} {}, {} left; planned anew in {} for {} of them ({}); {}",
                     num_restarts_, flags_.max_restarts, restart.lost.size() == 1 ? "device" : "devices",
                     fmt::join(numbers_of(restart.lost), ","), restart.num_left, restart.replan, restart.num_devices,
                     planner::short_text(plan.strategy), from));
    if (settings_.checkpoint.empty()) return;
    std::filesystem::create_directories(settings_.checkpoint);
    plan_name_ = (std::filesystem::path(settings_.checkpoint) / kPlanFile).string();
    write_file_atomically(plan_name_, to_json(plan));
  }

  void tell(const std::string& sentence) override { fmt::print(stderr, "orrery: execute: {}\n", sentence); }

 private:
  const executor::TrainingSettings settings_;
  const ElasticFlags& flags_;
  const Loaded<costmodel::Calibration> calibration_;
  std::string plan_name_;
  const bool complete_;
  std::int64_t num_restarts_ = 0;
};

}  // namespace

void add_elastic_options(CLI::App& command, ElasticFlags& flags) {
  CLI::Option* elastic = command.add_flag(
      "--elastic", flags.on, "when ranks die or hang: plan for what is left, and go on from the last checkpoint");
  command.add_option("--max-restarts", flags.max_restarts, "of a run with --elastic; after so many a failure is final")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000))
      ->needs(elastic);
  command
      .add_option("--calibration", flags.calibration,
                  "for plans after a restart: calibration/1, or its name (default: the plan's)")
      ->needs(elastic);
  command
      .add_option("--where", flags.where,
                  "condition on plans after a restart, such as \"pp<=2\"; may be given several times")
      ->needs(elastic);
}

ElasticResult execute_elastically(const Plan& plan, std::optional<executor::StartPoint> start,
                                  const executor::TrainingSettings& settings, const ElasticFlags& flags,
                                  const Loaded<costmodel::Calibration>& calibration, const std::string& plan_name,
                                  bool complete) {
  CpuWorld world(settings, flags, calibration, plan_name, complete);
  // What the planner lacks is said now and not in the middle of a night.
  if (plan.num_ranks() > 1) {
    const RankId last(static_cast<std::int32_t>(plan.num_ranks() - 1));
    const auto trial = world.replan(plan, {last}, settings.num_steps);
    if (const auto* infeasible = std::get_if<planner::Infeasible>(&trial)) {
      world.tell("--elastic: without one rank there will be no plan: " + infeasible->reason);
    }
  }
  return train_elastically(plan, std::move(start),
                           {.num_steps = settings.num_steps, .max_restarts = flags.max_restarts}, world);
}

void add_restarts(Report& report, const ElasticResult& result) {
  report.fact("num_restarts", "restarts", result.restarts.size());
  if (result.restarts.empty()) return;
  Table table{.columns = {{"restart", "#"},
                          {"failed_step", "failed in step"},
                          {"lost", "lost devices"},
                          {"left", "left"},
                          {"devices", "used"},
                          {"from_step", "goes on from"},
                          {"detect", "detect"},
                          {"stop", "stop"},
                          {"replan", "re-plan"},
                          {"load", "load"},
                          {"first_step", "first step"}},
              .rows = {}};
  const auto known = [](const std::optional<Seconds>& time) { return time ? Value(*time) : Value::unknown("-"); };
  for (std::size_t i = 0; i < result.restarts.size(); ++i) {
    const Restart& r = result.restarts[i];
    const Value lost =
        r.lost.empty() ? Value::unknown("none") : Value(fmt::format("{}", fmt::join(numbers_of(r.lost), ",")));
    table.rows.push_back({i + 1, r.failed_step, lost, r.num_left, r.num_devices, r.start ? r.start->step : 0, r.detect,
                          r.stop, r.lost.empty() ? Value::unknown("-") : Value(r.replan), known(r.load),
                          known(r.first_step)});
  }
  report.table("restarts", "Restarts", std::move(table));
  report.note(
      "after a restart: plan, times and memory are those of the last plan, and so is a trace; losses are of all");
}

}  // namespace orrery::cli
