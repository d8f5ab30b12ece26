// SPDX-License-Identifier: Apache-2.0
#include "costmodel/pipeline_walk.h"

#include "base/check.h"
#include "program/schedule.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

namespace orrery::costmodel {
namespace {

/// When an output is made that is not made yet: whatever needs it cannot start.
constexpr Seconds kNotMade = Seconds::from_si(std::numeric_limits<double>::infinity());

/// A stage as seen from the rank that holds it.
struct Held {
  SlotTimes times;
  StageNeighbours neighbours;
};

class Walk {
 public:
  Walk(const Strategy& strategy, std::int64_t num_micro_batches, const PipelineTimes& times, const OverlapRule& overlap)
      : num_micro_batches_(num_micro_batches), num_stages_(strategy.num_stages()), overlap_(overlap) {
    const auto num_outputs = static_cast<std::size_t>(num_stages_ * num_micro_batches);
    activations_.assign(num_outputs, kNotMade);
    gradients_.assign(num_outputs, kNotMade);
    messages_.resize(static_cast<std::size_t>(num_stages_));
    for (std::int64_t r = 0; r < strategy.pp; ++r) {
      Rank& rank = ranks_.emplace_back();
      rank.slots = slots_of(strategy, num_micro_batches, r);
      rank.held.resize(static_cast<std::size_t>(num_stages_));
      const std::vector<std::int64_t> stages = stages_of(strategy, r);
      for (std::size_t chunk = 0; chunk < stages.size(); ++chunk) {
        const auto stage = static_cast<std::size_t>(stages[chunk]);
        rank.held[stage] = {times.at(static_cast<std::size_t>(r)).at(chunk), neighbours_of(strategy, r, chunk)};
        messages_[stage] = std::max(messages_[stage], rank.held[stage].times.message);
      }
    }
  }

  std::vector<RankWalk> run() {
    for (bool progress = true; progress;) {
      progress = false;
      for (Rank& rank : ranks_) {
        while (rank.next < rank.slots.size() && pass(rank, rank.slots[rank.next])) progress = true;
      }
    }
    std::vector<RankWalk> out;
    for (const Rank& rank : ranks_) {
      CHECK(rank.next == rank.slots.size(), rank.next, rank.slots.size());
      out.push_back({.begin = rank.begin, .end = rank.end, .busy = rank.busy});
    }
    return out;
  }

 private:
  struct Rank {
    std::vector<Slot> slots;
    std::size_t next = 0;
    std::vector<Held> held;  // by stage
    Seconds begin, end, end_before, busy;
    /// When the last message of an edge arrived: activations and gradients from the next and the previous rank.
    std::array<Seconds, 4> last_arrival;
  };
  using Outputs = std::vector<Seconds>;  // when made, by stage and micro-batch

  std::size_t index(std::int64_t stage, std::int64_t micro_batch) const {
    return static_cast<std::size_t>(stage * num_micro_batches_ + micro_batch);
  }

  /// A message that a rank waits for: when it is made, on which of its edges it comes, and how long it takes.
  struct Input {
    Seconds made, time;
    std::ptrdiff_t edge = -1;  // -1: made here
  };
  Input input(const Outputs& outputs, std::int64_t stage, std::int64_t micro_batch, Neighbour from, std::ptrdiff_t kind,
              Seconds time) const {
    const Seconds made = outputs[index(stage, micro_batch)];
    if (from == Neighbour::same_rank) return {.made = made};
    return {.made = made, .time = time, .edge = 2 * kind + (from == Neighbour::next_rank ? 0 : 1)};
  }
  Input forward_input(const Rank& rank, std::int64_t stage, std::int64_t micro_batch) const {
    if (stage == 0) return {};
    const Held& held = rank.held[static_cast<std::size_t>(stage)];
    return input(activations_, stage - 1, micro_batch, held.neighbours.before, 0,
                 messages_[static_cast<std::size_t>(stage - 1)]);
  }
  Input backward_input(const Rank& rank, std::int64_t stage, std::int64_t micro_batch) const {
    const Held& held = rank.held[static_cast<std::size_t>(stage)];
    if (activations_[index(stage, micro_batch)] == kNotMade) return {.made = kNotMade};
    if (stage + 1 == num_stages_) return {};
    return input(gradients_, stage + 1, micro_batch, held.neighbours.behind, 1,
                 messages_[static_cast<std::size_t>(stage)]);
  }

