// SPDX-License-Identifier: Apache-2.0
#include "sim/job.h"

#include "base/check.h"
#include "base/units_format.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::sim {
namespace {

using costmodel::kNoMeeting;
using costmodel::MeetingIndex;
using costmodel::TimedProgram;
using costmodel::TimedRank;

}  // namespace

Job::Job(const TimedProgram& timed, const FlowPlan& plan, SimGridKernel& kernel, std::uint32_t first_kind,
         bool keep_dates, bool replay)
    : timed_(timed),
      plan_(plan),
      kernel_(kernel),
      first_kind_(first_kind),
      keep_dates_(keep_dates),
      sends_(timed, plan),
      meetings_(timed.meetings.size()) {
  for (const RankClass& rank_class : timed.program->classes) dependents_.emplace_back(rank_class);
  for (const TimedRank& rank : timed.ranks) {
    Rank& state = ranks_.emplace_back();
    state.dependents = &dependents_[rank.view.program_class.index()];
    state.communicating.fill(kNoOp);
    state.last_ended.fill(kNoOp);
    if (!keep_dates) continue;
    const std::vector<Seconds> zeros(state.dependents->num_predecessors().size());
    dates_.ranks.push_back({.ready = zeros, .end = zeros});
  }
  if (keep_dates) {
    dates_.start.resize(meetings_.size());
    dates_.last_peer.assign(meetings_.size(), -1);
  }
  if (replay) phase_.emplace(timed, plan);
}

void Job::start() {
  CHECK(num_left_ == 0, num_left_);
  for (Meeting& meeting : meetings_) meeting.num_arrived = 0;
  for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    std::vector<std::uint32_t>& num_pending = ranks_[rank].num_pending;
    num_pending = ranks_[rank].dependents->num_predecessors();
    num_left_ += num_pending.size();
    for (OpIndex op = 0; op < num_pending.size(); ++op) {
      if (num_pending[op] == 0) ready_.push_back({rank, op});
    }
  }
  start_ready_ops();
  settle_rates();
}

void Job::on_event(KernelEvent event) {
  const auto kind = static_cast<Kind>(event.kind - first_kind_);
  if (kind != Kind::send_ends) --num_timers_;
  if (kind != Kind::compute_ends) {
    if (const auto moved = meeting_of_event_.find(event.index); moved != meeting_of_event_.end()) {
      event.index = moved->second;
    }
  }
  switch (kind) {
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
      details(event.index).closed_form.timer = nullptr;
      end_meeting(event.index);
      break;
    case Kind::send_ends:
      if (--meetings_[event.index].num_sends == 0) end_meeting(event.index);
      break;
  }
  start_ready_ops();
  settle_rates();
  if (std::exchange(period_ends_, false) && phase_->found(state())) replay();
  if (done()) dates_.makespan = std::max(dates_.makespan, last_end_);
}

StepDates Job::take_dates() {
  CHECK(done(), num_left_);
  return std::move(dates_);
}

std::string Job::what_waits() const {
  constexpr std::size_t kShown = 5, kRanks = 8;
  std::string text;
  std::size_t number = 0;
  for (MeetingIndex meeting = 0; meeting < meetings_.size(); ++meeting) {
    if (meetings_[meeting].num_sends == 0 || ++number > kShown) continue;
    std::vector<std::int32_t> ranks;
    std::int64_t num_alike = 0;
    const auto participants = timed_.participants_of(meeting);
    for (const std::uint32_t rank : participants) num_alike += timed_.ranks[rank].represents;
    for (const std::uint32_t rank : participants.first(std::min(participants.size(), kRanks))) {
      ranks.push_back(timed_.ranks[rank].view.rank.value());
    }
    const costmodel::RankOp& at = plan_.op_of[meeting];
    text += fmt::format("\n  {} waits since {} on rank{} {}{}{}", to_string(timed_.op(at).key), details(meeting).since,
                        ranks.size() == 1 ? "" : "s", fmt::join(ranks, ", "),
                        participants.size() > kRanks ? fmt::format(" and {} more", participants.size() - kRanks) : "",
                        num_alike > std::ssize(participants)
                            ? fmt::format(", each for all that do the same: {} ranks", num_alike)
                            : "");
  }
  if (number > kShown) text += fmt::format("\n  and {} communications more", number - kShown);
  return text + fmt::format("\n  {} ops have not ended", num_left_);
}

void Job::start_ready_ops() {
  while (!ready_.empty()) {
    const auto [rank, op] = ready_.back();
    ready_.pop_back();
    if (keep_dates_) dates_.ranks[rank].ready[op] = now();
    if (timed_.ranks[rank].meeting[op] == kNoMeeting) {
      start_compute(rank, op);
    } else {
      arrive(rank, op);
    }
  }
}

void Job::start_compute(std::uint32_t rank, OpIndex op) {
  ranks_[rank].computing = op;
  ranks_[rank].compute.progress.start(timed_.ranks[rank].compute_time[op], 1.0, kernel_.now());
  disturb(rank);
}

void Job::arrive(std::uint32_t rank, OpIndex op) {
  const Queue queue = timed_.op({rank, op}).queue;
  ranks_[rank].communicating[static_cast<std::size_t>(queue)] = op;
  const MeetingIndex meeting = timed_.ranks[rank].meeting[op];
  ++meetings_[meeting].num_arrived;
  if (is_complete(meeting)) start_meeting(meeting);
}

