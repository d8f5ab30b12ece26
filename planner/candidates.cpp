// SPDX-License-Identifier: Apache-2.0
#include "planner/candidates.h"

#include "base/parallel.h"
#include "costmodel/closed_form.h"
#include "planner/frontier.h"
#include "planner/operator_choices.h"
#include "planner/pipeline_bound.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <utility>

namespace orrery::planner {
namespace {

constexpr std::size_t kWave = 4;           // pipelines that are scanned against one time
constexpr std::size_t kApart = 64;         // choices of operators that are taken apart into their pipelines at once
constexpr std::size_t kProbed = 8;         // members that the closed form compares, to measure the best of them
constexpr std::size_t kSeedWave = 64;      // choices of operators of which plain or lean members are looked for
constexpr std::size_t kFirstSeedWave = 8;  // as long as there is no limit, or a bad one
constexpr std::size_t kPlain = 96;         // plain members that are kept, whatever is found later

constexpr Seconds kNothing = Seconds::from_si(std::numeric_limits<double>::infinity());

/// A small part of the domains: even stages, states sharded once, nothing offloaded. Bounds are near the truth there,
/// so that its best are good plans and give a good first time to beat.
Domains plain(const Domains& all) {
  Domains d = all;
  const auto keep = [](auto& values, auto wanted) {
    if (std::any_of(values.begin(), values.end(), wanted)) {
      std::erase_if(values, [&](const auto& value) { return !wanted(value); });
    }
  };
  const auto keep_if_there = [&](auto& values, auto value) {
    if (std::find(values.begin(), values.end(), value) != values.end())
      values = {value};
    else
      values.resize(1);
  };
  keep(d.vpp, [](std::int64_t chunks) { return chunks <= 4; });
  keep(d.recompute, [](const std::set<RecomputeModule>& modules) { return modules.size() < 2; });
  for (std::vector<int>* zero : {&d.zero_dense, &d.zero_expert}) keep_if_there(*zero, 1);
  d.num_optimizer_instances.resize(1);
  keep_if_there(d.dp_buckets, 1);
  for (std::vector<int>* flag :
       {&d.overlap_tp, &d.delayed_wgrad, &d.offload_optimizer, &d.offload_activations, &d.cuda_graphs}) {
    keep_if_there(*flag, 0);
  }
  keep(d.layouts, [&](const Layout& layout) { return layout.kind == all.layouts.front().kind; });
  return d;
}

/// A part of the domains that needs little memory.
Domains lean(const Domains& all) {
  Domains d = all;
  d.schedule.resize(1);
  d.vpp.resize(1);
  for (std::vector<int>* values : {&d.zero_dense, &d.zero_expert, &d.offload_optimizer, &d.offload_activations}) {
    *values = {values->back()};
  }
  for (std::vector<int>* flag :
       {&d.dp_buckets, &d.overlap_tp, &d.delayed_wgrad, &d.shared_expert, &d.ep_batch_level, &d.cuda_graphs}) {
    flag->resize(1);
  }
  d.num_optimizer_instances.resize(1);
  d.layouts.resize(1);
  return d;
}

class Finder {
 public:
  Finder(const FamilyContext& context, std::span<WorkerCosts> costs, const Measure& measure, const ScanLimits& limits,
         const std::function<bool()>& out_of_time, const std::function<void(const Progress&)>& on_progress)
      : c_(context),
        measure_(measure),
        limits_(limits),
        out_of_time_(out_of_time),
        on_progress_(on_progress),
        costs_(costs),
        found_(limits.to_beat.value_or(kNothing)) {}

  Candidates run() {
    OperatorChoices choices = operator_choices(c_.model, c_.domains, c_.batch, c_.num_devices);
    out_.num_illegal_operators = choices.num_illegal;
    out_.num_operators = static_cast<std::int64_t>(choices.legal.size());
    std::vector<Seconds> bounds(choices.legal.size());
    work_bounds_.resize(choices.legal.size());
    parallel_for(out_.num_operators, [&](std::int64_t i, int worker) {
      const auto index = static_cast<std::size_t>(i);
      auto& [cost, pieces] = asked_by(worker);
      if (limits_.weights.counts_work()) {
        work_bounds_[index] = limits_.weights.of_work(work_bound(c_, choices.legal[index], cost));
      }
      bounds[index] =
          limits_.weights.time * operator_bound(c_, choices.legal[index], cost, &pieces) + work_bounds_[index];
    });
    std::vector<std::size_t> order(choices.legal.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return bounds[a] < bounds[b]; });

