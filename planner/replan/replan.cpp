// SPDX-License-Identifier: Apache-2.0
#include "planner/replan/replan.h"

#include "base/errors.h"
#include "base/parallel.h"
#include "costmodel/analytic_interpreter.h"
#include "planner/conditions.h"
#include "planner/replan/neighbourhood.h"
#include "planner/replan/worlds.h"

#include <algorithm>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::planner {
namespace {

/// Near the old plan little is left open, and each run of an interpreter takes longer than the search.
constexpr SearchLimits kNear{.num_refined = 64, .num_analytic = 1, .num_closing = 0, .num_seeds = 1};

/// A message of that size between two devices; nothing without one.
Seconds message_time(const costmodel::CostModel& cost, Bytes size, DeviceIndex from, DeviceIndex to) {
  const auto whole = static_cast<std::int64_t>(size.in(unit::byte));
  if (whole == 0) return {};
  return cost.peer({.bytes = whole, .peer = Group::pp_next}, from, to).alone();
}

/// At least what the move takes: no device receives faster than its ports, within its domain and from the nearest of
/// those beyond. `left`: who can send.
Seconds least_time(const ShardMove& move, const Cluster& cluster, const costmodel::CostModel& cost,
                   const std::vector<DeviceIndex>& device_of_rank, const std::vector<DeviceIndex>& left) {
  Seconds longest;
  for (StateBytes RankMove::* part : {&RankMove::inside, &RankMove::outside}) {
    const auto most =
        std::max_element(move.of_rank.begin(), move.of_rank.end(),
                         [&](const RankMove& a, const RankMove& b) { return (a.*part).total() < (b.*part).total(); });
    const DeviceIndex to = device_of_rank[static_cast<std::size_t>(most - move.of_rank.begin())];
    std::optional<Seconds> nearest;
    for (const DeviceIndex from : left) {
      const bool is_inside = cluster.locate(from).domain == cluster.locate(to).domain;
      if (from == to || is_inside != (part == &RankMove::inside)) continue;
      const Seconds time = message_time(cost, ((*most).*part).total(), from, to);
      nearest = std::min(nearest.value_or(time), time);
    }
    longest = std::max(longest, nearest.value_or(Seconds()));
  }
  return longest;
}

void add(Certificate& sum, const Certificate& one) {
  for (const Certificate::Tier& tier : one.tiers) {
    const auto known = std::find_if(sum.tiers.begin(), sum.tiers.end(),
                                    [&](const Certificate::Tier& other) { return other.name == tier.name; });
    if (known == sum.tiers.end()) {
      sum.tiers.push_back(tier);
    } else {
      known->evaluated += tier.evaluated;
      known->rejected += tier.rejected;
    }
  }
}

class Replanner {
 public:
  Replanner(const Plan& from, const std::vector<RankId>& lost, const BatchShape& batch,
            std::shared_ptr<const costmodel::CostModel> cost, const ReplanWishes& wishes,
            const std::function<void(const Progress&)>& on_progress)
      : from_(from),
        batch_(batch),
        cost_(std::move(cost)),
        wishes_(wishes),
        on_progress_(on_progress),
        lost_(static_cast<std::size_t>(from.num_ranks()), false),
        any_(domains_of_any_world(from.model, from.cluster, batch, from.strategy)) {
    keep_where(any_, wishes.conditions);
    for (const RankId rank : lost) {
      if (rank.value() < 0 || rank.value() >= from.num_ranks()) {
        throw ConfigError(
            fmt::format("--lost: expected ranks of the plan, 0 to {}, got {}", from.num_ranks() - 1, rank.value()));
      }
      lost_[rank.index()] = true;
    }
    for (std::int32_t rank = 0; rank < from.num_ranks(); ++rank) {
      devices_.push_back(from.device_of(RankId(rank)));
      if (!lost_[RankId(rank).index()]) left_.push_back(devices_.back());
    }
    if (left_.empty())
      throw ConfigError(fmt::format("--lost: expected a rank that is left, got all {}", from.num_ranks()));
    if (from.cluster.groups.size() > 1) {
      throw ConfigError(fmt::format("--from: expected a cluster whose nodes are all alike, got {} groups of nodes",
                                    from.cluster.groups.size()));
    }
    worlds_ = worlds_of(from.cluster, left_);
  }

  std::variant<Replanned, Infeasible> run() {
    search_near_or_all();
    if (found_.empty()) return std::move(*why_not_);
    std::stable_sort(found_.begin(), found_.end(),
                     [](const ReplanOption& a, const ReplanOption& b) { return time_of(a) < time_of(b); });
    out_.num_left = static_cast<std::int64_t>(left_.size());
    certify();
    weigh();
    return std::move(out_);
  }

 private:
  static Seconds time_of(const ReplanOption& option) { return option.plan.predictions.back().step_time; }

  void search_near_or_all() {
    keep_split();
    if (!wishes_.whole_space) {
      search_worlds(near(any_, from_.strategy), kNear);
      if (!found_.empty()) return;
    }
    out_.searched_whole_space = true;
    search_worlds(any_, {});
  }

