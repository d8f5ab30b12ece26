// SPDX-License-Identifier: Apache-2.0
#include "planner/search.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/parallel.h"
#include "costmodel/closed_form.h"
#include "costmodel/lower_bound.h"
#include "planner/candidates.h"
#include "planner/densest_devices.h"
#include "planner/laid_members.h"
#include "planner/no_plan.h"
#include "planner/on_demand.h"
#include "planner/shortlist.h"
#include "planner/tier_progress.h"
#include "planner/worker_costs.h"
#include "program/arrivals.h"
#include "program/lower.h"
#include "program/rank_devices.h"
#include "traces/activities.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

/// Of a search whose bounds prove nothing, how much slower than the best a bound may be to be looked at.
constexpr double kSlackWithoutProof = 0.2;

/// Of a step, what another order of ranks has to gain by closed form: less is not worth what trainers cannot run.
constexpr double kWorthAnOrder = 1e-3;

/// The domains as they are looked at, in one order of ranks: the default, if it is among those wanted.
Domains as_searched(Domains domains) {
  drop_what_none_allows(domains);
  const bool has_default = std::ranges::find(domains.order, Strategy().order) != domains.order.end();
  domains.base.order = has_default ? Strategy().order : domains.order.front();
  return domains;
}

/// A member with what the slower tiers say of it.
struct Refined {
  Member member;
  Seconds closed;
  bool extrapolated = false;
  bool is_refined = false;  // closed form and bound are known: there was time for them
  bool is_ranked = false;   // an interpreter has run it
};

class Search {
 public:
  Search(const Domains& domains, const SearchProblem& problem, const costmodel::CostModel& cost_model,
         const Interpreter& analytic, const SearchLimits& limits, const ProgressReport& on_progress)
      : problem_(problem),
        analytic_(analytic),
        limits_(limits),
        on_progress_(on_progress),
        cost_model_(cost_model),
        costs_(static_cast<std::size_t>(num_workers()),
               {costmodel::CachedCostModel(cost_model), costmodel::PieceTimes(problem.model, problem.batch)}),
        begin_(std::chrono::steady_clock::now()),
        fullest_share_(problem.model, problem.load, problem.experts),
        densest_(densest_of(problem.cluster, problem.device_of_rank)),
        domains_(as_searched(domains)),
        context_{.model = problem.model,
                 .domains = domains_,
                 .batch = problem.batch,
                 .num_devices = problem.num_ranks(),
                 .memory_model = costmodel::MemoryModel::of(device(), problem.framework),
                 .fullest_share = fullest_share_,
                 .limit = memory_limit(),
                 .densest = densest_} {}

  /// Bounds hold for what the closed form knows: every expert gets the same, sequences have one length. Where domains
  /// span nodes, it is not known which placement is the most compact; and they know one order of ranks.
  bool proves() const {
    if (domains_.base.order != Strategy().order) return false;
    if (!densest_.empty() && problem_.cluster.groups.front().scale_up.span_nodes > 1) return false;
    return std::holds_alternative<BalancedLoad>(problem_.load) &&
           std::holds_alternative<FixedLengths>(problem_.sequences) && problem_.cluster.groups.size() == 1;
  }

  std::variant<SearchResult, Infeasible> run(const Interpreter* simulator) {
    scan([&](std::span<const Member* const> members) { return measure(members); });
    if (result_.ranked.empty() && !limits_.to_beat) {
      if (found_.counts.smallest == Bytes()) return nothing_is_legal(context_.domains, problem_);
      return nothing_fits(found_.counts.smallest_member, found_.counts.smallest, problem_, context_.limit,
                          found_.num_unreached_operators == 0);
    }
    refine();
    run_fastest();
    run_smallest_bounds();
    rank(result_.ranked.size());
    certify();
    run_in_other_orders();
    if (simulator != nullptr) simulate(*simulator);
    return std::move(result_);
  }

