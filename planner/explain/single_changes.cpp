// SPDX-License-Identifier: Apache-2.0
#include "planner/explain/single_changes.h"

#include "base/parallel.h"
#include "planner/dials.h"
#include "planner/domains.h"
#include "planner/fit_check.h"
#include "planner/strategy_text.h"
#include "program/legality.h"
#include "program/names.h"
#include "program/rank_devices.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

constexpr std::size_t kNearest = 2;  // values of a degree on either side
constexpr std::string_view kDegrees[] = {"tp", "pp",  "vpp",         "cp",
                                         "ep", "etp", "micro_batch", "num_optimizer_instances"};
constexpr std::string_view kChoices[] = {"cp_kind",
                                         "schedule",
                                         "dispatcher",
                                         "overlap/dp_buckets",
                                         "overlap/tp",
                                         "overlap/ep_batch_level",
                                         "overlap/delayed_wgrad",
                                         "overlap/shared_expert",
                                         "cuda_graphs",
                                         "offload_optimizer",
                                         "offload_activations"};

class Changes {
 public:
  explicit Changes(const Plan& plan) : plan_(plan), checker_(plan) {}

  std::vector<SingleChange> all() {
    for (const std::string_view key : kDegrees) degree(std::string(key));
    for (const std::string_view key : kChoices) {
      for (const Choice& choice : choice_dials().at(std::string(key))) {
        Strategy changed = plan_.strategy;
        choice.choose(changed);
        const bool captures = changed.cuda_graphs && !plan_.strategy.cuda_graphs;
        if (captures && !graphs_hold_a_step(plan_.model, changed)) continue;
        add(fmt::format("{} {}", key, choice.name), std::move(changed));
      }
    }
    order();
    sharding();
    recompute();
    return std::move(found_);
  }

 private:
  /// Whether it is another plan that is legal and fits.
  bool add(std::string text, Strategy changed) {
    if (changed == plan_.strategy || !lay_stages(plan_, changed)) return false;
    const FitCheck check = checker_.check(changed, plan_.batch, plan_.num_ranks());
    if (!check.fits) return false;
    found_.push_back({std::move(text), std::move(changed), {}, check.memory});
    return true;
  }

  /// What goes with another degree because it is not legal without: sp with tp, the schedule with vpp.
  void follow(const std::string& key, Strategy& s) const {
    if (key == "tp") s.sp = s.tp > 1 && (s.sp || plan_.model.moe.has_value());
    if (key == "vpp" && s.schedule == Schedule::one_f_one_b && s.vpp > 1) s.schedule = Schedule::interleaved;
    if (key == "vpp" && s.schedule == Schedule::interleaved && s.vpp == 1) s.schedule = Schedule::one_f_one_b;
    if (key == "ep" && s.ep == 1) s.overlap.ep_batch_level = false;
  }

  void degree(const std::string& key) {
    const IntegerDial& dial = integer_dials().at(key);
    Attempt now{plan_.strategy, plan_.batch};
    const std::int64_t value = dial(now);
    const auto try_value = [&](std::int64_t other) {
      Attempt attempt = now;
      dial(attempt) = other;
      follow(key, attempt.strategy);
      return add(fmt::format("{} {} instead of {}", key, other, value), std::move(attempt.strategy));
    };
    std::size_t num_found = 0;
    for (std::int64_t other = value - 1; other >= 1 && num_found < kNearest; --other) num_found += try_value(other);
    num_found = 0;
    const std::int64_t most = std::max(16 * value, std::int64_t{64});
    for (std::int64_t other = value + 1; other <= most && num_found < kNearest; ++other) num_found += try_value(other);
  }

  void order() {
    if (!plan_.device_of_rank.empty()) return;  // which says where ranks are, whatever the order
    for (const std::string_view other : other_orders(plan_.strategy, plan_.num_ranks())) {
      Strategy changed = plan_.strategy;
      changed.order = other;
      add(fmt::format("order \"{}\"", other), std::move(changed));
    }
  }

  void sharding() {
    for (int zero = 0; zero <= 3; ++zero) {
      Strategy changed = plan_.strategy;
      changed.zero_dense = zero;
      if (plan_.model.moe) changed.zero_expert = zero;
      add(fmt::format("ZeRO {}", zero), std::move(changed));
    }
  }

  void recompute() {
    const auto everywhere = [&](const std::set<RecomputeModule>& modules, std::string_view name) {
      Strategy changed = plan_.strategy;
      for (StageLayout& stage : changed.stages) {
        stage.recompute = modules;
        stage.num_recompute_layers.reset();
      }
      add(fmt::format("recompute {} instead of {}", name, recompute_text(plan_.strategy)), std::move(changed));
    };
    everywhere({}, "none");
    for (const auto& [name, module] : kRecomputeModuleNames) everywhere({module}, name);
  }

  const Plan& plan_;
  FitChecker checker_;
  std::vector<SingleChange> found_;
};

}  // namespace

std::vector<SingleChange> single_changes(const Plan& plan, const StepTimer& timer) {
  std::vector<SingleChange> changes = Changes(plan).all();
  parallel_for(std::ssize(changes), [&](std::int64_t i, int) {
    SingleChange& change = changes[static_cast<std::size_t>(i)];
    change.time = timer.time(change.strategy);
  });
  std::stable_sort(changes.begin(), changes.end(), [](const auto& a, const auto& b) { return a.time < b.time; });
  return changes;
}

}  // namespace orrery::planner
