// SPDX-License-Identifier: Apache-2.0
#include "sim/engine.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/units_format.h"
#include "costmodel/rate_rule.h"
#include "program/dependents.h"
#include "sim/link_changes.h"
#include "sim/sends.h"
#include "sim/simgrid_kernel.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::sim {
namespace {

using costmodel::kNoMeeting;
using costmodel::MeetingIndex;
using costmodel::OpTimes;
using costmodel::TimedProgram;
using costmodel::TimedRank;

constexpr OpIndex kNoOp = ~OpIndex{0};

/// About how long the step takes: the busiest rank, if it did one thing after the other and nobody disturbed it.
Seconds serial_time(const TimedProgram& timed) {
  Seconds longest;
  for (const TimedRank& rank : timed.ranks) {
    Seconds sum;
    for (const Seconds time : rank.compute_time) sum += time;
    for (const MeetingIndex meeting : rank.meeting) {
      if (meeting != kNoMeeting) sum += timed.meetings[meeting].time.alone();
    }
    longest = std::max(longest, sum);
  }
  return longest;
}

class Engine : private EventHandler {
 public:
  Engine(const TimedProgram& timed, const FlowPlan& plan, bool keep_times)
      : timed_(timed),
        keep_times_(keep_times),
        plan_(plan),
        sends_(timed, plan_),
        kernel_(plan_.network, serial_time(timed)),
        meetings_(timed.meetings.size()),
        changes_(link_changes(timed.disturbances, plan_.network)) {
    for (const RankClass& rank_class : timed.program->classes) dependents_.emplace_back(rank_class);
    for (const TimedRank& rank : timed.ranks) {
      Rank& state = ranks_.emplace_back();
      state.dependents = &dependents_[rank.view.program_class.index()];
      state.num_pending = state.dependents->num_predecessors();
      state.communicating.fill(kNoOp);
      num_left_ += state.num_pending.size();
      if (!keep_times) continue;
      const std::vector<Seconds> zeros(state.num_pending.size());
      times_.ranks.push_back(
          {.ready = zeros, .start = zeros, .end = zeros, .last_peer = std::vector<std::int32_t>(zeros.size(), -1)});
    }
  }

  OpTimes run() {
    for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
      const std::vector<std::uint32_t>& num_pending = ranks_[rank].num_pending;
      for (OpIndex op = 0; op < num_pending.size(); ++op) {
        if (num_pending[op] == 0) ready_.push_back({rank, op});
      }
    }
    start_ready_ops();
    settle_rates();
    for (std::uint32_t i = 0; i < changes_.size(); ++i) {
      change_timers_.push_back(kernel_.set_timer(changes_[i].date, event(Kind::link_changes, i)));
    }
    kernel_.run(*this);
    if (num_left_ > 0 && !changes_.empty()) throw BackendError(what_waits());
    CHECK(num_left_ == 0, num_left_);
    return std::move(times_);
  }

 private:
  enum class Kind : std::uint32_t { compute_ends, latency_ends, closed_form_ends, send_ends, link_changes };

  /// Something whose end a timer tells, at a rate that overlap may change.
  struct Running {
    costmodel::Progress progress;
    SimGridKernel::Timer timer = nullptr;
  };

  struct Rank {
    const Dependents* dependents = nullptr;
    std::vector<std::uint32_t> num_pending;  // by op: predecessors that have not ended
    OpIndex computing = kNoOp;
    std::array<OpIndex, kNumQueues> communicating;  // by queue: the op that waits for its peers or is under way
    int num_communications = 0;                     // under way
    Running compute;
    bool disturbed = false;  // what runs on it has changed at this date
  };

  struct Meeting {
    std::uint32_t num_arrived = 0;
    std::uint32_t num_sends = 0;  // under way
    Seconds since;                // when they began
    Running closed_form;
  };

  struct ReadyOp {
    std::uint32_t rank;
    OpIndex op;
  };

  static KernelEvent event(Kind kind, std::uint32_t index) { return {static_cast<std::uint32_t>(kind), index}; }

  void on_event(KernelEvent event) override {
    switch (static_cast<Kind>(event.kind)) {
      case Kind::compute_ends: {
        Rank& rank = ranks_[event.index];
        rank.compute.timer = nullptr;
        disturb(event.index);
        end_op(event.index, std::exchange(rank.computing, kNoOp));
        break;
      }
      case Kind::latency_ends:
        start_flows(event.index);
        break;
      case Kind::closed_form_ends:
        meetings_[event.index].closed_form.timer = nullptr;
        end_meeting(event.index);
        break;
      case Kind::send_ends:
        if (--meetings_[event.index].num_sends == 0) end_meeting(event.index);
        break;
      case Kind::link_changes: {
        const LinkChange& change = changes_[event.index];
        change_timers_[event.index] = nullptr;
        kernel_.set_bandwidth(change.port, change.inwards, change.bandwidth);
        break;
      }
    }
    start_ready_ops();
    settle_rates();
    if (num_left_ == 0) end_step();
  }

