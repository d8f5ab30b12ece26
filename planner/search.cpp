// SPDX-License-Identifier: Apache-2.0
#include "planner/search.h"

#include "base/check.h"
#include "costmodel/cached_cost_model.h"
#include "costmodel/closed_form.h"
#include "costmodel/memory.h"
#include "planner/no_plan.h"
#include "planner/parallel.h"
#include "program/arrivals.h"
#include "program/legality.h"
#include "program/lower.h"

#include <algorithm>
#include <mutex>
#include <span>
#include <utility>

namespace orrery::planner {
namespace {

using ProgressReport = std::function<void(const Progress&)>;

/// Counts finished pieces of a tier and tells the caller about them.
class TierProgress {
 public:
  TierProgress(const ProgressReport& report, std::string_view tier, std::int64_t total)
      : report_(report), progress_{.tier = tier, .done = 0, .total = total} {}

  void add_one() {
    if (!report_) return;
    const std::lock_guard lock(mutex_);
    ++progress_.done;
    report_(progress_);
  }

 private:
  const ProgressReport& report_;
  std::mutex mutex_;
  Progress progress_;
};

/// What screening found out about one number of the space.
struct Screened {
  enum class Verdict : std::uint8_t { repeated, illegal, too_large, fits };
  Verdict verdict = Verdict::repeated;
  std::int64_t index = 0;
  Bytes memory;
  Seconds time;
  bool extrapolated = false;
};

class Search {
 public:
  Search(const SearchSpace& space, const SearchProblem& problem, const costmodel::CostModel& cost_model,
         const ProgressReport& on_progress)
      : space_(space),
        problem_(problem),
        cost_model_(cost_model),
        on_progress_(on_progress),
        fullest_share_(problem.model, problem.load) {}

  /// Legality, memory and closed form of the whole space, in its order.
  std::vector<Screened> screen() const;
  RankedPlan start(const Screened& screened) const;
  /// Lets `interpreter` predict the first `count` plans and moves the fastest of them to the front.
  void rank(std::vector<RankedPlan>& plans, std::int64_t count, const Interpreter& interpreter, bool parallel) const;

 private:
  Screened screen_one(std::int64_t index, costmodel::MemoryModel memory_model,
                      const costmodel::CostModel& cost_model) const;

