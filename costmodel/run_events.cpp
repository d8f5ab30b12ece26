// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "costmodel/op_times.h"
#include "costmodel/rate_rule.h"
#include "program/dependents.h"

#include <algorithm>
#include <queue>
#include <utility>

namespace orrery::costmodel {
namespace {

/// How far ahead of an op that ends others of its rank are fetched: two cache lines of the narrowest table.
constexpr std::size_t kOpsAhead = 32;

/// The end of an activity, unless its rate has changed since (then `version` is old).
struct Event {
  double time = 0.0;
  std::uint64_t order = 0;  // rank and op
  std::uint32_t activity = 0, version = 0;

  bool operator>(const Event& other) const { return time != other.time ? time > other.time : order > other.order; }
};

class EventRun {
 public:
  EventRun(const TimedProgram& timed, bool keep_times) : timed_(timed), keep_(keep_times) {
    dependents_.reserve(timed.program->classes.size());
    for (const RankClass& rank_class : timed.program->classes) dependents_.emplace_back(rank_class);
    ranks_.resize(timed.ranks.size());
    if (keep_) out_.ranks.resize(ranks_.size());
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      const TimedRank& rank = timed.ranks[r];
      ranks_[r].dependents = &dependents_[rank.view.program_class.index()];
      ranks_[r].num_waits = ranks_[r].dependents->num_predecessors();
      num_left_ += ranks_[r].num_waits.size();
      if (!keep_) continue;
      OpTimes::Rank& times = out_.ranks[r];
      times.ready.resize(ranks_[r].num_waits.size());
      times.start = times.end = times.ready;
      times.last_peer.assign(ranks_[r].num_waits.size(), -1);
    }
    std::uint32_t first = 0;
    meetings_.reserve(timed.meetings.size());
    for (const Meeting& meeting : timed.meetings) {
      const Seconds alone = timed.comm_times[meeting.time].alone();
      meetings_.push_back({.first = first, .num_missing = meeting.num_participants, .alone = alone});
      first += meeting.num_participants;
    }
    arrivals_.resize(first);
  }

  OpTimes run() {
    for (std::uint32_t r = 0; r < ranks_.size(); ++r) {
      const std::vector<std::uint32_t>& waits = ranks_[r].dependents->num_predecessors();
      for (OpIndex op = 0; op < waits.size(); ++op) {
        if (waits[op] == 0) arrive({r, op});
      }
    }
    while (!events_.empty()) {
      const Event event = events_.top();
      events_.pop();
      const bool is_meeting = event.activity >= ranks_.size();
      if (event.version !=
          (is_meeting ? meetings_[event.activity - ranks_.size()].version : ranks_[event.activity].version)) {
        continue;
      }
      now_ = seconds(event.time);
      if (is_meeting) {
        end_meeting(event.activity - static_cast<std::uint32_t>(ranks_.size()));
      } else {
        end_compute(event.activity);
      }
    }
    CHECK(num_left_ == 0, num_left_, waiting_ops());
    out_.makespan = now_;
    return std::move(out_);
  }

 private:
  struct Rank {
    const Dependents* dependents = nullptr;
    std::vector<std::uint32_t> num_waits;  // by op: predecessors that have not ended
    std::uint32_t version = 0;
    bool computing = false;
    OpIndex op = 0;  // that is computing
    Progress progress;
    std::vector<MeetingIndex> comms;  // running
    RunningComms beside;              // the same, counted
  };
  struct RunningMeeting {
    std::uint32_t first = 0;  // into arrivals_
    std::uint32_t num_arrived = 0, num_missing = 0;
    std::uint32_t version = 0;
    Seconds alone;
    Progress progress = {};
  };

  /// The op's queue and dependencies allow it from now on.
  void arrive(RankOp self) {
    const TimedRank& timed_rank = timed_.ranks[self.rank];
    if (keep_) out_.ranks[self.rank].ready[self.op] = now_;
    const MeetingIndex index = timed_rank.meeting[self.op];
    if (index == kNoMeeting) {
      start_compute(self);
      return;
    }
    RunningMeeting& meeting = meetings_[index];
    arrivals_[meeting.first + meeting.num_arrived++] = self;
    if (--meeting.num_missing == 0) start_meeting(index);
  }

  void start_compute(RankOp self) {
    Rank& rank = ranks_[self.rank];
    const OverlapRule& rule = timed_.ranks[self.rank].overlap;
    rank.computing = true;
    rank.op = self.op;
    rank.progress.start(timed_.ranks[self.rank].compute_time[self.op], rate_of(timed_.ranks[self.rank], rank), now_);
    push_compute(self.rank);
    if (keep_) out_.ranks[self.rank].start[self.op] = now_;
    update_comms(rank, rule);
  }

  void end_compute(std::uint32_t r) {
    Rank& rank = ranks_[r];
    rank.computing = false;
    ++rank.version;
    update_comms(rank, timed_.ranks[r].overlap);
    finish({r, rank.op});
  }

  void start_meeting(MeetingIndex index) {
    RunningMeeting& meeting = meetings_[index];
    const std::span<const RankOp> members = arrived(meeting);
    for (const RankOp& member : members) {
      Rank& rank = ranks_[member.rank];
      rank.comms.push_back(index);
      rank.beside.add(timed_.meetings[index].exchange);
      update_compute(member.rank);
    }
    if (keep_) note_start(members, now_, timed_, out_);
    meeting.progress.start(meeting.alone, rate_of(meeting), now_);
    push_meeting(index);
  }