  /// When `input` is on the rank.
  static Seconds arrival(Rank& rank, const Input& input) {
    if (input.edge < 0) return input.made;
    Seconds& last = rank.last_arrival[static_cast<std::size_t>(input.edge)];
    return last = std::max(std::max(input.made, rank.end_before), last) + input.time;
  }

  Seconds duration(const Rank& rank, const Slot& slot) const {
    const SlotTimes& times = rank.held[static_cast<std::size_t>(slot.stage)].times;
    switch (slot.kind) {
      case Slot::Kind::forward: {
        if (!slot.beside) return times.forward;
        const SlotTimes& other = rank.held[static_cast<std::size_t>(slot.beside->stage)].times;
        const Seconds exchanges = times.forward_exchanges + other.backward_exchanges;
        const Seconds arithmetic = times.forward + other.backward() - exchanges;
        OverlapRule rule = overlap_;
        if (arithmetic > Seconds::zero()) {
          rule.compute_slowdown += (times.forward_excess + other.backward_excess) / arithmetic;
        }
        return side_by_side(arithmetic, exchanges, rule);
      }
      case Slot::Kind::backward:
        return times.backward();
      case Slot::Kind::input_grad:
        return times.input_grad;
      case Slot::Kind::weight_grad:
        return times.weight_grad;
    }
    return {};
  }

  /// Whether what `slot` needs is there; if so, its outputs are, too, afterwards.
  bool pass(Rank& rank, const Slot& slot) {
    Input first, second;
    if (slot.kind == Slot::Kind::forward) {
      first = forward_input(rank, slot.stage, slot.micro_batch);
      if (slot.beside) second = backward_input(rank, slot.beside->stage, slot.beside->micro_batch);
    } else if (slot.kind != Slot::Kind::weight_grad) {
      first = backward_input(rank, slot.stage, slot.micro_batch);
    }
    if (std::max(first.made, second.made) == kNotMade) return false;

    const bool is_backward = slot.kind == Slot::Kind::backward || slot.kind == Slot::Kind::input_grad;
    const Seconds lead = is_backward ? rank.held[static_cast<std::size_t>(slot.stage)].times.lead : Seconds();
    const Seconds on_rank = arrival(rank, first) - lead;  // before the second, which may come on the same edge
    const Seconds start = std::max(std::max(rank.end, on_rank), arrival(rank, second));
    const Seconds time = duration(rank, slot);
    if (rank.next == 0) rank.begin = start;
    rank.end_before = rank.end;
    rank.end = start + time;
    rank.busy += time;
    ++rank.next;
    if (slot.kind == Slot::Kind::forward) {
      activations_[index(slot.stage, slot.micro_batch)] = rank.end;
      if (slot.beside) gradients_[index(slot.beside->stage, slot.beside->micro_batch)] = rank.end;
    } else if (slot.kind != Slot::Kind::weight_grad) {
      gradients_[index(slot.stage, slot.micro_batch)] = rank.end;
    }
    return true;
  }

  const std::int64_t num_micro_batches_, num_stages_;
  const OverlapRule overlap_;
  std::vector<Rank> ranks_;
  std::vector<Seconds> messages_;  // behind each stage
  Outputs activations_, gradients_;
};

}  // namespace

Seconds side_by_side(Seconds compute, Seconds comm, const OverlapRule& overlap) {
  const double a = 1.0 + overlap.compute_slowdown, b = 1.0 + overlap.comm_slowdown;
  if (compute * a >= comm * b) return comm * b + (compute - comm * (b / a));
  return compute * a + (comm - compute * (a / b));
}

std::vector<RankWalk> walk_pipeline(const Strategy& strategy, std::int64_t num_micro_batches,
                                    const PipelineTimes& times, const OverlapRule& overlap) {
  return Walk(strategy, num_micro_batches, times, overlap).run();
}

}  // namespace orrery::costmodel