    // Bounds say nothing about memory. Where nothing fits of what needs little, plain members are not worth the search;
    // the scan goes on all the same, since little is not least.
    const bool is_tight = !something_lean_fits(choices.legal, order);
    if (!is_tight) {
      measure_best_of(plain(c_.domains), choices.legal, order, bounds);
      // Where nothing plain fits, what needs little is near what does.
      if (found_nothing()) measure_best_of(lean(c_.domains), choices.legal, order, bounds);
    }
    std::erase_if(out_.plain, [&](const Member& member) { return member.bound >= cutoff(); });
    Frontier frontier(bounds);
    std::set<std::size_t> scanned;  // choices of operators, at least in part
    scan_near_best(choices.legal, scanned);
    while (!frontier.empty() && frontier.least() < cutoff()) {
      const bool has_some = !scanned.empty() || !found_nothing();
      if (has_some && (out_of_time_() || num_looked_into() >= limits_.most_families)) {
        unseen(frontier.least());
        break;
      }
      const std::vector<std::size_t> whole = frontier.take_whole(cutoff(), kApart);
      if (!whole.empty()) {
        take_apart(whole, choices.legal, bounds, frontier);
        continue;
      }
      std::vector<Piece> wave;
      for (const auto& [index, pipeline] : frontier.take_pipelines(cutoff(), kWave)) {
        wave.push_back({.operators = index, .pipelines = {pipeline}});
        scanned.insert(index);
        looked_into_[index].push_back(pipeline);
      }
      const std::size_t before = out_.members.size();
      for (ScanResult& result : scan(c_, choices.legal, wave, cutoff(), limits_.room)) add(std::move(result));
      probe(before);
      report("bounds", static_cast<std::int64_t>(scanned.size()), frontier.empty() ? cutoff() : frontier.least());
    }
    scan_near_best(choices.legal, scanned);  // a better one than before the scan
    // What is left of those that were scanned in part was not reached.
    const std::set<std::size_t> left = frontier.operators_below(cutoff());
    const auto num_scanned =
        std::count_if(scanned.begin(), scanned.end(), [&](std::size_t index) { return !left.contains(index); });
    out_.num_unreached_operators = static_cast<std::int64_t>(left.size());
    out_.num_pruned_operators = out_.num_operators - num_scanned - out_.num_unreached_operators;
    sort_and_cut(limits_.room);
    return std::move(out_);
  }

 private:
  /// `least`: the smallest bound of what was not scanned.
  void report(std::string_view tier, std::int64_t done, std::optional<Seconds> least = {}) const {
    Progress progress{.tier = tier,
                      .done = done,
                      .total = out_.num_operators,
                      .evaluated = out_.counts.evaluated,
                      .pruned = out_.counts.pruned};
    if (!found_nothing() && limits_.weights == StepWeights()) progress.best = found_;
    if (!found_nothing() && least && limits_.slack == 0.0) {
      for (const Member& member : out_.members) least = std::min(*least, member.bound);
      if (out_.least_unseen) least = std::min(*least, *out_.least_unseen);
      progress.gap = std::max(1.0 - *least / found_, 0.0);
    }
    on_progress_(progress);
  }

  WorkerCosts& asked_by(int worker) const { return costs_[static_cast<std::size_t>(worker)]; }

  /// Families of which members were looked at, which is what takes time.
  std::int64_t num_looked_into() const { return out_.num_families - out_.num_illegal_families - out_.counts.pruned; }
  Seconds cutoff() const { return found_ * (1.0 + limits_.slack); }
  bool found_nothing() const { return found_ == kNothing; }

  /// Whether a member of the lean part fits. Counts nothing but the smallest of those that do not.
  bool something_lean_fits(const std::vector<Strategy>& operators, const std::vector<std::size_t>& order) {
    const Domains domains = lean(c_.domains);
    const FamilyContext context = of_part(domains);
    std::vector<std::size_t> small;
    std::copy_if(order.begin(), order.end(), std::back_inserter(small), [&](std::size_t i) {
      return operators[i].micro_batch == domains.micro_batch.front() &&
             operators[i].dispatcher == domains.dispatcher.front() && operators[i].cp_kind == domains.cp_kind.front();
    });
    for (std::size_t done = 0; done < small.size(); done += kSeedWave) {
      if (done > 0 && out_of_time_()) return true;  // who knows
      const std::span wave = std::span(small).subspan(done, std::min(kSeedWave, small.size() - done));
      for (const ScanResult& result : scan_all(context, operators, wave, kNothing, 1)) {
        if (!result.members.empty()) return true;
        out_.counts.add_smallest(result.counts);
      }
    }
    return false;
  }