  /// The old strategy on the largest world that it splits, if it fits there.
  void keep_split() {
    if (!wishes_.conditions.empty()) return;
    const Domains old = only(from_.strategy);
    for (const World& world : worlds_) {
      if (!can_split(old, batch_, world.size())) continue;
      SearchLimits limits = kNear;
      limits.num_seeds = 0;
      search_world(world, old, limits);
      if (!found_.empty()) found_.front().keeps_split = true;
      break;  // on fewer devices each has to hold more
    }
  }

  /// A world with what is searched on it.
  struct Candidate {
    World world;
    Domains domains;
    std::optional<Seconds> closed;  // about what it comes to; none: nothing that beats what is known
  };

  /// Runs of the interpreter are what planning takes, and the largest world is seldom the fastest: a good time that is
  /// known first leaves the others without a run.
  void put_promising_first(std::vector<Candidate>& candidates, const SearchLimits& limits) const {
    parallel_for(std::ssize(candidates), [&](std::int64_t i, int) {
      Candidate& candidate = candidates[static_cast<std::size_t>(i)];
      const std::vector<DeviceIndex> devices = devices_of(candidate.world, from_.cluster, left_);
      const costmodel::AnalyticInterpreter analytic(cost_, from_.cluster, devices);
      candidate.closed =
          least_closed_form(candidate.domains, problem_on(devices), *cost_, analytic, beaten_by_known(limits));
    });
    std::ranges::stable_sort(candidates, [](const Candidate& a, const Candidate& b) {
      return a.closed && (!b.closed || *a.closed < *b.closed);
    });
  }

  void search_worlds(const Domains& domains, const SearchLimits& limits) {
    out_.worlds.clear();
    out_.certificate = {};
    undecided_.reset();
    is_proved_ = true;
    why_not_.reset();
    claim_ = kSawEverything;
    std::vector<Candidate> candidates;
    for (const World& world : worlds_) {
      if (static_cast<std::int64_t>(out_.worlds.size()) == wishes_.num_worlds) break;
      if (!can_split(domains, batch_, world.size())) continue;
      out_.worlds.push_back(world.size());
      Candidate& candidate = candidates.emplace_back(Candidate{.world = world, .domains = domains, .closed = {}});
      keep_what_divides(candidate.domains, std::span(&out_.worlds.back(), 1));
    }
    if (candidates.size() > 1 && !out_.searched_whole_space) put_promising_first(candidates, limits);
    for (const Candidate& candidate : candidates) {
      add_to_certificate(search_world(candidate.world, candidate.domains, limits));
    }
    if (out_.worlds.empty()) why_not_ = nothing_splits();
    Domains searched = domains, all = any_;
    keep_what_divides(searched, out_.worlds);
    keep_what_divides(all, out_.worlds);
    out_.certificate.domain = manifest_near(searched, all, claim_);
  }

  /// What is claimed of all worlds is the least that is claimed of one.
  void add_to_certificate(std::variant<SearchResult, Infeasible> outcome) {
    if (auto* infeasible = std::get_if<Infeasible>(&outcome)) {
      if (!infeasible->saw_everything) {
        is_proved_ = false;
        if (claim_ == kSawEverything) claim_ = kSawAPart;
      }
      if (!why_not_) why_not_ = std::move(*infeasible);
      return;
    }
    const auto& result = std::get<SearchResult>(outcome);
    add(out_.certificate, result.certificate);
    if (result.certificate.domain.front().claim != kSawEverything) claim_ = result.certificate.domain.front().claim;
    is_proved_ = is_proved_ && result.least_undecided;
    if (result.least_undecided) {
      undecided_ = std::min(undecided_.value_or(*result.least_undecided), *result.least_undecided);
    }
  }

  SearchProblem problem_on(const std::vector<DeviceIndex>& devices) const {
    return {.model = from_.model,
            .cluster = from_.cluster,
            .batch = batch_,
            .load = from_.load,
            .sequences = from_.sequences,
            .memory_limit = wishes_.memory_limit,
            .device_of_rank = devices,
            .experts = from_.experts,
            .framework = from_.framework};
  }

  /// The time to beat is that of the best option.
  SearchLimits beaten_by_known(SearchLimits limits) const {
    for (const ReplanOption& known : found_) {
      if (!limits.to_beat || time_of(known) < *limits.to_beat) limits.to_beat = time_of(known);
    }
    // Seeds are there to be beaten; beside a time of another world they cost more than they throw away.
    if (limits.to_beat && !out_.searched_whole_space) limits.num_seeds = 0;
    return limits;
  }

