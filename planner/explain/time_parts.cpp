// SPDX-License-Identifier: Apache-2.0
#include "planner/explain/time_parts.h"

#include "base/check.h"
#include "traces/critical_path.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string_view>
#include <utility>

namespace orrery::planner {
namespace {

enum class Part : std::uint8_t {
  compute,
  recompute,
  optimizer,
  tp,
  cp,
  ep,
  etp,
  dp,
  edp,
  pp,
  world,
  copy,
  bubble,
  imbalance,
  peers,
  idle
};
constexpr std::array<std::string_view, 16> kPartNames = {
    "compute",     "recompute",  "optimizer",           "exposed tp",  "exposed cp",    "exposed ep",
    "exposed etp", "exposed dp", "exposed edp",         "exposed pp",  "exposed world", "exposed copy",
    "bubble",      "imbalance",  "peers without spans", "host or idle"};

Part part_of_compute(const OpKey& key) {
  if (key.pass == Pass::update || key.pass == Pass::sync) return Part::optimizer;
  return key.pass == Pass::rec ? Part::recompute : Part::compute;
}

/// What is none of these goes over the whole cluster, or between the two ends that share an embedding.
constexpr std::pair<Queue, Part> kPartOfQueue[] = {
    {Queue::tp, Part::tp}, {Queue::cp, Part::cp},   {Queue::ep, Part::ep},    {Queue::etp, Part::etp},
    {Queue::dp, Part::dp}, {Queue::edp, Part::edp}, {Queue::copy, Part::copy}};

Part part_of_queue(Queue queue) {
  if (is_pipeline(queue)) return Part::pp;
  for (const auto& [of, part] : kPartOfQueue) {
    if (of == queue) return part;
  }
  return Part::world;
}

/// Waiting for ranks of other stages is what pipelines call a bubble; for those of the same stage, which do the same
/// work, it is imbalance.
Part part_of_waiting(Queue queue) {
  const Part part = part_of_queue(queue);
  return part == Part::pp || part == Part::world ? Part::bubble : Part::imbalance;
}

/// The account of one rank.
class RankAccount {
 public:
  RankAccount(const Spans& spans, const std::vector<std::size_t>& of_rank, double step) : spans_(spans), step_(step) {
    for (const std::size_t i : of_rank) {
      if (spans.queue()[i] == Queue::compute) {
        compute_.push_back(i);
      } else if (!is_send(spans.queue()[i])) {  // nobody waits for what he sends
        communication_.push_back(i);
      }
    }
    std::sort(compute_.begin(), compute_.end(), [&](auto a, auto b) { return start(a) < start(b); });
    std::sort(communication_.begin(), communication_.end(), [&](auto a, auto b) { return ready(a) < ready(b); });
  }

  std::map<Part, double> run() {
    double now = 0.0;
    for (const std::size_t op : compute_) {
      idle(now, start(op));
      parts_[part_of_compute(spans_.key()[op])] += end(op) - std::max(now, start(op));
      now = std::max(now, end(op));
    }
    idle(now, step_);
    return std::move(parts_);
  }

 private:
  double ready(std::size_t i) const { return spans_.ready()[i]; }
  double start(std::size_t i) const { return spans_.start()[i]; }
  double end(std::size_t i) const { return spans_.end()[i]; }

  /// Shares out the time from `from` to `to`, in which nothing is computed. Intervals come in order.
  void idle(double from, double to) {
    if (to <= from) return;
    while (next_ < communication_.size() && ready(communication_[next_]) < to) open_.push_back(communication_[next_++]);
    std::erase_if(open_, [&](std::size_t i) { return end(i) <= from; });
    std::set<double> cuts{from, to};
    for (const std::size_t i : open_) {
      for (const double time : {ready(i), start(i), end(i)}) {
        if (from < time && time < to) cuts.insert(time);
      }
    }
    for (auto cut = cuts.begin(); std::next(cut) != cuts.end(); ++cut) {
      parts_[part_between(*cut, *std::next(cut), from, to)] += *std::next(cut) - *cut;
    }
  }

  /// No communication changes its state between the two times.
  Part part_between(double begin, double finish, double from, double to) const {
    const std::size_t* running = nullptr;
    const std::size_t* waiting = nullptr;
    for (const std::size_t& i : open_) {
      if (ready(i) > begin || end(i) < finish) continue;
      const bool runs = start(i) <= begin;
      const std::size_t*& best = runs ? running : waiting;
      if (best == nullptr || releases(i, to) > releases(*best, to)) best = &i;
    }
    if (running != nullptr) return part_of_queue(spans_.queue()[*running]);
    if (waiting != nullptr) return part_of_waiting(spans_.queue()[*waiting]);
    const bool at_an_end = from <= 0.0 || to >= step_;
    return at_an_end ? Part::bubble : Part::idle;
  }

  /// Of what runs, compute waits for the one that ends last before it goes on; what goes on beside it was not awaited.
  std::pair<bool, double> releases(std::size_t i, double to) const {
    const bool before = end(i) <= to * (1.0 + 1e-12);
    return {before, before ? end(i) : -end(i)};
  }

  const Spans& spans_;
  double step_;
  std::vector<std::size_t> compute_, communication_;
  std::vector<std::size_t> open_;  // that may run or wait in the interval at hand
  std::size_t next_ = 0;
  std::map<Part, double> parts_;
};

std::map<Part, Seconds> of_ranks(const Trace& trace, const StepRecord& step) {
  const Spans& spans = trace.spans;
  std::map<std::int32_t, std::vector<std::size_t>> by_rank;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    if (spans.step()[i] == step.step) by_rank[spans.rank()[i]].push_back(i);
  }
  std::map<Part, Seconds> sums;
  double num_ranks = 0.0;
  for (const auto& [rank, of_rank] : by_rank) {
    const auto represents = trace.header.represents.find(rank);
    const auto count = static_cast<double>(represents == trace.header.represents.end() ? 1 : represents->second);
    num_ranks += count;
    for (const auto& [part, time] : RankAccount(spans, of_rank, step.time.in(unit::second)).run()) {
      sums[part] += seconds(time) * count;
    }
  }
  for (auto& [part, sum] : sums) sum = sum / num_ranks;
  return sums;
}

std::map<Part, Seconds> of_path(const Trace& trace, const StepRecord& step) {
  std::map<Part, Seconds> sums;
  for (const CriticalPath::Part& part : critical_path(trace, step.step).parts) {
    const Queue queue = trace.spans.queue()[part.span];
    const bool computes = queue == Queue::compute;
    sums[computes ? part_of_compute(trace.spans.key()[part.span]) : part_of_queue(queue)] += part.work;
    sums[Part::peers] += part.peer_wait;
    sums[Part::idle] += part.gap;
  }
  return sums;
}

}  // namespace

std::vector<TimePart> time_parts(const Trace& trace) {
  CHECK(!trace.steps.empty() && trace.spans.size() > 0, trace.steps.size(), trace.spans.size());
  std::map<Part, Seconds> ranks = of_ranks(trace, trace.steps.front());
  std::map<Part, Seconds> path = of_path(trace, trace.steps.front());
  std::vector<TimePart> parts;
  for (std::size_t i = 0; i < kPartNames.size(); ++i) {
    const auto part = static_cast<Part>(i);
    if (ranks[part] == Seconds() && path[part] == Seconds()) continue;
    parts.push_back({.name = std::string(kPartNames[i]), .of_ranks = ranks[part], .of_path = path[part]});
  }
  return parts;
}

}  // namespace orrery::planner