  const SearchSpace& space_;
  const SearchProblem& problem_;
  const costmodel::CostModel& cost_model_;
  const ProgressReport& on_progress_;
  FullestShare fullest_share_;
};

Screened Search::screen_one(std::int64_t index, costmodel::MemoryModel memory_model,
                            const costmodel::CostModel& cost_model) const {
  Screened out{.index = index};
  const std::optional<Strategy> strategy = space_.at(index);
  if (!strategy) return out;
  const std::int64_t num_devices = problem_.cluster.num_devices();
  out.verdict = Screened::Verdict::illegal;
  if (!violations(problem_.model, *strategy, problem_.batch, num_devices).empty()) return out;

  const Mesh mesh(*strategy, num_devices);
  memory_model.rho = fullest_share_.of(*strategy);
  const std::vector<costmodel::MemoryByCause> stages =
      costmodel::memory_per_stage(problem_.model, *strategy, problem_.batch, mesh, memory_model);
  out.memory = costmodel::fullest(stages);
  out.verdict = Screened::Verdict::too_large;
  if (costmodel::why_it_does_not_fit(stages, problem_.cluster.groups.front().device)) return out;

  out.verdict = Screened::Verdict::fits;
  const costmodel::ClosedEstimate estimate =
      costmodel::estimate_closed(problem_.model, *strategy, problem_.batch, mesh, cost_model);
  out.time = estimate.step_time;
  out.extrapolated = estimate.extrapolated;
  return out;
}

std::vector<Screened> Search::screen() const {
  const auto memory_model = costmodel::MemoryModel::of(problem_.cluster.groups.front().device);
  std::vector<Screened> screened(static_cast<std::size_t>(space_.size()));
  TierProgress progress(on_progress_, "closed", space_.size());
  const std::vector<costmodel::CachedCostModel> caches(static_cast<std::size_t>(num_workers()),
                                                       costmodel::CachedCostModel(cost_model_));
  parallel_for(space_.size(), [&](std::int64_t index, int worker) {
    screened[static_cast<std::size_t>(index)] =
        screen_one(index, memory_model, caches[static_cast<std::size_t>(worker)]);
    progress.add_one();
  });
  return screened;
}

RankedPlan Search::start(const Screened& screened) const {
  RankedPlan plan{.strategy = space_.at(screened.index).value(), .predictions = {}, .extrapolated = {}};
  plan.predictions.push_back({.tier = "closed",
                              .step_time = screened.time,
                              .peak_memory = screened.memory,
                              .extrapolated = screened.extrapolated});
  return plan;
}

void Search::rank(std::vector<RankedPlan>& plans, std::int64_t count, const Interpreter& interpreter,
                  bool parallel) const {
  TierProgress progress(on_progress_, interpreter.name(), count);
  const auto predict = [&](std::int64_t i, int) {
    RankedPlan& plan = plans[static_cast<std::size_t>(i)];
    const StepProgram program = lower(problem_.model, plan.strategy, problem_.batch, problem_.cluster.num_devices());
    const std::vector<Unsupported> unsupported = interpreter.unsupported(program);
    CHECK(unsupported.empty(), unsupported.front().reason);
    const Trace trace =
        interpreter.run(program, {.load = problem_.load, .sequences = problem_.sequences, .steps_only = true});
    plan.predictions.push_back({.tier = std::string(interpreter.name()),
                                .step_time = trace.steps.front().time,
                                .peak_memory = plan.predictions.front().peak_memory,
                                .extrapolated = !trace.header.extrapolated.empty()});
    plan.extrapolated = trace.header.extrapolated;
    progress.add_one();
  };
  if (parallel) {
    parallel_for(count, predict);
  } else {
    for (std::int64_t i = 0; i < count; ++i) predict(i, 0);
  }
  std::stable_sort(plans.begin(), plans.begin() + count, [](const RankedPlan& a, const RankedPlan& b) {
    return a.predictions.back().step_time < b.predictions.back().step_time;
  });
}

}  // namespace

std::variant<SearchResult, Infeasible> search(const SearchSpace& space, const SearchProblem& problem,
                                              const costmodel::CostModel& cost_model, const Interpreter& analytic,
                                              const Interpreter* simulator, const SearchLimits& limits,
                                              const ProgressReport& on_progress) {
  const Search search(space, problem, cost_model, on_progress);
  std::vector<Screened> screened = search.screen();
  const auto count = [&](Screened::Verdict verdict) {
    return std::count_if(screened.begin(), screened.end(), [&](const Screened& s) { return s.verdict == verdict; });
  };
  const std::int64_t num_illegal = count(Screened::Verdict::illegal);
  const std::int64_t num_too_large = count(Screened::Verdict::too_large);
  const std::int64_t num_fits = count(Screened::Verdict::fits);
  if (num_fits == 0 && num_too_large == 0) return nothing_is_legal(space, problem);
  if (num_fits == 0) {
    const Screened& smallest = *std::min_element(screened.begin(), screened.end(), [](const auto& a, const auto& b) {
      const auto key = [](const Screened& s) { return std::pair(s.verdict != Screened::Verdict::too_large, s.memory); };
      return key(a) < key(b);
    });
    return nothing_fits(space.at(smallest.index).value(), smallest.memory, problem);
  }

  std::erase_if(screened, [](const Screened& s) { return s.verdict != Screened::Verdict::fits; });
  std::stable_sort(screened.begin(), screened.end(),
                   [](const Screened& a, const Screened& b) { return a.time < b.time; });
  const std::int64_t num_analytic = std::min(limits.num_analytic, num_fits);
  const std::int64_t num_simulated = simulator == nullptr ? 0 : std::min(limits.num_simulated, num_analytic);
  SearchResult result;
  for (std::int64_t i = 0; i < num_analytic; ++i) {
    result.ranked.push_back(search.start(screened[static_cast<std::size_t>(i)]));
  }
  search.rank(result.ranked, num_analytic, analytic, true);
  if (num_simulated > 0) search.rank(result.ranked, num_simulated, *simulator, false);

  result.certificate.domain = space.domain();
  result.certificate.tiers = {
      {.name = "legality", .evaluated = num_illegal + num_too_large + num_fits, .rejected = num_illegal},
      {.name = "memory", .evaluated = num_too_large + num_fits, .rejected = num_too_large},
      {.name = "closed", .evaluated = num_fits, .rejected = num_fits - num_analytic},
      {.name = "analytic",
       .evaluated = num_analytic,
       .rejected = num_analytic - std::max(num_simulated, std::int64_t{1})}};
  if (num_simulated > 0) {
    result.certificate.tiers.push_back({.name = "simgrid", .evaluated = num_simulated, .rejected = num_simulated - 1});
  }
  return result;
}

std::string_view claim_of(const Certificate::Tier& tier) {
  if (tier.name == "legality" || tier.name == "memory") return "exhaustive";
  if (tier.name == "closed") return "heuristic: keeps those that the closed form finds fastest";
  return "best of those evaluated, which is not proved for the domain";
}

}  // namespace orrery::planner