  FamilyContext of_part(const Domains& domains) const {
    return {.model = c_.model,
            .domains = domains,
            .batch = c_.batch,
            .num_devices = c_.num_devices,
            .memory_model = c_.memory_model,
            .fullest_share = c_.fullest_share,
            .limit = c_.limit,
            .densest = c_.densest};
  }

  /// Some pipelines of a choice of operators.
  struct Piece {
    std::size_t operators = 0;
    std::vector<PipelineChoice> pipelines = {};
  };

  /// Bounds of the pipelines of `operators`, of what is made least.
  std::vector<BoundedPipeline> bounded_pipelines(const FamilyContext& context, const Strategy& operators, Seconds work,
                                                 WorkerCosts& asked) const {
    std::vector<BoundedPipeline> out = pipeline_bounds(context, operators, asked.cost, &asked.pieces);
    for (BoundedPipeline& pipeline : out) pipeline.bound = limits_.weights.time * pipeline.bound + work;
    return out;
  }

  /// Whatever hides and shards, of operators like those of the best plan, in its pipeline: the plain part has the best
  /// degrees mostly, but not the best of the rest, and a better time to beat makes all that follows shorter.
  void scan_near_best(const std::vector<Strategy>& operators, std::set<std::size_t>& scanned) {
    while (best_ && !out_of_time_()) {
      const Strategy best = *best_;
      std::vector<Piece> pieces;
      for (std::size_t i = 0; i < operators.size(); ++i) {
        const Strategy& s = operators[i];
        const bool is_near = s.cp == best.cp && s.cp_kind == best.cp_kind && s.ep == best.ep && s.etp == best.etp &&
                             s.micro_batch == best.micro_batch && s.tp <= 2 * best.tp && best.tp <= 2 * s.tp;
        if (!is_near) continue;
        std::vector<PipelineChoice>& known = looked_into_[i];
        for (const PipelineChoice& choice : pipeline_choices(c_, s)) {
          if (!is_in(choice, best) || std::find(known.begin(), known.end(), choice) != known.end()) continue;
          pieces.push_back({.operators = i, .pipelines = {choice}});
          known.push_back(choice);
          scanned.insert(i);
        }
      }
      if (pieces.empty()) return;
      const std::size_t before = out_.members.size();
      // What there is no time for is in the frontier all the same, as a part of its operators.
      for (ScanResult& result : scan(c_, operators, pieces, cutoff(), limits_.room, WhenLate::skip_rest)) {
        add(std::move(result));
      }
      probe(before);
      report("near", static_cast<std::int64_t>(scanned.size()));
      if (*best_ == best) return;
    }
  }

  /// The pipeline of a plan, or none at all, which has most to gain from hiding and sharding.
  static bool is_in(const PipelineChoice& choice, const Strategy& s) {
    if (choice.pp == 1 && choice.schedule == Schedule::one_f_one_b) return choice.pairs == s.overlap.ep_batch_level;
    return choice.schedule == s.schedule && choice.pairs == s.overlap.ep_batch_level && choice.pp == s.pp &&
           choice.vpp == s.vpp;
  }

  /// Measures members: from then on others have to beat the best of them, if none was as good.
  void try_to_beat(std::span<const Member* const> members) {
    const std::vector<std::optional<Seconds>> measured = measure_(members);
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (!measured[i] || *measured[i] >= found_) continue;
      found_ = *measured[i];
      best_ = members[i]->strategy;
    }
  }

  void take_apart(const std::vector<std::size_t>& whole, const std::vector<Strategy>& operators,
                  const std::vector<Seconds>& bounds, Frontier& frontier) {
    std::vector<std::vector<BoundedPipeline>> pipelines(whole.size());
    parallel_for(static_cast<std::int64_t>(whole.size()), [&](std::int64_t i, int worker) {
      const auto at = static_cast<std::size_t>(i);
      const std::size_t index = whole[at];
      pipelines[at] = bounded_pipelines(c_, operators[index], work_bounds_[index], asked_by(worker));
      for (BoundedPipeline& pipeline : pipelines[at]) pipeline.bound = std::max(pipeline.bound, bounds[index]);
      const auto known = looked_into_.find(index);
      if (known == looked_into_.end()) return;
      std::erase_if(pipelines[at], [&](const BoundedPipeline& pipeline) {
        return std::find(known->second.begin(), known->second.end(), pipeline.choice) != known->second.end();
      });
    });
    for (std::size_t i = 0; i < whole.size(); ++i) {
      const auto num_pruned = std::count_if(pipelines[i].begin(), pipelines[i].end(),
                                            [&](const BoundedPipeline& p) { return p.bound >= cutoff(); });
      out_.num_families += num_pruned;
      out_.counts.pruned += num_pruned;
      frontier.put(whole[i], pipelines[i], cutoff());
    }
  }

