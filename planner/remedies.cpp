// SPDX-License-Identifier: Apache-2.0
#include "planner/remedies.h"

#include "costmodel/memory.h"
#include "planner/even_layout.h"
#include "planner/fit_check.h"
#include "planner/rough_time.h"
#include "program/legality.h"
#include "program/mesh.h"
#include "program/schedule.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::planner {
namespace {

using Modules = std::set<RecomputeModule>;

// Enough to find what fits, few enough that all pairs take milliseconds.
constexpr std::size_t kMaxChangesOfADimension = 4;

/// Which of two changes must come first, and which exclude each other: those that lay the stages anew come first, and a
/// layer is moved between stages that nothing else changes.
enum class Dimension : std::uint8_t {
  schedule,
  pp,
  layer,
  tp,
  cp,
  ep,
  zero,
  micro_batch,
  recompute,
  optimizer,
  offload
};

struct Change {
  Dimension dimension;
  std::string text;
  std::function<void(Strategy&)> apply;  // outlives who made it: it may refer to the plan only
};

bool lays_stages(Dimension d) { return d == Dimension::schedule || d == Dimension::pp || d == Dimension::layer; }

bool exclude_each_other(const Change& a, const Change& b) {
  return a.dimension == b.dimension || (lays_stages(a.dimension) && lays_stages(b.dimension));
}

/// Adds `modules` to what every stage recomputes, in all of its layers.
void recompute_too(Strategy& s, const Modules& modules) {
  for (StageLayout& stage : s.stages) {
    if (stage.recompute.contains(RecomputeModule::full)) continue;
    stage.recompute.insert(modules.begin(), modules.end());
    if (modules.contains(RecomputeModule::full)) stage.recompute = {RecomputeModule::full};
    if (stage.recompute.contains(RecomputeModule::moe)) {
      stage.recompute.erase(RecomputeModule::moe_act);
      stage.recompute.erase(RecomputeModule::shared_experts);
    }
    stage.num_recompute_layers.reset();
  }
}

/// Every change that is legal alone, in the order of the dimensions.
class Changes {
 public:
  explicit Changes(const Plan& plan) : plan_(plan), now_(plan.strategy) {}

  std::vector<Change> all() {
    schedule();
    pipeline();
    layer();
    tensor();
    context();
    experts();
    sharding();
    micro_batch();
    recompute();
    offload();
    return std::move(out_);
  }

 private:
  /// Whether it is legal, and there is room for it.
  bool add(Dimension dimension, std::string text, std::function<void(Strategy&)> apply) {
    const auto same = [&](const Change& change) { return change.dimension == dimension; };
    const auto number = static_cast<std::size_t>(std::count_if(out_.begin(), out_.end(), same));
    if (dimension != Dimension::recompute && number == kMaxChangesOfADimension) return false;
    Strategy changed = now_;
    apply(changed);
    if (changed == now_ || !violations(plan_.model, changed, plan_.batch, plan_.num_ranks()).empty()) return false;
    out_.push_back({dimension, std::move(text), std::move(apply)});
    return true;
  }

  void schedule() {
    if (now_.schedule == Schedule::one_f_one_b) return;
    add(Dimension::schedule, fmt::format("schedule 1f1b instead of {}", name_of(now_.schedule)),
        [&model = plan_.model](Strategy& s) {
          const bool same_stages = s.vpp == 1;
          s.schedule = Schedule::one_f_one_b;
          s.vpp = 1;
          if (!same_stages) lay_evenly(s, model);
        });
  }

  void pipeline() {
    const std::int64_t most = std::min(most_stages(plan_.model.num_layers()) / now_.vpp, plan_.num_ranks());
    for (std::int64_t pp = now_.pp + 1; pp <= most; ++pp) {
      if (plan_.num_ranks() % pp != 0) continue;
      add(Dimension::pp, fmt::format("pp {} instead of {}, stages even", pp, now_.pp),
          [&model = plan_.model, pp](Strategy& s) {
            s.pp = pp;
            lay_evenly(s, model);
          });
    }
  }

