// SPDX-License-Identifier: Apache-2.0
// What a job does about repeated phases (sim/repeated_phase.h). Timers and flows that are under way stay as they are:
// only the ops that they are of become later ones.
#include "base/check.h"
#include "sim/job.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <vector>

namespace orrery::sim {

using costmodel::MeetingIndex;

PhaseState Job::state() const {
  PhaseState state{.now = kernel_.now(), .ranks = {}, .flows = kernel_.flows()};
  for (std::uint32_t index = 0; index < ranks_.size(); ++index) {
    const Rank& rank = ranks_[index];
    PhaseState::Rank& to = state.ranks.emplace_back();
    to.last_ended = rank.last_ended;
    to.computing = under_way(index, rank.computing);
    for (std::size_t queue = 0; queue < kNumQueues; ++queue) {
      to.communicating[queue] = under_way(index, rank.communicating[queue]);
    }
  }
  for (FlowLeft& flow : state.flows) {
    const costmodel::RankOp& at = plan_.op_of[flow.event.index];
    flow.event = {.kind = at.rank, .index = at.op};
  }
  std::ranges::sort(state.flows, {}, [](const FlowLeft& flow) {
    return std::tuple(flow.event.kind, flow.event.index, flow.from, flow.to, flow.path, flow.route, flow.next,
                      flow.left);
  });
  return state;
}

UnderWay Job::under_way(std::uint32_t rank, OpIndex op) const {
  if (op == kNoOp) return {};
  UnderWay under_way{.op = op};
  const auto follow = [&](const Running& running) {
    under_way.rate = running.progress.rate();
    under_way.left = running.progress.end() - kernel_.now();
  };
  const MeetingIndex index = timed_.ranks[rank].meeting[op];
  const bool waits = index != costmodel::kNoMeeting && !is_complete(index);
  if (index == costmodel::kNoMeeting) {
    follow(ranks_[rank].compute);
  } else {
    under_way.num_arrived = meetings_[index].num_arrived;
    under_way.num_sends = meetings_[index].num_sends;
    if (!waits && plan_.is_flow(index)) under_way.left = details(index).since - kernel_.now();
    if (!waits && !plan_.is_flow(index)) follow(details(index).closed_form);
  }
  if (keep_dates_) {
    under_way.since_ready = now() - dates_.ranks[rank].ready[op];
    if (!waits) under_way.since_start = now() - dates_.start_of(timed_, rank, op);
  }
  return under_way;
}

void Job::replay() {
  const auto num_periods = static_cast<OpIndex>(phase_->num_periods());
  replayed_ = {.num_periods = num_periods, .time = static_cast<double>(num_periods) * phase_->period()};
  std::set<MeetingIndex> meetings;
  for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    for (const OpIndex op : ranks_[rank].communicating) {
      if (op == kNoOp || !meetings.insert(timed_.ranks[rank].meeting[op]).second) continue;
      const MeetingIndex from = timed_.ranks[rank].meeting[op];
      const MeetingIndex to = timed_.ranks[rank].meeting[op + num_periods * phase_->shift(rank)];
      meeting_of_event_[from] = to;
      meetings_[to] = meetings_[from];
      meetings_[from].num_sends = 0;
    }
  }
  for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) replay_ops(rank);
}

void Job::replay_ops(std::uint32_t index) {
  Rank& rank = ranks_[index];
  const OpIndex shift = phase_->shift(index), all = static_cast<OpIndex>(replayed_.num_periods) * shift;
  const auto copy_dates = [&](OpIndex from, OpIndex to, Seconds later) {
    if (!keep_dates_) return;
    StepDates::Rank& dates = dates_.ranks[index];
    dates.ready[to] = dates.ready[from] + later;
    dates.end[to] = dates.end[from] + later;
    const MeetingIndex first = timed_.ranks[index].meeting[from], same = timed_.ranks[index].meeting[to];
    if (first == costmodel::kNoMeeting) return;
    dates_.start[same] = dates_.start[first] + later;
    dates_.last_peer[same] = dates_.last_peer[first];
  };
  for (std::size_t i = 1; i <= replayed_.num_periods; ++i) {
    const Seconds later = static_cast<double>(i) * phase_->period();
    for (const OpIndex op : phase_->ended(index)) {
      const OpIndex same = op + static_cast<OpIndex>(i) * shift;
      copy_dates(op, same, later);
      for (const OpIndex next : rank.dependents->of(same)) --rank.num_pending[next];
    }
  }
  const std::size_t num_ops = replayed_.num_periods * phase_->ended(index).size();
  num_left_ -= num_ops;
  replayed_.num_ops += num_ops;
  const auto go_on = [&](OpIndex& op) {
    if (op == kNoOp) return;
    copy_dates(op, op + all, replayed_.time);
    op += all;
    CHECK(rank.num_pending[op] == 0, index, op);
  };
  go_on(rank.computing);
  for (OpIndex& op : rank.communicating) go_on(op);
  for (const OpIndex op : phase_->ended(index)) {
    OpIndex& last = rank.last_ended[static_cast<std::size_t>(timed_.op({index, op}).queue)];
    last = std::max(last, op + all);
  }
}

}  // namespace orrery::sim