  /// What a scan does once the time is over: all that was asked, or nothing more once something was found.
  enum class WhenLate : std::uint8_t { do_all, skip_rest };

  /// All pipelines of some choices of operators that have bounds below `limit`.
  std::vector<ScanResult> scan_all(const FamilyContext& context, const std::vector<Strategy>& operators,
                                   std::span<const std::size_t> wave, Seconds limit, std::size_t room,
                                   WhenLate when_late = WhenLate::do_all) {
    std::vector<Piece> pieces(wave.size());
    parallel_for(static_cast<std::int64_t>(wave.size()), [&](std::int64_t i, int worker) {
      Piece& piece = pieces[static_cast<std::size_t>(i)];
      piece.operators = wave[static_cast<std::size_t>(i)];
      const Strategy& s = operators[piece.operators];
      if (limit == kNothing) {
        piece.pipelines = pipeline_choices(context, s);
        return;
      }
      for (const BoundedPipeline& pipeline :
           bounded_pipelines(context, s, work_bounds_[piece.operators], asked_by(worker))) {
        if (pipeline.bound < limit) piece.pipelines.push_back(pipeline.choice);
      }
    });
    return scan(context, operators, pieces, limit, room, when_late);
  }

  /// Pipelines of some choices of operators, against one limit of what is made least. The scan knows times: what is for
  /// time at work, which is the same for all of a choice, is taken off before and added again behind it.
  std::vector<ScanResult> scan(const FamilyContext& context, const std::vector<Strategy>& operators,
                               std::span<const Piece> wave, Seconds limit, std::size_t room,
                               WhenLate when_late = WhenLate::do_all) {
    std::vector<ScanResult> results(wave.size());
    std::atomic<bool> has_some = false;
    parallel_for(static_cast<std::int64_t>(wave.size()), [&](std::int64_t i, int worker) {
      if (when_late == WhenLate::skip_rest && has_some && out_of_time_()) return;
      const Piece& piece = wave[static_cast<std::size_t>(i)];
      const Seconds work = work_bounds_[piece.operators];
      ScanResult& result = results[static_cast<std::size_t>(i)];
      auto& [cost, pieces] = asked_by(worker);
      result = scan_pipelines(context, operators[piece.operators], piece.pipelines, cost,
                              (limit - work) / limits_.weights.time, room, &pieces);
      if (!result.members.empty()) has_some = true;
      if (limits_.weights == StepWeights()) return;
      for (Member& member : result.members) {
        member.bound = limits_.weights.time * member.bound + work;
        member.work_bound = work;
      }
      if (result.least_dropped != Seconds()) result.least_dropped = limits_.weights.time * result.least_dropped + work;
    });
    return results;
  }

  /// Keeps the best members of a part of the space, and measures the fastest of them by closed form.
  void measure_best_of(const Domains& domains, const std::vector<Strategy>& operators,
                       const std::vector<std::size_t>& order, const std::vector<Seconds>& bounds) {
    const FamilyContext context = of_part(domains);
    std::vector<Member>& best = out_.plain;
    const auto less = [](const Member& a, const Member& b) { return a.bound < b.bound; };
    for (std::size_t done = 0, wave_size = 0; done < order.size(); done += wave_size) {
      // Enough plain members are better than what the next choices could have at best.
      if (best.size() >= kPlain && bounds[order[done]] >= best[kPlain - 1].bound) break;
      if (!best.empty() && out_of_time_()) break;
      wave_size = std::min(done < kSeedWave ? kFirstSeedWave : kSeedWave, order.size() - done);
      const std::span wave = std::span(order).subspan(done, wave_size);
      const Seconds limit = best.size() >= kPlain ? best[kPlain - 1].bound : cutoff();
      for (ScanResult& result : scan_all(context, operators, wave, limit, kPlain, WhenLate::skip_rest)) {
        std::move(result.members.begin(), result.members.end(), std::back_inserter(best));
        out_.counts.add_smallest(result.counts);
      }
      std::stable_sort(best.begin(), best.end(), less);
      if (best.size() > kPlain) best.erase(best.begin() + kPlain, best.end());
      report("plain", static_cast<std::int64_t>(done + wave.size()));
    }
    for (Member& member : best) settle(member.strategy);
    std::vector<Seconds> closed(best.size());
    parallel_for(static_cast<std::int64_t>(best.size()), [&](std::int64_t i, int worker) {
      closed[static_cast<std::size_t>(i)] = closed_value(best[static_cast<std::size_t>(i)], worker);
    });
    std::vector<std::size_t> fastest(best.size());
    std::iota(fastest.begin(), fastest.end(), std::size_t{0});
    std::stable_sort(fastest.begin(), fastest.end(),
                     [&](std::size_t a, std::size_t b) { return closed[a] < closed[b]; });
    std::vector<const Member*> seeds;
    for (std::size_t i = 0; i < std::min(best.size(), static_cast<std::size_t>(limits_.num_seeds)); ++i) {
      seeds.push_back(&best[fastest[i]]);
    }
    try_to_beat(seeds);
  }