  void layer() {
    if (now_.pp == 1) return;
    const auto memory = costmodel::memory_per_stage(plan_.model, now_, plan_.batch, Mesh(now_, plan_.num_ranks()), {});
    const auto less = [](const auto& a, const auto& b) { return a.total() < b.total(); };
    const auto layers_of = [&](std::int64_t stage) { return now_.stages[static_cast<std::size_t>(stage)].num_layers; };
    const auto by_layers = [&](std::int64_t a, std::int64_t b) { return layers_of(a) < layers_of(b); };
    const auto stages_at = [&](auto entry) { return stages_of(now_, entry - memory.begin()); };
    const auto from_stages = stages_at(std::max_element(memory.begin(), memory.end(), less));
    const auto to_stages = stages_at(std::min_element(memory.begin(), memory.end(), less));
    const std::int64_t from = *std::max_element(from_stages.begin(), from_stages.end(), by_layers);
    const std::int64_t to = *std::min_element(to_stages.begin(), to_stages.end(), by_layers);
    if (from == to || layers_of(from) == 0) return;
    add(Dimension::layer, fmt::format("a layer of stage {} on stage {}", from, to), [from, to](Strategy& s) {
      StageLayout& less_loaded = s.stages[static_cast<std::size_t>(from)];
      --less_loaded.num_layers;
      ++s.stages[static_cast<std::size_t>(to)].num_layers;
      if (less_loaded.num_recompute_layers > less_loaded.num_layers) less_loaded.num_recompute_layers.reset();
      std::int64_t first_layer = 0;
      for (StageLayout& stage : s.stages) first_layer = (stage.first_layer = first_layer) + stage.num_layers;
    });
  }

  std::int64_t domain() const {
    const NodeGroup& group = plan_.cluster.groups.front();
    return group.devices_per_node * group.scale_up.span_nodes;
  }

  void tensor() {
    for (std::int64_t tp = now_.tp + 1; tp * now_.cp <= domain(); ++tp) {
      if (plan_.num_ranks() % tp != 0) continue;
      add(Dimension::tp, fmt::format("tp {} with sp instead of {}", tp, now_.tp), [tp](Strategy& s) {
        s.tp = tp;
        s.sp = true;
      });
    }
  }

  void context() {
    for (std::int64_t cp = now_.cp + 1; cp * now_.tp <= domain(); ++cp) {
      if (plan_.num_ranks() % cp != 0) continue;
      add(Dimension::cp, fmt::format("cp {} instead of {}", cp, now_.cp), [cp](Strategy& s) { s.cp = cp; });
    }
  }

  void experts() {
    const std::int64_t num_experts = plan_.model.moe ? plan_.model.moe->num_experts : 0;
    for (std::int64_t ep = now_.ep + 1; ep <= num_experts; ++ep) {
      if (num_experts % ep != 0 || plan_.num_ranks() % ep != 0) continue;
      add(Dimension::ep, fmt::format("ep {} instead of {}", ep, now_.ep), [ep](Strategy& s) { s.ep = ep; });
    }
  }

  void sharding() {
    for (int zero = 1; zero <= 3; ++zero) {
      if (now_.zero_dense >= zero && (!plan_.model.moe || now_.zero_expert >= zero)) continue;
      const bool moe = plan_.model.moe.has_value();
      const std::string text = moe ? fmt::format("zero_dense {0} and zero_expert {0}", zero)
                                   : fmt::format("zero_dense {} instead of {}", zero, now_.zero_dense);
      add(Dimension::zero, text, [zero, moe](Strategy& s) {
        s.zero_dense = std::max(s.zero_dense, zero);
        if (moe) s.zero_expert = std::max(s.zero_expert, zero);
      });
    }
  }

  void micro_batch() {
    for (std::int64_t size = now_.micro_batch - 1; size >= 1; --size) {
      add(Dimension::micro_batch, fmt::format("micro_batch {} instead of {}", size, now_.micro_batch),
          [size](Strategy& s) { s.micro_batch = size; });
    }
  }

