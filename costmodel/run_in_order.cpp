// SPDX-License-Identifier: Apache-2.0
#include "costmodel/run_in_order.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace orrery::costmodel {
namespace {

/// The end of an op that waits for a peer: later than everything, so whatever waits for it is as late.
constexpr Seconds kUnknown = Seconds::from_si(std::numeric_limits<double>::infinity());

class PassInOrder {
 public:
  PassInOrder(const TimedProgram& timed, bool keep_times)
      : timed_(timed), keep_(keep_times), ranks_(timed.ranks.size()), gatherings_(timed.meetings.size()) {
    if (keep_) out_.ranks.resize(ranks_.size());
    for (std::uint32_t r = 0; r < ranks_.size(); ++r) {
      const std::size_t num_ops = timed.class_of(timed.ranks[r]).ops.size();
      ranks_[r].end.resize(num_ops);
      if (!keep_) continue;
      OpTimes::Rank& times = out_.ranks[r];
      times.ready.resize(num_ops);
      times.start.resize(num_ops);
      times.last_peer.assign(num_ops, -1);
    }
  }

  std::optional<OpTimes> run() {
    for (auto r = static_cast<std::uint32_t>(ranks_.size()); r-- > 0;) going_.push_back(r);
    while (!going_.empty()) {
      const std::uint32_t r = going_.back();
      going_.pop_back();
      go_on(r);
    }
    for (const Rank& rank : ranks_) {
      if (rank.next < rank.end.size()) return std::nullopt;
      out_.makespan = std::max(out_.makespan, *std::ranges::max_element(rank.queue_end));
    }
    if (out_.makespan == kUnknown) return std::nullopt;
    for (std::size_t r = 0; keep_ && r < ranks_.size(); ++r) out_.ranks[r].end = std::move(ranks_[r].end);
    return std::move(out_);
  }

 private:
  struct Rank {
    OpIndex next = 0;          // ops before it are done, or wait for a peer
    bool rests = false;        // since `next` needs an end that is not known
    std::vector<Seconds> end;  // by op, up to `next`
    std::array<Seconds, kNumQueues> queue_end{};
  };
  /// Who has come to a meeting of several ranks.
  struct Gathering {
    std::uint32_t first = 0, num_arrived = 0;  // into arrivals_
    Seconds latest;
  };

  /// Takes ops of a rank until one needs an end that is not known.
  void go_on(std::uint32_t r) {
    Rank& rank = ranks_[r];
    const TimedRank& timed_rank = timed_.ranks[r];
    const RankClass& rank_class = timed_.class_of(timed_rank);
    for (OpIndex op = rank.next; op < rank.end.size(); ++op) {
      Seconds& queue_end = rank.queue_end[static_cast<std::size_t>(rank_class.ops[op].queue)];
      Seconds ready = queue_end;
      for (const OpIndex before : rank_class.deps_of(op)) ready = std::max(ready, rank.end[before]);
      if (ready == kUnknown) {
        rank.next = op;
        rank.rests = true;
        return;
      }
      const MeetingIndex meeting = timed_rank.meeting[op];
      if (keep_) out_.ranks[r].ready[op] = out_.ranks[r].start[op] = ready;
      const Seconds end = meeting == kNoMeeting ? ready + timed_rank.compute_time[op] : end_of(meeting, {r, op}, ready);
      rank.end[op] = queue_end = end;
    }
    rank.next = static_cast<OpIndex>(rank.end.size());
  }

  /// When the meeting ends, if `self` was the last that was missing.
  Seconds end_of(MeetingIndex index, RankOp self, Seconds ready) {
    const Meeting& meeting = timed_.meetings[index];
    if (meeting.num_participants == 1) return ready + timed_.time_of(index).alone();
    Gathering& gathering = gatherings_[index];
    if (gathering.num_arrived == 0) {
      gathering.first = static_cast<std::uint32_t>(arrivals_.size());
      arrivals_.resize(arrivals_.size() + meeting.num_participants);
    }
    arrivals_[gathering.first + gathering.num_arrived++] = self;
    gathering.latest = std::max(gathering.latest, ready);
    if (gathering.num_arrived < meeting.num_participants) return kUnknown;

    const std::span<const RankOp> members = std::span(arrivals_).subspan(gathering.first, gathering.num_arrived);
    if (keep_) note_start(members, gathering.latest, timed_, out_);
    const Seconds end = gathering.latest + timed_.time_of(index).alone();
    for (const RankOp& member : members) settle(member, end);
    return end;
  }

  /// Now the end of an op is known: its rank can go on.
  void settle(RankOp self, Seconds end) {
    Rank& rank = ranks_[self.rank];
    const RankClass& rank_class = timed_.class_of(timed_.ranks[self.rank]);
    rank.end[self.op] = rank.queue_end[static_cast<std::size_t>(rank_class.ops[self.op].queue)] = end;
    if (std::exchange(rank.rests, false)) going_.push_back(self.rank);
  }

  const TimedProgram& timed_;
  const bool keep_;
  std::vector<Rank> ranks_;
  std::vector<Gathering> gatherings_;  // by meeting
  std::vector<RankOp> arrivals_;       // of all gatherings
  std::vector<std::uint32_t> going_;   // ranks that may go on, the next one last
  OpTimes out_;
};

}  // namespace

bool rates_are_fixed(const TimedProgram& timed) {
  return std::ranges::all_of(timed.ranks, [](const TimedRank& rank) {
    if (rank.overlap.comm_slowdown != 0.0 || !rank.slowdown_by_exchange.empty()) return false;
    if (rank.slowdown.empty()) return rank.overlap.compute_slowdown == 0.0;
    for (OpIndex op = 0; op < rank.meeting.size(); ++op) {
      if (rank.meeting[op] == kNoMeeting && rank.slowdown[op] != 0.0F) return false;
    }
    return true;
  });
}

std::optional<OpTimes> run_in_order(const TimedProgram& timed, bool keep_times) {
  return PassInOrder(timed, keep_times).run();
}

}  // namespace orrery::costmodel
