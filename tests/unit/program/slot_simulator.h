// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/schedule.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

// How long orders of slots take on idle links: an oracle for tests of schedules. It knows nothing of ops and shares no
// code with the interpreters. A rank runs its slots one after the other, each as soon as its inputs are there:
// a forward waits for the stage before, a backward or input gradient for the stage behind and its own forward, a weight
// gradient for its input gradient. What a slot makes is there at its end, and a message later on another rank.

namespace orrery::testing {

/// Times of the slots of a stage, in any unit.
struct SlotTimes {
  double forward = 0.0;
  double input_grad = 0.0;
  double weight_grad = 0.0;
  double pair = 0.0;  // an overlapped forward and backward
  double message = 0.0;

  double backward() const { return input_grad + weight_grad; }
};

struct RankReplay {
  double start = 0.0;
  double end = 0.0;
  double busy = 0.0;
  std::int64_t peak_live = 0;  // activations from the start of their forward to the end of backward or weight gradient

  double span_idle() const { return end - start - busy; }
};

struct PipelineReplay {
  bool deadlock = false;
  double makespan = 0.0;
  std::vector<RankReplay> ranks;

  double idle(std::size_t rank) const { return makespan - ranks[rank].busy; }
  double largest_idle() const {
    double largest = 0.0;
    for (std::size_t r = 0; r < ranks.size(); ++r) largest = std::max(largest, idle(r));
    return largest;
  }
  double largest_span_idle() const {
    double largest = 0.0;
    for (const RankReplay& rank : ranks) largest = std::max(largest, rank.span_idle());
    return largest;
  }
};

class SlotSimulator {
 public:
  SlotSimulator(const std::vector<std::vector<Slot>>& orders, std::function<SlotTimes(std::int64_t stage)> times)
      : orders_(orders), times_(std::move(times)), live_(orders.size()) {
    replay_.ranks.resize(orders.size());
    for (const std::vector<Slot>& order : orders) {
      for (const Slot& slot : order) last_stage_ = std::max(last_stage_, slot.stage);
    }
  }

  PipelineReplay run() {
    std::vector<std::size_t> next(orders_.size());
    for (bool progress = true; progress;) {
      progress = false;
      for (std::size_t rank = 0; rank < orders_.size(); ++rank) {
        while (next[rank] < orders_[rank].size() && try_slot(rank, orders_[rank][next[rank]])) {
          progress = true;
          ++next[rank];
        }
      }
    }
    for (std::size_t rank = 0; rank < orders_.size(); ++rank) {
      replay_.deadlock |= next[rank] < orders_[rank].size();
      replay_.makespan = std::max(replay_.makespan, replay_.ranks[rank].end);
    }
    return replay_;
  }

 private:
  struct Output {
    double at = 0.0;
    std::size_t rank = 0;
  };
  using Outputs = std::map<std::pair<std::int64_t, std::int64_t>, Output>;  // by stage and micro-batch

  /// When the output of (stage, micro-batch) is on `rank`; nothing while it is not made.
  std::optional<double> available(const Outputs& outputs, std::int64_t stage, std::int64_t micro_batch,
                                  std::size_t rank) const {
    const auto found = outputs.find({stage, micro_batch});
    if (found == outputs.end()) return std::nullopt;
    return found->second.at + (found->second.rank == rank ? 0.0 : times_(stage).message);
  }

  std::optional<double> forward_input(std::size_t rank, std::int64_t stage, std::int64_t micro_batch) const {
    return stage == 0 ? 0.0 : available(activations_, stage - 1, micro_batch, rank);
  }
  std::optional<double> backward_input(std::size_t rank, std::int64_t stage, std::int64_t micro_batch) const {
    const std::optional<double> own = available(activations_, stage, micro_batch, rank);
    if (stage == last_stage_ || !own) return own;
    const std::optional<double> gradient = available(gradients_, stage + 1, micro_batch, rank);
    return gradient ? std::max(*own, *gradient) : gradient;
  }

  std::optional<double> input(std::size_t rank, const Slot& slot) const {
    switch (slot.kind) {
      case Slot::Kind::forward: {
        const std::optional<double> forward = forward_input(rank, slot.stage, slot.micro_batch);
        if (!slot.beside || !forward) return forward;
        const std::optional<double> gradient = backward_input(rank, slot.beside->stage, slot.beside->micro_batch);
        return gradient ? std::max(*forward, *gradient) : gradient;
      }
      case Slot::Kind::backward:
      case Slot::Kind::input_grad:
        return backward_input(rank, slot.stage, slot.micro_batch);
      case Slot::Kind::weight_grad:
        return available(gradients_, slot.stage, slot.micro_batch, rank);
    }
    return std::nullopt;
  }

  double duration(const Slot& slot) const {
    const SlotTimes times = times_(slot.stage);
    switch (slot.kind) {
      case Slot::Kind::forward:
        return slot.beside ? times.pair : times.forward;
      case Slot::Kind::backward:
        return times.backward();
      case Slot::Kind::input_grad:
        return times.input_grad;
      case Slot::Kind::weight_grad:
        return times.weight_grad;
    }
    return 0.0;
  }

  bool try_slot(std::size_t rank, const Slot& slot) {
    const std::optional<double> ready = input(rank, slot);
    if (!ready) return false;
    RankReplay& run = replay_.ranks[rank];
    const double start = std::max(run.end, *ready);
    if (run.busy == 0.0) run.start = start;
    run.end = start + duration(slot);
    run.busy += duration(slot);

    const Output output = {run.end, rank};
    if (slot.kind == Slot::Kind::forward) {
      activations_[{slot.stage, slot.micro_batch}] = output;
      run.peak_live = std::max(run.peak_live, ++live_[rank]);
      if (slot.beside) {
        gradients_[{slot.beside->stage, slot.beside->micro_batch}] = output;
        --live_[rank];
      }
    } else {
      if (slot.kind != Slot::Kind::weight_grad) gradients_[{slot.stage, slot.micro_batch}] = output;
      if (slot.kind != Slot::Kind::input_grad) --live_[rank];
    }
    return true;
  }

  const std::vector<std::vector<Slot>>& orders_;
  std::function<SlotTimes(std::int64_t)> times_;
  std::int64_t last_stage_ = 0;
  Outputs activations_, gradients_;
  std::vector<std::int64_t> live_;
  PipelineReplay replay_;
};

inline PipelineReplay replay(const std::vector<std::vector<Slot>>& orders, const SlotTimes& times) {
  return SlotSimulator(orders, [&times](std::int64_t) { return times; }).run();
}

/// The slots of all ranks.
inline std::vector<std::vector<Slot>> orders_of(Schedule schedule, const PipelineShape& shape) {
  std::vector<std::vector<Slot>> orders;
  for (std::int64_t rank = 0; rank < shape.num_ranks; ++rank) orders.push_back(slots_of(schedule, shape, rank));
  return orders;
}

}  // namespace orrery::testing