  /// The least closed form of what a scan finds that takes these for the truth; as what it makes least.
  std::optional<Seconds> least_closed() {
    std::optional<Seconds> least;
    scan([&](std::span<const Member* const> members) {
      std::vector<std::optional<Seconds>> values;
      for (const Member* member : members) {
        values.emplace_back(problem_.weights.time * closed_of(member->strategy, 0).step_time + member->work_bound);
        least = std::min(least.value_or(*values.back()), *values.back());
      }
      return values;
    });
    return least;
  }

 private:
  static constexpr std::size_t kRoom = 16384;
  static constexpr std::int64_t kOfOnePipeline = 2;  // members that the interpreter runs before those of others
  static constexpr std::size_t kRunWave = 8;  // members that are run before it is asked again which others may be best
  static constexpr std::size_t kRunAnyway = 16;  // members that are run without being asked

  void scan(const Measure& measure) {
    found_ = find_candidates(
        context_, costs_, measure,
        {.slack = proves() ? 0.0 : kSlackWithoutProof,
         .room = kRoom,
         .most_families = most_families(),
         .num_seeds = limits_.num_seeds,
         .to_beat = limits_.to_beat,
         .weights = problem_.weights},
        [&] { return out_of_time(); },
        [&](const Progress& progress) {
          if (on_progress_) on_progress_(progress);
        });
  }

  const Device& device() const { return problem_.cluster.groups.front().device; }
  Bytes memory_limit() const {
    if (!device().memory) {
      throw ConfigError(
          fmt::format("device \"{}\": memory is unknown (null): expected a size, to say what fits", device().name));
    }
    return problem_.memory_limit ? std::min(*problem_.memory_limit, *device().memory) : *device().memory;
  }

  bool out_of_time() const {
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin_;
    return limits_.time_budget && seconds(spent.count()) > *limits_.time_budget;
  }

  /// Who gives a search its time wants it spent.
  std::int64_t most_families() const {
    return limits_.time_budget ? std::numeric_limits<std::int64_t>::max() : limits_.num_families;
  }

  /// Of closed forms. Caches know one kind of device.
  struct Asked {
    const costmodel::CostModel& cost;
    costmodel::PieceTimes* pieces = nullptr;
  };
  Asked asked_by(int worker) {
    if (problem_.cluster.groups.size() > 1) return {.cost = cost_model_};
    WorkerCosts& costs = costs_[static_cast<std::size_t>(worker)];
    return {.cost = costs.cost, .pieces = &costs.pieces};
  }

  costmodel::ClosedEstimate closed_of(const Strategy& s, int worker) {
    const auto [cost, pieces] = asked_by(worker);
    return costmodel::estimate_closed(problem_.model, s, problem_.batch, Mesh(s, context_.num_devices), cost,
                                      problem_.device_of_rank, pieces);
  }

  /// Runs members that others have to beat, each once: they are among the ranked from then on. The first is run
  /// whatever the time.
  std::vector<std::optional<Seconds>> measure(std::span<const Member* const> members) {
    std::vector<std::optional<RankedPlan>> plans(members.size());
    parallel_for(std::ssize(members), [&](std::int64_t i, int worker) {
      const Member& member = *members[static_cast<std::size_t>(i)];
      if (ranked(member.strategy) != nullptr || (i > 0 && out_of_time())) return;
      const costmodel::ClosedEstimate closed = closed_of(member.strategy, worker);
      plans[static_cast<std::size_t>(i)] =
          run({.member = member, .closed = closed.step_time, .extrapolated = closed.extrapolated});
    });
    std::vector<std::optional<Seconds>> values;
    for (std::size_t i = 0; i < members.size(); ++i) {
      const RankedPlan* known = ranked(members[i]->strategy);
      if (known == nullptr && plans[i]) {
        known = &result_.ranked.emplace_back(std::move(*plans[i]));
        measured_.push_back(*members[i]);
      }
      values.push_back(known == nullptr ? std::nullopt : std::optional(value_of(*known)));
    }
    return values;
  }

  /// What is made least, of the last prediction.
  Seconds value_of(const RankedPlan& plan) const {
    return problem_.weights.of(plan.predictions.back().step_time, plan.active);
  }