  /// Whatever it finds is an option from then on, and has to be beaten by others.
  std::variant<SearchResult, Infeasible> search_world(const World& world, const Domains& domains,
                                                      const SearchLimits& limits) {
    const std::vector<DeviceIndex> devices = devices_of(world, from_.cluster, left_);
    const costmodel::AnalyticInterpreter analytic(cost_, from_.cluster, devices);
    auto outcome =
        search(domains, problem_on(devices), *cost_, analytic, nullptr, beaten_by_known(limits), on_progress_);
    if (auto* result = std::get_if<SearchResult>(&outcome)) {
      for (RankedPlan& plan : result->ranked) {
        found_.push_back(
            {.plan = std::move(plan), .device_of_rank = devices, .move = {}, .move_time = {}, .total = {}});
      }
    }
    return outcome;
  }

  Infeasible nothing_splits() const {
    const Strategy& s = from_.strategy;
    const auto left = static_cast<std::int64_t>(left_.size());
    std::string hint = "--full searches all degrees; --global-batch says another batch";
    const std::int64_t ranks = s.tp * s.cp * s.pp;
    if (left >= ranks) {
      const std::int64_t each = left / ranks * s.micro_batch;
      const std::int64_t below = std::max<std::int64_t>(batch_.global_batch / each, 1) * each;
      hint =
          fmt::format("with the old degrees {} devices take multiples of {} sequences, such as --global-batch {} or {}",
                      left / ranks * ranks, each, below, below + each);
    }
    return {.reason = fmt::format("no world of the {} devices that are left splits {} sequences by the rules", left,
                                  batch_.global_batch),
            .hint = hint};
  }

  /// The gap is that of step times: nothing that was not run, in what was searched of any world, is faster by more.
  void certify() {
    Certificate& c = out_.certificate;
    c.domain.insert(c.domain.begin(), {.name = "devices",
                                       .domain = fmt::format("{}", fmt::join(out_.worlds, " ")),
                                       .claim = "the largest worlds that the rules allow"});
    const Seconds best = time_of(found_.front());
    if (undecided_ && is_proved_) c.gap = (best - std::min(best, *undecided_)) / best;
  }

  void weigh() {
    const Holdings before(from_.model, from_.strategy, from_.num_ranks());
    const ShardMover mover(from_.cluster, before, devices_, lost_);
    out_.lost_alone = mover.lost_alone();
    out_.num_steps = 0.0;
    if (const auto* steps = std::get_if<std::int64_t>(&wishes_.horizon)) {
      out_.num_steps = static_cast<double>(*steps);
    } else {
      out_.num_steps = std::get<Seconds>(wishes_.horizon) / time_of(found_.front());
    }
    // The fastest, and the old split wherever it comes.
    const auto kept = std::find_if(found_.begin(), found_.end(), [](const ReplanOption& o) { return o.keeps_split; });
    const auto room = std::min(found_.size(), static_cast<std::size_t>(wishes_.num_options));
    if (kept != found_.end() && kept - found_.begin() >= static_cast<std::ptrdiff_t>(room)) {
      std::swap(*kept, found_[room - 1]);
    }
    found_.resize(room);
    out_.options = std::move(found_);
    std::optional<Seconds> best;
    for (ReplanOption& option : out_.options) {
      option.total = time_of(option) * out_.num_steps;
      if (best && option.total >= *best) continue;
      const Holdings after(from_.model, option.plan.strategy, static_cast<std::int64_t>(option.device_of_rank.size()));
      option.move = mover.move_to(after, option.device_of_rank);
      option.move_time = least_time(*option.move, from_.cluster, *cost_, option.device_of_rank, left_);
      option.total += option.move_time;
      best = std::min(best.value_or(option.total), option.total);
    }
    std::stable_sort(out_.options.begin(), out_.options.end(),
                     [](const ReplanOption& a, const ReplanOption& b) { return a.total < b.total; });
  }

  const Plan& from_;
  const BatchShape batch_;
  const std::shared_ptr<const costmodel::CostModel> cost_;
  const ReplanWishes& wishes_;
  const std::function<void(const Progress&)>& on_progress_;
  std::vector<bool> lost_;
  std::vector<DeviceIndex> devices_, left_;  // of the old plan by rank; that are left
  Domains any_;
  std::vector<World> worlds_;
  std::vector<ReplanOption> found_;
  std::optional<Infeasible> why_not_;
  std::optional<Seconds> undecided_;
  bool is_proved_ = true;  // that what was not run takes at least that
  std::string claim_;      // of the space, over all worlds
  Replanned out_;
};

}  // namespace

std::optional<double> break_even(const ReplanOption& faster, const ReplanOption& other) {
  const Seconds gain = other.plan.predictions.back().step_time - faster.plan.predictions.back().step_time;
  if (gain <= Seconds()) return std::nullopt;
  return std::max(0.0, (faster.move_time - other.move_time) / gain);
}

std::variant<Replanned, Infeasible> replan(const Plan& from, const std::vector<RankId>& lost, const BatchShape& batch,
                                           const std::shared_ptr<const costmodel::CostModel>& cost,
                                           const ReplanWishes& wishes,
                                           const std::function<void(const Progress&)>& on_progress) {
  return Replanner(from, lost, batch, cost, wishes, on_progress).run();
}

}  // namespace orrery::planner