  /// Links that change later are none of this step's business.
  void end_step() {
    times_.makespan = std::max(times_.makespan, last_end_);
    for (SimGridKernel::Timer& timer : change_timers_) {
      if (timer != nullptr) kernel_.cancel(std::exchange(timer, nullptr));
    }
  }

  /// The communications that are under way and do not go on, for a user whose links are down.
  std::string what_waits() const {
    constexpr std::size_t kShown = 5, kRanks = 8;
    std::map<std::string, bool> is_down;  // by direction of a port
    for (const LinkChange& change : changes_) {
      const std::string name = plan_.network.ports()[change.port].name + (change.inwards ? ".in" : ".out");
      is_down[name] = change.bandwidth <= BytesPerSecond::zero();
    }
    std::vector<std::string> down;
    for (const auto& [name, yes] : is_down) {
      if (yes && down.size() < kShown) down.push_back(name);
    }
    std::string text = fmt::format("the step does not end: after {} nothing moves, and these links are down: {}",
                                   last_end_, fmt::join(down, ", "));
    std::size_t number = 0;
    for (MeetingIndex meeting = 0; meeting < meetings_.size(); ++meeting) {
      if (meetings_[meeting].num_sends == 0 || ++number > kShown) continue;
      std::vector<std::int32_t> ranks;
      const auto participants = timed_.participants_of(meeting);
      for (const std::uint32_t rank : participants.first(std::min(participants.size(), kRanks))) {
        ranks.push_back(timed_.ranks[rank].view.rank.value());
      }
      const costmodel::RankOp& at = plan_.op_of[meeting];
      text +=
          fmt::format("\n  {} waits since {} on rank{} {}{}", to_string(timed_.op(at).key), meetings_[meeting].since,
                      ranks.size() == 1 ? "" : "s", fmt::join(ranks, ", "),
                      participants.size() > kRanks ? fmt::format(" and {} more", participants.size() - kRanks) : "");
    }
    if (number > kShown) text += fmt::format("\n  and {} communications more", number - kShown);
    return text + fmt::format("\n  {} ops have not ended", num_left_);
  }

  void start_ready_ops() {
    while (!ready_.empty()) {
      const auto [rank, op] = ready_.back();
      ready_.pop_back();
      if (keep_times_) times_.ranks[rank].ready[op] = kernel_.now();
      if (timed_.ranks[rank].meeting[op] == kNoMeeting) {
        start_compute(rank, op);
      } else {
        arrive(rank, op);
      }
    }
  }

  void start_compute(std::uint32_t rank, OpIndex op) {
    if (keep_times_) times_.ranks[rank].start[op] = kernel_.now();
    ranks_[rank].computing = op;
    ranks_[rank].compute.progress.start(timed_.ranks[rank].compute_time[op], 1.0, kernel_.now());
    disturb(rank);
  }

  void arrive(std::uint32_t rank, OpIndex op) {
    const Queue queue = timed_.op({rank, op}).queue;
    ranks_[rank].communicating[static_cast<std::size_t>(queue)] = op;
    const MeetingIndex meeting = timed_.ranks[rank].meeting[op];
    ++meetings_[meeting].num_arrived;
    if (is_complete(meeting)) start_meeting(meeting);
  }

  bool is_complete(MeetingIndex meeting) const {
    return meetings_[meeting].num_arrived == timed_.meetings[meeting].num_participants;
  }

  void start_meeting(MeetingIndex meeting) {
    if (keep_times_) note_start(meeting);
    for (const std::uint32_t rank : timed_.participants_of(meeting)) {
      ++ranks_[rank].num_communications;
      disturb(rank);
    }
    const costmodel::CommTime& time = timed_.meetings[meeting].time;
    if (plan_.is_flow(meeting)) {
      kernel_.set_timer(kernel_.now() + time.latency, event(Kind::latency_ends, meeting));
    } else {
      meetings_[meeting].closed_form.progress.start(time.alone(), 1.0, kernel_.now());
    }
  }

  void note_start(MeetingIndex meeting) {
    const auto came_last = [&](std::uint32_t rank) {
      return times_.ranks[rank].ready[op_of(rank, meeting)] == kernel_.now();
    };
    const auto participants = timed_.participants_of(meeting);
    const std::uint32_t last = *std::ranges::find_if(participants, came_last);
    for (const std::uint32_t rank : participants) {
      const OpIndex op = op_of(rank, meeting);
      times_.ranks[rank].start[op] = kernel_.now();
      if (!came_last(rank)) times_.ranks[rank].last_peer[op] = timed_.ranks[last].view.rank.value();
    }
  }