  const RankedPlan* ranked(const Strategy& strategy) const {
    const auto found = std::find_if(result_.ranked.begin(), result_.ranked.end(),
                                    [&](const RankedPlan& plan) { return plan.strategy == strategy; });
    return found == result_.ranked.end() ? nullptr : &*found;
  }

  /// What the analytic interpreter says of a member, beside what is known.
  RankedPlan run(const Refined& refined) const {
    RankedPlan plan{.strategy = refined.member.strategy, .predictions = {}, .extrapolated = {}};
    plan.predictions.push_back({.tier = "closed",
                                .step_time = refined.closed,
                                .peak_memory = refined.member.memory,
                                .extrapolated = refined.extrapolated});
    predict(analytic_, plan);
    return plan;
  }

  /// Adds what `interpreter` predicts.
  void predict(const Interpreter& interpreter, RankedPlan& plan) const {
    StepProgram program = lower(problem_.model, plan.strategy, problem_.batch, context_.num_devices);
    program.experts = problem_.experts;
    const std::vector<Unsupported> unsupported = interpreter.unsupported(program);
    CHECK(unsupported.empty(), unsupported.front().reason);
    const bool asks_for_work = problem_.weights.counts_work() && &interpreter == &analytic_;
    const Trace trace = interpreter.run(
        program, {.load = problem_.load, .sequences = problem_.sequences, .steps_only = !asks_for_work});
    if (asks_for_work) plan.active = activities(trace);
    plan.extrapolated = trace.header.extrapolated;
    plan.predictions.push_back({.tier = std::string(interpreter.name()),
                                .step_time = trace.steps.front().time,
                                .peak_memory = plan.predictions.front().peak_memory,
                                .extrapolated = !trace.header.extrapolated.empty()});
  }

  /// What is known when a tier begins. Not while interpreters run.
  Progress progress_before(std::string_view tier, std::int64_t total) const {
    Progress progress{
        .tier = tier, .total = total, .evaluated = found_.counts.evaluated, .pruned = found_.counts.pruned};
    if (laid_) progress.evaluated += std::ssize(laid_->members);
    if (result_.ranked.empty()) return progress;
    if (problem_.weights == StepWeights()) progress.best = best();
    if (proves() && !refined_.empty()) progress.gap = 1.0 - undecided() / best();
    return progress;
  }

  /// The walk's bound and the closed form of the members with the smallest bounds.
  void refine() {
    const auto count = std::min(limits_.num_refined, static_cast<std::int64_t>(found_.members.size()));
    // What has been run is known, and plain members that the scan has found as well count once.
    std::vector<Member> members;
    for (Member& plain : found_.plain) {
      if (ranked(plain.strategy) == nullptr) members.push_back(std::move(plain));
    }
    const auto num_plain = static_cast<std::ptrdiff_t>(members.size());
    for (std::int64_t i = 0; i < count; ++i) {
      Member& member = found_.members[static_cast<std::size_t>(i)];
      const bool is_plain = std::any_of(members.begin(), members.begin() + num_plain,
                                        [&](const Member& plain) { return plain.strategy == member.strategy; });
      if (!is_plain && ranked(member.strategy) == nullptr) members.push_back(std::move(member));
    }
    add_laid_anew(members);
    const auto num_members = static_cast<std::int64_t>(members.size());
    TierProgress progress(on_progress_, progress_before("closed", num_members));
    refined_.resize(members.size());
    parallel_for(num_members, [&](std::int64_t i, int worker) {
      Refined& refined = refined_[static_cast<std::size_t>(i)];
      refined.member = std::move(members[static_cast<std::size_t>(i)]);
      if (out_of_time()) return;
      refined.is_refined = true;
      const Strategy& s = refined.member.strategy;
      const Mesh mesh(s, context_.num_devices);
      const auto [cost, pieces] = asked_by(worker);
      const costmodel::ClosedEstimate closed = closed_of(s, worker);
      refined.closed = closed.step_time;
      refined.extrapolated = closed.extrapolated;
      const Seconds bound =
          costmodel::lower_bound(problem_.model, s, problem_.batch, mesh, cost, problem_.device_of_rank, pieces);
      refined.member.bound = std::max(refined.member.bound, problem_.weights.time * bound + refined.member.work_bound);
      progress.add_one();
    });
    // What was laid anew and has no bound yet is taken back: it was no member before.
    const std::size_t first_laid = refined_.size() - (laid_ ? laid_->members.size() : 0);
    for (std::size_t i = 0; i < refined_.size(); ++i) {
      if (refined_[i].is_refined) continue;
      if (i < first_laid) {
        unseen(refined_[i].member.bound);
      } else {
        laid_->num_laid = 0;
      }
    }
    std::erase_if(refined_, [](const Refined& refined) { return !refined.is_refined; });
    if (found_.members.size() > static_cast<std::size_t>(count)) {
      unseen(found_.members[static_cast<std::size_t>(count)].bound);
    }
    if (found_.least_unseen) unseen(*found_.least_unseen);
    found_.members.clear();
  }

