// SPDX-License-Identifier: Apache-2.0
#include "program/schedules/greedy_zero_bubble.h"

#include "base/check.h"

#include <algorithm>
#include <limits>
#include <set>
#include <tuple>

namespace orrery::schedules {
namespace {

constexpr Seconds kNever = Seconds::from_si(std::numeric_limits<double>::infinity());

/// What the greedy rule leaves open. No choice wins for all times.
struct Choices {
  /// How many forwards fewer than the rank before it a rank may have that wait for their gradient. 1 is the staircase
  /// of zb_h1, 2 that of zb_h2; with 0 only the memory limit counts.
  std::int64_t descent;
  bool gradients_first;    // when a forward and an input gradient could both start
  bool weights_may_delay;  // a weight gradient may end after the next forward or gradient has arrived
};

/// One rank as it fills up. Micro-batches pass in order, so a count is also the next micro-batch.
struct Rank {
  std::vector<Slot> slots;
  std::vector<Seconds> forward_arrival, gradient_arrival;  // by micro-batch, of those that a neighbour has started
  std::int64_t num_weight_grads = 0, num_forwards = 0, num_input_grads = 0;
  Seconds free_at, started;

  std::int64_t in_flight() const { return num_forwards - num_weight_grads; }
  std::int64_t num_waiting() const { return num_forwards - num_input_grads; }  // for their gradient
};

/// When the micro-batch arrives; never, if nobody has started to make it.
Seconds arrival(const std::vector<Seconds>& arrivals, std::int64_t micro_batch) {
  const auto i = static_cast<std::size_t>(micro_batch);
  return i < arrivals.size() ? arrivals[i] : kNever;
}

/// Lets time pass; a rank that is free starts a slot, or waits, by what it knows at that moment.
class GreedySimulation {
 public:
  GreedySimulation(const GreedyProblem& problem, const Choices& choices)
      : problem_(problem), choices_(choices), ranks_(problem.stages.size()) {
    ranks_.front().forward_arrival.assign(static_cast<std::size_t>(problem.num_micro_batches), Seconds::zero());
  }

  GreedyOrder run() {
    moments_.insert(Seconds::zero());
    while (!moments_.empty()) {
      now_ = *moments_.begin();
      moments_.erase(moments_.begin());
      for (std::size_t r = 0; r < ranks_.size(); ++r) {
        if (ranks_[r].free_at <= now_) start_next(r);
      }
    }
    GreedyOrder order;
    for (Rank& rank : ranks_) {
      CHECK(rank.num_weight_grads == problem_.num_micro_batches, rank.num_weight_grads, problem_.num_micro_batches);
      order.makespan = std::max(order.makespan, rank.free_at);
      order.ranks.push_back(std::move(rank.slots));
    }
    return order;
  }

  /// Of the rank that takes longest from its first slot to its last.
  Seconds longest_span() const {
    Seconds longest;
    for (const Rank& rank : ranks_) longest = std::max(longest, rank.free_at - rank.started);
    return longest;
  }

 private:
  void start_next(std::size_t r) {
    Rank& rank = ranks_[r];
    const StageTimes& times = problem_.stages[r];
    const Seconds gradient = arrival(rank.gradient_arrival, rank.num_input_grads);
    const Seconds forward = has_room(r) ? arrival(rank.forward_arrival, rank.num_forwards) : kNever;

    if (gradient <= now_ && (choices_.gradients_first || forward > now_)) {
      const Seconds end = start(r, Slot::Kind::input_grad, rank.num_input_grads++, times.input_grad);
      if (r > 0) deliver(ranks_[r - 1].gradient_arrival, end);
    } else if (forward <= now_) {
      if (rank.num_forwards == 0) rank.started = now_;
      const Seconds end = start(r, Slot::Kind::forward, rank.num_forwards++, times.forward);
      if (r + 1 < ranks_.size()) {
        deliver(ranks_[r + 1].forward_arrival, end);
      } else {
        rank.gradient_arrival.push_back(end);
      }
    } else if (rank.num_weight_grads < rank.num_input_grads) {
      const bool fits = now_ + times.weight_grad <= std::min(gradient, forward);
      if (fits || choices_.weights_may_delay) {
        start(r, Slot::Kind::weight_grad, rank.num_weight_grads++, times.weight_grad);
      }
    }
  }

  bool has_room(std::size_t r) const {
    const std::int64_t limit = problem_.max_in_flight;
    const std::int64_t step = limit - choices_.descent * static_cast<std::int64_t>(r);
    return ranks_[r].in_flight() < limit && ranks_[r].num_waiting() < std::max<std::int64_t>(1, step);
  }

  Seconds start(std::size_t r, Slot::Kind kind, std::int64_t micro_batch, Seconds time) {
    ranks_[r].slots.push_back({kind, static_cast<std::int64_t>(r), micro_batch});
    ranks_[r].free_at = now_ + time;
    moments_.insert(ranks_[r].free_at);
    return ranks_[r].free_at;
  }

  void deliver(std::vector<Seconds>& arrivals, Seconds end) {
    arrivals.push_back(end + problem_.message);
    moments_.insert(arrivals.back());
  }

  const GreedyProblem& problem_;
  Choices choices_;
  std::vector<Rank> ranks_;
  std::set<Seconds> moments_;  // when a rank gets free or something arrives
  Seconds now_;
};

}  // namespace

GreedyOrder greedy_zero_bubble(const GreedyProblem& problem) {
  CHECK(!problem.stages.empty() && problem.num_micro_batches >= 1 && problem.max_in_flight >= 1, problem.stages.size(),
        problem.num_micro_batches, problem.max_in_flight);
  GreedyOrder best;
  std::tuple<Seconds, Seconds> best_times = {kNever, kNever};
  for (const std::int64_t descent : {1, 2, 0}) {
    for (const bool gradients_first : {true, false}) {
      for (const bool weights_may_delay : {true, false}) {
        GreedySimulation simulation(problem, {descent, gradients_first, weights_may_delay});
        GreedyOrder order = simulation.run();
        const std::tuple times = {order.makespan, simulation.longest_span()};
        if (times >= best_times) continue;
        best_times = times;
        best = std::move(order);
      }
    }
  }
  return best;
}

}  // namespace orrery::schedules
