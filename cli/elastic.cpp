// SPDX-License-Identifier: Apache-2.0
#include "cli/elastic.h"

#include <chrono>
#include <set>
#include <utility>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

class ElasticLoop {
 public:
  ElasticLoop(Plan plan, std::optional<executor::StartPoint> start, const ElasticLimits& limits, ElasticWorld& world)
      : limits_(limits), world_(world), start_(std::move(start)) {
    result_.plan = std::move(plan);
  }

  ElasticResult run() {
    while (true) {
      Attempt attempt = world_.train(result_.plan, start_, num_restarts());
      const std::int64_t failed_step = first_step() + static_cast<std::int64_t>(attempt.steps.size());
      keep(attempt);
      if (auto* trace = std::get_if<Trace>(&attempt.outcome)) {
        result_.outcome = std::move(*trace);
        break;
      }
      const auto& failure = std::get<Failure>(attempt.outcome);
      world_.tell(failure.text);
      if (std::optional<GaveUp> end = restart(failure, failed_step)) {
        result_.outcome = std::move(*end);
        break;
      }
    }
    return std::move(result_);
  }

 private:
  std::int64_t num_restarts() const { return static_cast<std::int64_t>(result_.restarts.size()); }
  std::int64_t first_step() const { return start_ ? start_->step : 0; }

  /// Steps behind the checkpoint were trained in vain.
  void keep(const Attempt& attempt) {
    std::erase_if(result_.steps, [this](const StepRecord& step) { return step.step >= first_step(); });
    result_.steps.insert(result_.steps.end(), attempt.steps.begin(), attempt.steps.end());
    if (result_.restarts.empty()) return;
    result_.restarts.back().load = attempt.load;
    result_.restarts.back().first_step = attempt.first_step;
  }

  /// Makes ready for the next try, or says why there is none.
  std::optional<GaveUp> restart(const Failure& failure, std::int64_t failed_step) {
    const bool is_lost = !failure.lost.empty();
    const Plan& old = result_.plan;
    const std::int64_t num_left = old.num_ranks() - static_cast<std::int64_t>(failure.lost.size());
    if (!is_lost && !errors_.insert(failed_step).second) {
      return GaveUp{
          fmt::format("step {} ends in an error again, and no rank was lost: another plan would not help", failed_step),
          {}};
    }
    if (num_left == 0) return GaveUp{"no rank is left", {}};
    if (num_restarts() == limits_.max_restarts) {
      return GaveUp{fmt::format("{} restarts are all that --max-restarts allows", limits_.max_restarts), {}};
    }
    Restart next{.failed_step = failed_step,
                 .num_left = num_left,
                 .num_devices = num_left,
                 .detect = failure.detect,
                 .stop = failure.stop};
    for (const RankId rank : failure.lost) next.lost.push_back(old.device_of(rank));
    if (is_lost) {
      const auto begin = std::chrono::steady_clock::now();
      auto planned = world_.replan(old, failure.lost, std::max<std::int64_t>(limits_.num_steps - failed_step, 1));
      next.replan = seconds(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
      if (auto* infeasible = std::get_if<planner::Infeasible>(&planned)) {
        return GaveUp{"there is no plan for what is left", std::move(*infeasible)};
      }
      result_.plan = std::move(std::get<Plan>(planned));
      next.num_devices = result_.plan.num_ranks();
    }
    start_ = world_.last_checkpoint(result_.plan);
    next.start = start_;
    result_.restarts.push_back(next);
    world_.on_restart(next, result_.plan);
    return std::nullopt;
  }

  const ElasticLimits limits_;
  ElasticWorld& world_;
  std::optional<executor::StartPoint> start_;
  std::set<std::int64_t> errors_;  // steps that have ended in one
  ElasticResult result_;
};

}  // namespace

ElasticResult train_elastically(Plan plan, std::optional<executor::StartPoint> start, const ElasticLimits& limits,
                                ElasticWorld& world) {
  return ElasticLoop(std::move(plan), std::move(start), limits, world).run();
}

}  // namespace orrery::cli