  /// What is refined and what was run, with stages by dynamic programming.
  void add_laid_anew(std::vector<Member>& members) {
    if (std::ranges::find(domains_.layouts, Layout::Kind::least_bottleneck, &Layout::kind) == domains_.layouts.end() ||
        out_of_time()) {
      return;
    }
    std::vector<const Member*> plans;
    for (const Member& member : measured_) plans.push_back(&member);
    for (const Member& member : members) plans.push_back(&member);
    laid_ = lay_anew(context_, plans, costs_);
    members.insert(members.end(), laid_->members.begin(), laid_->members.end());
  }

  /// What the layouts that were found for plans mean.
  void claim_layouts(std::vector<Certificate::Dimension>& domain) const {
    if (!laid_ || laid_->num_laid == 0) return;
    const std::int64_t exact = proves() ? laid_->num_laid - laid_->num_approximate : 0;
    std::string what = fmt::format("by dynamic programming, approximate, on the {} plans kept", laid_->num_laid);
    if (exact > 0) {
      what = fmt::format("DP-optimal for the bottleneck of a stage on the {} plans kept", exact);
      if (exact < laid_->num_laid) {
        what += fmt::format(" with one stage on a rank, approximate on the {} with several", laid_->num_approximate);
      }
    }
    std::ranges::find(domain, "stages", &Certificate::Dimension::name)->claim += "; " + what;
    std::ranges::find(domain, "recompute", &Certificate::Dimension::name)->claim +=
        "; per stage where stages are laid by dynamic programming";
  }

  void unseen(Seconds bound) {
    if (!least_unseen_ || bound < *least_unseen_) least_unseen_ = bound;
  }