bool Job::is_complete(MeetingIndex meeting) const {
  return meetings_[meeting].num_arrived == timed_.meetings[meeting].num_participants;
}

void Job::start_meeting(MeetingIndex meeting) {
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(under_way_.size()));
    under_way_.emplace_back();
  }
  meetings_[meeting].under_way = free_.back();
  free_.pop_back();
  if (keep_dates_) note_start(meeting);
  for (const std::uint32_t rank : timed_.participants_of(meeting)) {
    ranks_[rank].beside.add(timed_.meetings[meeting].exchange);
    disturb(rank);
  }
  const costmodel::CommTime& time = timed_.time_of(meeting);
  if (plan_.is_flow(meeting)) {
    details(meeting).since = kernel_.now() + time.latency;
    kernel_.set_timer(details(meeting).since, event(Kind::latency_ends, meeting));
    ++num_timers_;
  } else {
    details(meeting).closed_form.progress.start(time.alone(), 1.0, kernel_.now());
  }
}

void Job::note_start(MeetingIndex meeting) {
  const auto came_last = [&](std::uint32_t rank) { return dates_.ranks[rank].ready[op_of(rank, meeting)] == now(); };
  const std::uint32_t last = *std::ranges::find_if(timed_.participants_of(meeting), came_last);
  dates_.start[meeting] = now();
  dates_.last_peer[meeting] = timed_.ranks[last].view.rank.value();
}

void Job::start_flows(MeetingIndex meeting) {
  const Sends& sends = sends_.of(meeting);
  meetings_[meeting].num_sends = static_cast<std::uint32_t>(sends.entries.size());
  for (const Sends::Entry& entry : sends.entries) {
    kernel_.start(entry.send, sends.parts_of(entry), event(Kind::send_ends, meeting));
  }
  if (sends.entries.empty()) end_meeting(meeting);
}

void Job::end_meeting(MeetingIndex meeting) {
  free_.push_back(meetings_[meeting].under_way);
  for (const std::uint32_t rank : timed_.participants_of(meeting)) {
    const OpIndex op = op_of(rank, meeting);
    *std::ranges::find(ranks_[rank].communicating, op) = kNoOp;
    ranks_[rank].beside.add(timed_.meetings[meeting].exchange, -1);
    disturb(rank);
    end_op(rank, op);
  }
}

OpIndex Job::op_of(std::uint32_t rank, MeetingIndex meeting) const {
  const auto takes_part = [&](OpIndex op) { return op != kNoOp && timed_.ranks[rank].meeting[op] == meeting; };
  const auto& ops = ranks_[rank].communicating;
  const auto found = std::ranges::find_if(ops, takes_part);
  CHECK(found != ops.end(), rank, meeting);
  return *found;
}

void Job::end_op(std::uint32_t rank, OpIndex op) {
  if (keep_dates_) dates_.ranks[rank].end[op] = now();
  --num_left_;
  ranks_[rank].last_ended[static_cast<std::size_t>(timed_.op({rank, op}).queue)] = op;
  if (phase_ && phase_->ends_with(rank, op)) period_ends_ = true;
  last_end_ = now();
  for (const OpIndex next : ranks_[rank].dependents->of(op)) {
    if (--ranks_[rank].num_pending[next] == 0) ready_.push_back({rank, next});
  }
}

void Job::disturb(std::uint32_t rank) {
  if (!std::exchange(ranks_[rank].disturbed, true)) disturbed_.push_back(rank);
}

void Job::settle_rates() {
  for (const std::uint32_t index : disturbed_) {
    Rank& rank = ranks_[index];
    rank.disturbed = false;
    if (rank.computing != kNoOp) {
      const TimedRank& timed = timed_.ranks[index];
      const double rate = costmodel::compute_rate(timed.slowdown_of(rank.computing),
                                                  timed.slowdown_by_exchange_of(rank.computing), rank.beside);
      settle(rank.compute, rate, event(Kind::compute_ends, index));
    }
    for (const OpIndex op : rank.communicating) {
      if (op == kNoOp) continue;
      const MeetingIndex meeting = timed_.ranks[index].meeting[op];
      if (plan_.is_flow(meeting) || !is_complete(meeting)) continue;
      settle(details(meeting).closed_form, rate_of(meeting), event(Kind::closed_form_ends, meeting));
    }
  }
  disturbed_.clear();
}

void Job::settle(Running& running, double rate, KernelEvent event) {
  if (running.timer != nullptr) {
    if (rate == running.progress.rate()) return;
    kernel_.cancel(running.timer);
    --num_timers_;
  }
  running.progress.set_rate(rate, kernel_.now());
  running.timer = kernel_.set_timer(running.progress.end(), event);
  ++num_timers_;
}

double Job::rate_of(MeetingIndex meeting) const {
  double rate = 1.0;
  for (const std::uint32_t rank : timed_.participants_of(meeting)) {
    const bool computing = ranks_[rank].computing != kNoOp;
    rate = std::min(rate, costmodel::comm_rate(timed_.ranks[rank].overlap, computing));
  }
  return rate;
}

}  // namespace orrery::sim