  /// Writes a member of a part of the space as the whole writes it.
  void settle(Strategy& s) const {
    const IdleSharding idle = idle_sharding(Mesh(s, c_.num_devices));
    const Domains& d = c_.domains;
    if (idle.dense) s.zero_dense = d.zero_dense.front();
    if (idle.expert) s.zero_expert = d.zero_expert.front();
    if (idle.buckets) s.overlap.dp_buckets = d.dp_buckets.front() != 0;
  }

  /// About what a member is, by its closed form and as if it recomputed nothing.
  Seconds closed_value(const Member& member, int worker) {
    const Mesh mesh(member.strategy, c_.num_devices);
    auto& [cost, pieces] = asked_by(worker);
    const Seconds step =
        costmodel::estimate_closed(c_.model, member.strategy, c_.batch, mesh, cost, {}, &pieces).step_time;
    return limits_.weights.time * step + member.work_bound;
  }

  void unseen(Seconds bound) {
    if (!out_.least_unseen || bound < *out_.least_unseen) out_.least_unseen = bound;
  }

  void add(ScanResult result) {
    out_.counts += result.counts;
    out_.num_families += result.num_families;
    out_.num_illegal_families += result.num_illegal;
    if (result.least_dropped != Seconds()) unseen(result.least_dropped);
    std::move(result.members.begin(), result.members.end(), std::back_inserter(out_.members));
  }

  /// Measures the member of a wave that looks fastest: from then on others have to beat it.
  void probe(std::size_t first) {
    std::vector<std::size_t> wave(out_.members.size() - first);
    std::iota(wave.begin(), wave.end(), first);
    std::stable_sort(wave.begin(), wave.end(),
                     [&](std::size_t a, std::size_t b) { return out_.members[a].bound < out_.members[b].bound; });
    wave.resize(std::min(wave.size(), kProbed));
    std::vector<Seconds> closed(wave.size());
    parallel_for(std::ssize(wave), [&](std::int64_t i, int worker) {
      const auto at = static_cast<std::size_t>(i);
      closed[at] = closed_value(out_.members[wave[at]], worker);
    });
    const auto fastest = std::ranges::min_element(closed);
    if (fastest != closed.end() && *fastest < found_) {
      const Member* best = &out_.members[wave[static_cast<std::size_t>(fastest - closed.begin())]];
      try_to_beat({&best, 1});
    }
    std::erase_if(out_.members, [&](const Member& member) { return member.bound >= cutoff(); });
    if (out_.members.size() > 4 * limits_.room) sort_and_cut(limits_.room);
  }

  void sort_and_cut(std::size_t room) {
    std::stable_sort(out_.members.begin(), out_.members.end(),
                     [](const Member& a, const Member& b) { return a.bound < b.bound; });
    if (out_.members.size() <= room) return;
    unseen(out_.members[room].bound);
    out_.members.erase(out_.members.begin() + static_cast<std::ptrdiff_t>(room), out_.members.end());
  }

  const FamilyContext& c_;
  const Measure& measure_;
  const ScanLimits limits_;
  const std::function<bool()>& out_of_time_;
  const std::function<void(const Progress&)>& on_progress_;
  const std::span<WorkerCosts> costs_;                              // by worker
  Seconds found_;                                                   // least time that was measured or is to beat
  std::vector<Seconds> work_bounds_;                                // by choice of operators, weighted
  std::optional<Strategy> best_;                                    // of what was measured
  std::map<std::size_t, std::vector<PipelineChoice>> looked_into_;  // by operators, what was scanned
  Candidates out_;
};

}  // namespace

Candidates find_candidates(const FamilyContext& context, std::span<WorkerCosts> costs, const Measure& measure,
                           const ScanLimits& limits, const std::function<bool()>& out_of_time,
                           const std::function<void(const Progress&)>& on_progress) {
  return Finder(context, costs, measure, limits, out_of_time, on_progress).run();
}

}  // namespace orrery::planner