  void recompute() {
    using R = RecomputeModule;
    Modules together;
    const auto try_modules = [&](const Modules& modules) {
      std::vector<std::string_view> names;
      for (const R module : modules) names.push_back(name_of(module));
      return add(Dimension::recompute, fmt::format("recompute {} in every stage", fmt::join(names, "+")),
                 [modules](Strategy& s) { recompute_too(s, modules); });
    };
    for (const R module : {R::layernorm, R::core_attn, R::moe_act, R::shared_experts, R::mla_up_proj, R::mlp}) {
      if (!try_modules({module})) continue;
      together.insert(module);
      if (together.size() > 1) try_modules(together);
    }
    if (try_modules({R::moe})) {
      together.erase(R::moe_act);
      together.erase(R::shared_experts);
      together.insert(R::moe);
      if (together.size() > 1) try_modules(together);
    }
    try_modules({R::full});
  }

  void offload() {
    if (!now_.offload_optimizer) {
      add(Dimension::optimizer, "offload_optimizer", [](Strategy& s) { s.offload_optimizer = true; });
    }
    if (!now_.offload_activations) {
      add(Dimension::offload, "offload_activations", [](Strategy& s) { s.offload_activations = true; });
    }
  }

  const Plan& plan_;
  const Strategy& now_;
  std::vector<Change> out_;
};

class Judge {
 public:
  explicit Judge(const Plan& plan) : plan_(plan), checker_(plan), time_(plan), now_(time_.step(plan.strategy)) {}

  /// Requires: a legal strategy.
  double extra_time(const Strategy& strategy) const { return time_.step(strategy) / now_ - 1.0; }

  std::optional<Remedy> judge(std::string text, Strategy strategy) const {
    const FitCheck check = checker_.check(strategy, plan_.batch, plan_.num_ranks());
    if (!check.fits) return std::nullopt;
    const double extra = extra_time(strategy);
    return Remedy{std::move(text), check.memory, extra, std::move(strategy)};
  }

 private:
  const Plan& plan_;
  FitChecker checker_;
  RoughTime time_;
  Seconds now_;
};

bool cheaper(const Remedy& a, const Remedy& b) {
  return std::pair(a.extra_time, a.memory) < std::pair(b.extra_time, b.memory);
}

std::vector<Remedy> find_singles(const Plan& plan, const std::vector<Change>& changes, const Judge& judge) {
  std::vector<Remedy> found;
  std::optional<Dimension> dimension;
  for (const Change& change : changes) {
    Strategy strategy = plan.strategy;
    change.apply(strategy);
    std::optional<Remedy> remedy = judge.judge(change.text, std::move(strategy));
    if (!remedy) continue;
    if (dimension != change.dimension) {
      found.push_back(std::move(*remedy));
    } else if (cheaper(*remedy, found.back())) {
      found.back() = std::move(*remedy);
    }
    dimension = change.dimension;
  }
  std::stable_sort(found.begin(), found.end(), cheaper);
  return found;
}

std::optional<Remedy> find_pair(const Plan& plan, const std::vector<Change>& changes, const Judge& judge) {
  std::vector<double> prices;
  for (const Change& change : changes) {
    Strategy strategy = plan.strategy;
    change.apply(strategy);
    prices.push_back(1.0 + judge.extra_time(strategy));
  }
  struct Pair {
    double price;
    std::size_t first, second;
  };
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    for (std::size_t j = i + 1; j < changes.size(); ++j) {
      if (!exclude_each_other(changes[i], changes[j])) pairs.push_back({prices[i] * prices[j], i, j});
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.price < b.price; });
  for (const Pair& pair : pairs) {
    const Change &first = changes[pair.first], &second = changes[pair.second];
    Strategy strategy = plan.strategy;
    first.apply(strategy);
    second.apply(strategy);
    std::optional<Remedy> remedy = judge.judge(first.text + "; " + second.text, std::move(strategy));
    if (remedy) return remedy;
  }
  return std::nullopt;
}

}  // namespace

Remedies remedies(const Plan& plan) {
  const std::vector<Change> changes = Changes(plan).all();
  const Judge judge(plan);
  Remedies out{.singles = find_singles(plan, changes, judge), .pair = {}};
  if (out.singles.empty()) out.pair = find_pair(plan, changes, judge);
  return out;
}

}  // namespace orrery::planner