  void start_flows(MeetingIndex meeting) {
    const Sends& sends = sends_.of(meeting);
    meetings_[meeting].since = kernel_.now();
    meetings_[meeting].num_sends = static_cast<std::uint32_t>(sends.entries.size());
    for (const Sends::Entry& entry : sends.entries) {
      kernel_.start(entry.send, sends.parts_of(entry), event(Kind::send_ends, meeting));
    }
    if (sends.entries.empty()) end_meeting(meeting);
  }

  void end_meeting(MeetingIndex meeting) {
    for (const std::uint32_t rank : timed_.participants_of(meeting)) {
      const OpIndex op = op_of(rank, meeting);
      *std::ranges::find(ranks_[rank].communicating, op) = kNoOp;
      --ranks_[rank].num_communications;
      disturb(rank);
      end_op(rank, op);
    }
  }

  /// The op of a rank that waits in or runs as `meeting`.
  OpIndex op_of(std::uint32_t rank, MeetingIndex meeting) const {
    const auto takes_part = [&](OpIndex op) { return op != kNoOp && timed_.ranks[rank].meeting[op] == meeting; };
    const auto& ops = ranks_[rank].communicating;
    const auto found = std::ranges::find_if(ops, takes_part);
    CHECK(found != ops.end(), rank, meeting);
    return *found;
  }

  void end_op(std::uint32_t rank, OpIndex op) {
    if (keep_times_) times_.ranks[rank].end[op] = kernel_.now();
    --num_left_;
    last_end_ = kernel_.now();
    for (const OpIndex next : ranks_[rank].dependents->of(op)) {
      if (--ranks_[rank].num_pending[next] == 0) ready_.push_back({rank, next});
    }
  }

  void disturb(std::uint32_t rank) {
    if (!std::exchange(ranks_[rank].disturbed, true)) disturbed_.push_back(rank);
  }

  /// Gives everything that runs on a disturbed rank the rate that follows from what runs beside it.
  void settle_rates() {
    for (const std::uint32_t index : disturbed_) {
      Rank& rank = ranks_[index];
      rank.disturbed = false;
      if (rank.computing != kNoOp) {
        const double rate =
            costmodel::compute_rate(timed_.ranks[index].slowdown_of(rank.computing), rank.num_communications);
        settle(rank.compute, rate, event(Kind::compute_ends, index));
      }
      for (const OpIndex op : rank.communicating) {
        if (op == kNoOp) continue;
        const MeetingIndex meeting = timed_.ranks[index].meeting[op];
        if (plan_.is_flow(meeting) || !is_complete(meeting)) continue;
        settle(meetings_[meeting].closed_form, rate_of(meeting), event(Kind::closed_form_ends, meeting));
      }
    }
    disturbed_.clear();
  }

  void settle(Running& running, double rate, KernelEvent event) {
    if (running.timer != nullptr) {
      if (rate == running.progress.rate()) return;
      kernel_.cancel(running.timer);
    }
    running.progress.set_rate(rate, kernel_.now());
    running.timer = kernel_.set_timer(running.progress.end(), event);
  }

  double rate_of(MeetingIndex meeting) const {
    double rate = 1.0;
    for (const std::uint32_t rank : timed_.participants_of(meeting)) {
      const bool computing = ranks_[rank].computing != kNoOp;
      rate = std::min(rate, costmodel::comm_rate(timed_.ranks[rank].overlap, computing));
    }
    return rate;
  }

  const TimedProgram& timed_;
  const bool keep_times_;
  const FlowPlan& plan_;
  SendMaker sends_;
  SimGridKernel kernel_;
  std::vector<Dependents> dependents_;  // by class
  std::vector<Rank> ranks_;             // as in TimedProgram
  std::vector<Meeting> meetings_;       // as in TimedProgram
  std::size_t num_left_ = 0;            // ops that have not ended
  Seconds last_end_;                    // of the ops that have
  std::vector<LinkChange> changes_;
  std::vector<SimGridKernel::Timer> change_timers_;  // null once fired
  std::vector<ReadyOp> ready_;
  std::vector<std::uint32_t> disturbed_;
  OpTimes times_;
};

}  // namespace

OpTimes run_on_simgrid(const TimedProgram& timed, const FlowPlan& plan, bool keep_times) {
  return Engine(timed, plan, keep_times).run();
}

OpTimes run_on_simgrid(const TimedProgram& timed, const Cluster& cluster, const Fidelities& fidelities,
                       bool keep_times) {
  return run_on_simgrid(timed, plan_flows(timed, cluster, fidelities), keep_times);
}

}  // namespace orrery::sim