  /// The order of refined members by what `key` says of them; equal ones keep theirs.
  template <class Key>
  std::vector<std::size_t> sorted_by(Key key) const {
    std::vector<std::size_t> order(refined_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return key(refined_[a]) < key(refined_[b]); });
    return order;
  }

  void run_fastest() {
    std::vector<std::size_t> order =
        sorted_by([&](const Refined& r) { return problem_.weights.time * r.closed + r.member.work_bound; });
    // The closed form errs for all members of a pipeline alike, and otherwise where activations are copied: others get
    // their turn.
    OfEachPipeline few(kOfOnePipeline), few_with_copies(kOfOnePipeline);
    const auto is_one_of_few = [&](std::size_t i) {
      const Strategy& s = refined_[i].member.strategy;
      return (s.offload_activations ? few_with_copies : few).takes(s);
    };
    std::stable_partition(order.begin(), order.end(), is_one_of_few);
    const auto most = std::min(static_cast<std::size_t>(limits_.num_analytic), order.size());
    // Beside a time of somebody else nothing is run unasked.
    std::size_t count = limits_.to_beat ? 0 : std::min(kRunAnyway, most);
    run_analytic(std::span(order).first(count));
    while (count < most) {
      std::vector<std::size_t> next = may_be_best();
      if (next.empty()) return;
      next.resize(std::min({next.size(), kRunWave, most - count}));
      run_analytic(next);
      count += next.size();
    }
  }

  /// Those of the refined that are faster than the best if the closed form is as wrong as it was at worst, the least
  /// first. Requires: something was run, or there is a time to beat.
  std::vector<std::size_t> may_be_best() const {
    ClosedFormError error;
    for (const RankedPlan& plan : result_.ranked) {
      error.add(plan.strategy, plan.predictions[0].step_time, plan.predictions[1].step_time);
    }
    const Seconds limit = best();
    std::vector<std::pair<Seconds, std::size_t>> open;
    for (std::size_t i = 0; i < refined_.size(); ++i) {
      const Member& member = refined_[i].member;
      if (refined_[i].is_ranked) continue;
      const Seconds least =
          problem_.weights.time * error.least(member.strategy, refined_[i].closed) + member.work_bound;
      if (least < limit) open.emplace_back(least, i);
    }
    std::ranges::sort(open);
    std::vector<std::size_t> out;
    for (const auto& [least, index] : open) out.push_back(index);
    return out;
  }

  /// What may still be faster than the best and keeps the gap open: those with the smallest bounds first.
  void run_smallest_bounds() {
    for (std::int64_t round = 0; !out_of_time() && (round == 0 || limits_.time_budget); ++round) {
      std::vector<std::size_t> open;
      const Seconds limit = least_unseen_ ? std::min(best(), *least_unseen_) : best();
      for (const std::size_t i : sorted_by([](const Refined& r) { return r.member.bound; })) {
        if (!refined_[i].is_ranked && refined_[i].member.bound < limit) open.push_back(i);
      }
      if (open.empty()) return;
      run_analytic(std::span(open).first(std::min(open.size(), static_cast<std::size_t>(limits_.num_closing))));
    }
  }

  /// Requires: something was run, or there is a time to beat.
  Seconds best() const {
    if (result_.ranked.empty()) return *limits_.to_beat;
    const auto analytic = [&](const RankedPlan& plan) {
      return problem_.weights.of(plan.predictions[1].step_time, plan.active);
    };
    return analytic(
        *std::min_element(result_.ranked.begin(), result_.ranked.end(),
                          [&](const RankedPlan& a, const RankedPlan& b) { return analytic(a) < analytic(b); }));
  }

  /// Runs some of the refined, as far as there is time.
  void run_analytic(std::span<const std::size_t> indices) {
    TierProgress progress(on_progress_, progress_before(analytic_.name(), std::ssize(indices)));
    std::vector<RankedPlan> plans(indices.size());
    parallel_for(std::ssize(indices), [&](std::int64_t i, int) {
      const auto at = static_cast<std::size_t>(i);
      if (out_of_time()) return;
      plans[at] = run(refined_[indices[at]]);
      progress.add_one();
    });
    for (std::size_t i = 0; i < plans.size(); ++i) {
      if (plans[i].predictions.empty()) continue;
      refined_[indices[i]].is_ranked = true;
      result_.ranked.push_back(std::move(plans[i]));
    }
  }

  /// Sorts the first `count` plans by their last prediction.
  void rank(std::size_t count) {
    std::stable_sort(result_.ranked.begin(), result_.ranked.begin() + static_cast<std::ptrdiff_t>(count),
                     [&](const RankedPlan& a, const RankedPlan& b) { return value_of(a) < value_of(b); });
  }

  void certify() {
    Certificate& certificate = result_.certificate;
    certificate.domain = context_.domains.manifest(!proves()                            ? kNoBoundHolds
                                                   : found_.num_unreached_operators > 0 ? kSawAPart
                                                                                        : kSawEverything);
    if (problem_.weights.counts_work()) {
      const auto recompute = std::ranges::find(certificate.domain, "recompute", &Certificate::Dimension::name);
      recompute->claim = "heuristic: per rank the fastest that fits, though a slower one may work less";
    }
    claim_layouts(certificate.domain);
    const auto num_analytic = static_cast<std::int64_t>(result_.ranked.size());
    const std::int64_t num_closed =
        num_analytic + std::count_if(refined_.begin(), refined_.end(), [](const Refined& r) { return !r.is_ranked; });
    FamilyCounts counts = found_.counts;
    if (laid_) counts.evaluated += std::ssize(laid_->members);
    certificate.tiers = {
        {.name = "operators",
         .evaluated = found_.num_operators + found_.num_illegal_operators,
         .rejected = found_.num_pruned_operators + found_.num_illegal_operators},
        {.name = "pipelines",
         .evaluated = found_.num_families,
         .rejected = found_.num_illegal_families + counts.pruned},
        {.name = "memory", .evaluated = counts.evaluated, .rejected = counts.too_large},
        {.name = "bound",
         .evaluated = counts.evaluated - counts.too_large,
         .rejected = std::max<std::int64_t>(counts.evaluated - counts.too_large - num_closed, 0)},
        {.name = "closed", .evaluated = num_closed, .rejected = num_closed - num_analytic},
        {.name = "analytic", .evaluated = num_analytic, .rejected = std::max<std::int64_t>(num_analytic - 1, 0)}};
    if (!proves()) return;
    result_.least_undecided = undecided();
    certificate.gap = (best() - undecided()) / best();
  }

  /// The smallest bound of what was not run, at most the best. Requires: as best().
  Seconds undecided() const {
    Seconds least = best();
    for (const Refined& refined : refined_) {
      if (!refined.is_ranked) least = std::min(least, refined.member.bound);
    }
    return least_unseen_ ? std::min(least, *least_unseen_) : least;
  }

  /// What was run, in the other orders of ranks that are wanted: the closed form of all, and those that gain most by it
  /// are run. The certificate stays that of the first order.
  void run_in_other_orders() {
    if (!problem_.device_of_rank.empty() || out_of_time()) return;
    struct Other {
      Refined refined;
      double gain = 0;     // of the closed form, over that in the first order
      Seconds first_time;  // by interpreter
    };
    std::vector<Other> others;
    for (const RankedPlan& plan : result_.ranked) {
      for (const std::string_view order : other_orders(plan.strategy, context_.num_devices, domains_.order)) {
        Refined& refined = others.emplace_back().refined;
        refined.member.strategy = plan.strategy;
        refined.member.strategy.order = order;
        refined.member.memory = plan.predictions.front().peak_memory;
        refined.closed = plan.predictions.front().step_time;
        others.back().first_time = plan.predictions.back().step_time;
      }
    }
    if (others.empty()) return;
    parallel_for(std::ssize(others), [&](std::int64_t i, int worker) {
      Other& other = others[static_cast<std::size_t>(i)];
      const Strategy& s = other.refined.member.strategy;
      const costmodel::ClosedEstimate closed = closed_of(s, worker);
      other.gain = 1.0 - closed.step_time / other.refined.closed;
      other.refined.closed = closed.step_time;
      other.refined.extrapolated = closed.extrapolated;
    });
    const auto num_closed = std::ssize(others);
    std::erase_if(others, [](const Other& other) { return other.gain <= kWorthAnOrder; });
    const auto expected = [](const Other& other) { return other.first_time * (1.0 - other.gain); };
    std::ranges::stable_sort(others, {}, expected);
    if (std::ssize(others) > limits_.num_reordered) others.resize(static_cast<std::size_t>(limits_.num_reordered));
    TierProgress progress(on_progress_, progress_before("orders", std::ssize(others)));
    const std::size_t first = result_.ranked.size();
    result_.ranked.resize(first + others.size());
    parallel_for(std::ssize(others), [&](std::int64_t i, int) {
      result_.ranked[first + static_cast<std::size_t>(i)] = run(others[static_cast<std::size_t>(i)].refined);
      progress.add_one();
    });
    std::vector<Certificate::Tier>& tiers = result_.certificate.tiers;
    tiers.back().evaluated += std::ssize(others);
    tiers.back().rejected += std::ssize(others);
    tiers.insert(tiers.end() - 1,
                 {.name = "orders", .evaluated = num_closed, .rejected = num_closed - std::ssize(others)});
    rank(result_.ranked.size());
  }

  void simulate(const Interpreter& simulator) {
    const auto most = std::min(limits_.num_simulated, static_cast<std::int64_t>(result_.ranked.size()));
    TierProgress progress(on_progress_, progress_before(simulator.name(), most));
    // What the simulator knows better, shared links above all, it knows of all members of a pipeline.
    OfEachPipeline one(1);
    std::stable_partition(result_.ranked.begin(), result_.ranked.end(),
                          [&](const RankedPlan& plan) { return one.takes(plan.strategy); });
    // Each run is a process of its own, and each has as much to do.
    parallel_for(most, [&](std::int64_t i, int) {
      if (out_of_time()) return;
      predict(simulator, result_.ranked[static_cast<std::size_t>(i)]);
      progress.add_one();
    });
    const auto is_simulated = [&](const RankedPlan& plan) { return plan.predictions.back().tier == simulator.name(); };
    std::stable_partition(result_.ranked.begin(), result_.ranked.end(), is_simulated);
    const std::int64_t count = std::ranges::count_if(result_.ranked, is_simulated);
    if (count == 0) return rank(result_.ranked.size());
    rank(static_cast<std::size_t>(count));
    std::stable_sort(result_.ranked.begin() + static_cast<std::ptrdiff_t>(count), result_.ranked.end(),
                     [&](const RankedPlan& a, const RankedPlan& b) { return value_of(a) < value_of(b); });
    result_.certificate.tiers.back().rejected = result_.certificate.tiers.back().evaluated - count;
    result_.certificate.tiers.push_back({.name = "simgrid", .evaluated = count, .rejected = count - 1});
  }

  const SearchProblem& problem_;
  const Interpreter& analytic_;
  const SearchLimits limits_;
  const ProgressReport& on_progress_;
  const costmodel::CostModel& cost_model_;
  std::vector<WorkerCosts> costs_;  // by worker, of all tiers
  const std::chrono::steady_clock::time_point begin_;
  const FullestShare fullest_share_;
  const std::vector<DeviceIndex> densest_;
  const Domains domains_;
  const FamilyContext context_;
  Candidates found_;
  std::vector<Member> measured_;  // of what was ranked before anything was refined
  std::optional<LaidMembers> laid_;
  std::vector<Refined> refined_;
  std::optional<Seconds> least_unseen_;  // bound of members that were not refined
  SearchResult result_;
};

}  // namespace

