// SPDX-License-Identifier: Apache-2.0
#include "sim/repeated_phase.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <variant>

namespace orrery::sim {
namespace {

using costmodel::kNoMeeting;
using costmodel::Leg;
using costmodel::MeetingIndex;
using costmodel::TimedProgram;
using costmodel::TimedRank;

/// Differences of a state, as parts of a period and of a flow. What is repeated k times is then wrong by at most k of
/// it: 1e-9 of the step.
constexpr double kTolerance = 1e-9;

bool is_equal(const costmodel::CommTime& a, const costmodel::CommTime& b) {
  return a.latency == b.latency && std::ranges::equal(a.used_legs(), b.used_legs(), [](const Leg& x, const Leg& y) {
           return x.path == y.path && x.bytes == y.bytes && x.bandwidth == y.bandwidth;
         });
}

/// Distance from an op in the middle of the program to the same one `num_micro_batches` later, if the ops between them
/// are in the same order again; else 0.
OpIndex distance(const RankClass& rank_class, std::int32_t num_micro_batches) {
  const std::vector<Op>& ops = rank_class.ops;
  const auto later = [&](const Op& op) {
    OpKey key = op.key;
    if (key.micro_batch >= 0) key.micro_batch += num_micro_batches;
    return key;
  };
  const auto middle = static_cast<std::ptrdiff_t>(ops.size() / 3);
  const auto from = std::find_if(ops.begin() + middle, ops.end(), [](const Op& op) { return op.key.micro_batch >= 0; });
  if (from == ops.end()) return 0;
  const auto to =
      std::find_if(from, ops.end(), [&](const Op& op) { return op.key == later(*from) && op.queue == from->queue; });
  if (to == ops.end() || to - from > ops.end() - to) return 0;
  const bool same = std::equal(from, to, to, [&](const Op& a, const Op& b) { return b.key == later(a); });
  return same ? static_cast<OpIndex>(to - from) : 0;
}

}  // namespace

RepeatedPhase::RepeatedPhase(const TimedProgram& timed, const FlowPlan& plan) : timed_(timed), plan_(plan) {
  // Pairs of a recorded load are other ones in each micro-batch.
  if (std::holds_alternative<std::shared_ptr<const RecordedLoad>>(timed.load) || timed.ranks.empty()) return;
  // Interleaved schedules take micro-batches in groups of as many as there are stages.
  if (!find_shifts(1)) find_shifts(static_cast<std::int32_t>(timed.program->strategy.pp));
}

bool RepeatedPhase::find_shifts(std::int32_t num_micro_batches) {
  std::vector<OpIndex> of_class;
  for (const RankClass& rank_class : timed_.program->classes) {
    of_class.push_back(distance(rank_class, num_micro_batches));
    if (of_class.back() == 0) return false;
  }
  for (const TimedRank& rank : timed_.ranks) shift_.push_back(of_class[rank.view.program_class.index()]);
  const std::vector<Op>& ops = timed_.class_of(timed_.ranks[0]).ops;
  OpIndex anchor = static_cast<OpIndex>(ops.size() / 3);
  while (anchor + 1 < ops.size() && ops[anchor].queue != Queue::compute) ++anchor;
  anchor_ = anchor % shift_[0];
  is_over_ = false;
  return true;
}

bool RepeatedPhase::found(PhaseState state) {
  before_ = std::exchange(now_, std::move(state));
  if (before_.ranks.empty() || !is_same_state()) return false;
  find_ended();
  further_.assign(timed_.meetings.size(), kNoMeeting);
  while (repeats(static_cast<OpIndex>(num_periods_))) ++num_periods_;
  while (num_periods_ > 0 && !is_complete(static_cast<OpIndex>(num_periods_))) --num_periods_;
  is_over_ = true;
  return num_periods_ > 0;
}

bool RepeatedPhase::is_same_state() const {
  for (std::uint32_t rank = 0; rank < shift_.size(); ++rank) {
    const PhaseState::Rank &before = before_.ranks[rank], &now = now_.ranks[rank];
    if (!is_same(rank, before.computing, now.computing)) return false;
    for (std::size_t queue = 0; queue < kNumQueues; ++queue) {
      const OpIndex last = before.last_ended[queue], next = now.last_ended[queue];
      const bool is_still = next == last && before.communicating[queue].op == kNoOp;
      if (!is_still && (last == kNoOp || next - last != shift_[rank])) return false;
      if (!is_same(rank, before.communicating[queue], now.communicating[queue])) return false;
    }
  }
  return std::ranges::equal(before_.flows, now_.flows, [&](const FlowLeft& a, const FlowLeft& b) {
    return a.event.kind == b.event.kind && b.event.index - a.event.index == shift_[a.event.kind] && a.from == b.from &&
           a.to == b.to && a.path == b.path && a.route == b.route && a.next == b.next &&
           std::abs(a.left - b.left) <= kTolerance;
  });
}

bool RepeatedPhase::is_same(std::uint32_t rank, const UnderWay& before, const UnderWay& now) const {
  if (before.op == kNoOp || now.op == kNoOp) return before.op == now.op;
  const auto is_close = [&](Seconds a, Seconds b) { return std::abs((a - b) / period()) <= kTolerance; };
  return now.op - before.op == shift_[rank] && before.num_arrived == now.num_arrived &&
         before.num_sends == now.num_sends && before.rate == now.rate && is_close(before.left, now.left) &&
         is_close(before.since_ready, now.since_ready) && is_close(before.since_start, now.since_start);
}

void RepeatedPhase::find_ended() {
  ended_.assign(shift_.size(), {});
  for (std::uint32_t rank = 0; rank < shift_.size(); ++rank) {
    const std::vector<Op>& ops = timed_.class_of(timed_.ranks[rank]).ops;
    const auto &from = before_.ranks[rank].last_ended, &to = now_.ranks[rank].last_ended;
    OpIndex first = kNoOp, last = 0;
    for (std::size_t queue = 0; queue < kNumQueues; ++queue) {
      if (from[queue] == to[queue]) continue;
      first = std::min(first, from[queue] + 1);
      last = std::max(last, to[queue]);
    }
    for (OpIndex op = first; op <= last && first != kNoOp; ++op) {
      const auto queue = static_cast<std::size_t>(ops[op].queue);
      if (from[queue] != to[queue] && from[queue] < op && op <= to[queue]) ended_[rank].push_back(op);
    }
  }
}

bool RepeatedPhase::repeats(OpIndex times) {
  for (std::uint32_t rank = 0; rank < shift_.size(); ++rank) {
    const OpIndex further = times * shift_[rank];
    const auto alike = [&](OpIndex op) { return is_alike(rank, op + further); };
    if (!std::ranges::all_of(ended_[rank], alike)) return false;
    const PhaseState::Rank& state = now_.ranks[rank];
    if (state.computing.op != kNoOp && !alike(state.computing.op)) return false;
    for (const UnderWay& communicating : state.communicating) {
      if (communicating.op != kNoOp && !alike(communicating.op)) return false;
    }
  }
  return true;
}

bool RepeatedPhase::is_alike(std::uint32_t rank, OpIndex op) {
  const TimedRank& timed = timed_.ranks[rank];
  const RankClass& rank_class = timed_.class_of(timed);
  const OpIndex other = op + shift_[rank];
  if (other >= rank_class.ops.size()) return false;
  const Op &a = rank_class.ops[op], &b = rank_class.ops[other];
  if (a.queue != b.queue || a.key.op != b.key.op || a.key.layer != b.key.layer || a.shape != b.shape ||
      timed.compute_time[op] != timed.compute_time[other] || timed.slowdown_of(op) != timed.slowdown_of(other) ||
      timed.slowdown_by_exchange_of(op) != timed.slowdown_by_exchange_of(other)) {
    return false;
  }
  // What it waits for is as much further on, or had ended before all this.
  const auto had_ended = [&](OpIndex dep) {
    const OpIndex last = before_.ranks[rank].last_ended[static_cast<std::size_t>(rank_class.ops[dep].queue)];
    return last != kNoOp && dep <= last;
  };
  const auto is_dep_alike = [&](OpIndex x, OpIndex y) { return y - x == shift_[rank] || (x == y && had_ended(x)); };
  if (!std::ranges::equal(rank_class.deps_of(op), rank_class.deps_of(other), is_dep_alike)) return false;
  const MeetingIndex here = timed.meeting[op], there = timed.meeting[other];
  if (here == kNoMeeting || there == kNoMeeting) return here == there;
  // All that take part meet again in one communication.
  if (further_[here] == kNoMeeting) further_[here] = there;
  const costmodel::Meeting &x = timed_.meetings[here], &y = timed_.meetings[there];
  return further_[here] == there && plan_.fidelity[here] == plan_.fidelity[there] && x.message == y.message &&
         x.exchange == y.exchange && (x.time == y.time || is_equal(timed_.time_of(here), timed_.time_of(there))) &&
         std::ranges::equal(timed_.participants_of(here), timed_.participants_of(there));
}

bool RepeatedPhase::has_ended(std::uint32_t rank, OpIndex op, OpIndex times) const {
  const auto queue = static_cast<std::size_t>(timed_.class_of(timed_.ranks[rank]).ops[op].queue);
  const OpIndex before = before_.ranks[rank].last_ended[queue], now = now_.ranks[rank].last_ended[queue];
  return now != kNoOp && op <= now + (before == now ? 0 : times * shift_[rank]);
}

bool RepeatedPhase::is_complete(OpIndex times) const {
  for (std::uint32_t rank = 0; rank < shift_.size(); ++rank) {
    const RankClass& rank_class = timed_.class_of(timed_.ranks[rank]);
    const PhaseState::Rank& state = now_.ranks[rank];
    std::array<bool, kNumQueues> seen{};
    for (OpIndex op = 0; op < rank_class.ops.size(); ++op) {
      const auto queue = static_cast<std::size_t>(rank_class.ops[op].queue);
      if (seen[queue] || has_ended(rank, op, times)) continue;
      seen[queue] = true;  // the next one of its queue
      const OpIndex under_way =
          rank_class.ops[op].queue == Queue::compute ? state.computing.op : state.communicating[queue].op;
      if (under_way != kNoOp) {
        if (op != under_way + times * shift_[rank]) return false;
      } else if (std::ranges::all_of(rank_class.deps_of(op),
                                     [&](OpIndex dep) { return has_ended(rank, dep, times); })) {
        return false;  // it would have begun
      }
    }
  }
  return true;
}

}  // namespace orrery::sim