  void end_meeting(MeetingIndex index) {
    RunningMeeting& meeting = meetings_[index];
    ++meeting.version;
    for (const RankOp& member : arrived(meeting)) {
      std::erase(ranks_[member.rank].comms, index);
      ranks_[member.rank].beside.add(timed_.meetings[index].exchange, -1);
      update_compute(member.rank);
    }
    for (const RankOp& member : arrived(meeting)) finish(member);
  }

  void finish(RankOp self) {
    --num_left_;
    if (keep_) out_.ranks[self.rank].end[self.op] = now_;
    Rank& rank = ranks_[self.rank];
    // Ranks take turns, each through its ops about in order: a pattern that the processor does not see by itself. Here
    // and not in a function, which the compiler would find to do nothing.
    if (const std::size_t ahead = std::size_t{self.op} + kOpsAhead; ahead < rank.num_waits.size()) {
      const TimedRank& timed_rank = timed_.ranks[self.rank];
      __builtin_prefetch(&rank.num_waits[ahead]);
      __builtin_prefetch(&timed_rank.meeting[ahead]);
      __builtin_prefetch(&timed_rank.compute_time[ahead]);
      if (!timed_rank.slowdown.empty()) __builtin_prefetch(&timed_rank.slowdown[ahead]);
    }
    for (const OpIndex next : rank.dependents->of(self.op)) {
      if (--rank.num_waits[next] == 0) arrive({self.rank, next});
    }
  }

  /// Of what the rank computes.
  static double rate_of(const TimedRank& timed, const Rank& rank) {
    return compute_rate(timed.slowdown_of(rank.op), timed.slowdown_by_exchange_of(rank.op), rank.beside);
  }

  double rate_of(const RunningMeeting& meeting) const {
    double rate = 1.0;
    for (const RankOp& member : arrived(meeting)) {
      rate = std::min(rate, comm_rate(timed_.ranks[member.rank].overlap, ranks_[member.rank].computing));
    }
    return rate;
  }

  /// Re-arms the compute op of a rank after a communication started or ended beside it.
  void update_compute(std::uint32_t r) {
    Rank& rank = ranks_[r];
    if (!rank.computing) return;
    const double rate = rate_of(timed_.ranks[r], rank);
    if (rate == rank.progress.rate()) return;
    rank.progress.set_rate(rate, now_);
    ++rank.version;
    push_compute(r);
  }

  /// Re-arms the communications of a rank after a compute op started or ended beside them.
  void update_comms(Rank& rank, const OverlapRule& rule) {
    if (rule.comm_slowdown == 0.0) return;
    for (MeetingIndex index : rank.comms) {
      RunningMeeting& meeting = meetings_[index];
      const double rate = rate_of(meeting);
      if (rate == meeting.progress.rate()) continue;
      meeting.progress.set_rate(rate, now_);
      ++meeting.version;
      push_meeting(index);
    }
  }

  void push_compute(std::uint32_t r) {
    const Rank& rank = ranks_[r];
    push(rank.progress, {r, rank.op}, r, rank.version);
  }
  void push_meeting(MeetingIndex index) {
    const RunningMeeting& meeting = meetings_[index];
    push(meeting.progress, arrivals_[meeting.first], static_cast<std::uint32_t>(ranks_.size()) + index,
         meeting.version);
  }
  void push(const Progress& progress, RankOp by, std::uint32_t activity, std::uint32_t version) {
    events_.push({.time = progress.end().in(unit::second),
                  .order = std::uint64_t{by.rank} << 32 | by.op,
                  .activity = activity,
                  .version = version});
  }

  std::span<const RankOp> arrived(const RunningMeeting& meeting) const {
    return std::span(arrivals_).subspan(meeting.first, meeting.num_arrived);
  }

  /// The first op of each queue that cannot go on, for the message of a deadlock.
  std::string waiting_ops() const {
    std::string text;
    for (std::size_t r = 0; r < ranks_.size() && text.size() < 600; ++r) {
      const TimedRank& rank = timed_.ranks[r];
      const std::vector<Op>& ops = timed_.class_of(rank).ops;
      for (OpIndex op = 0; op < ops.size(); ++op) {
        const bool arrived_alone = ranks_[r].num_waits[op] == 0 && rank.meeting[op] != kNoMeeting &&
                                   meetings_[rank.meeting[op]].num_missing > 0;
        if (arrived_alone)
          text += "rank " + std::to_string(rank.view.rank.value()) + " " + to_string(ops[op].key) + "; ";
      }
    }
    return text;
  }

  const TimedProgram& timed_;
  const bool keep_;
  std::vector<Dependents> dependents_;  // by class
  std::vector<Rank> ranks_;
  std::vector<RunningMeeting> meetings_;
  std::vector<RankOp> arrivals_;  // of all meetings, in order of arrival
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::size_t num_left_ = 0;
  Seconds now_;
  OpTimes out_;
};

}  // namespace

OpTimes run_events(const TimedProgram& timed, bool keep_times) { return EventRun(timed, keep_times).run(); }

}  // namespace orrery::costmodel