std::variant<SearchResult, Infeasible> search(const Domains& domains, const SearchProblem& problem,
                                              const costmodel::CostModel& cost_model, const Interpreter& analytic,
                                              const Interpreter* simulator, const SearchLimits& limits,
                                              const ProgressReport& on_progress) {
  return Search(domains, problem, cost_model, analytic, limits, on_progress).run(simulator);
}

std::optional<Seconds> least_closed_form(const Domains& domains, const SearchProblem& problem,
                                         const costmodel::CostModel& cost_model, const Interpreter& analytic,
                                         const SearchLimits& limits) {
  return Search(domains, problem, cost_model, analytic, limits, {}).least_closed();
}

std::string_view claim_of(const Certificate::Tier& tier) {
  if (tier.name == "operators") return "rejects what is illegal or has a bound above a time that was found";
  if (tier.name == "pipelines") return "the same, of operators that were reached";
  if (tier.name == "memory") return "rejects what does not fit, whatever it recomputes";
  if (tier.name == "bound") return "rejects what has a bound above a time that was found, or above those kept";
  if (tier.name == "orders") return "heuristic: what was run, in other orders of ranks; keeps what gains most";
  if (tier.name == "closed") return "heuristic: keeps the fastest and those with the smallest bounds";
  return "best of those evaluated";
}

}  // namespace orrery::planner
