// SPDX-License-Identifier: Apache-2.0
#include "sim/step_dates.h"

#include "base/check.h"

namespace orrery::sim {

using costmodel::kNoMeeting;
using costmodel::MeetingIndex;
using costmodel::OpTimes;
using costmodel::TimedProgram;

OpTimes::Rank times_of(const TimedProgram& timed, const StepDates& dates, std::size_t rank) {
  CHECK(rank < dates.ranks.size(), rank, dates.ranks.size());
  const StepDates::Rank& of = dates.ranks[rank];
  OpTimes::Rank times{.ready = of.ready, .start = {}, .end = of.end, .last_peer = {}};
  times.start.reserve(of.ready.size());
  times.last_peer.reserve(of.ready.size());
  for (OpIndex op = 0; op < of.ready.size(); ++op) {
    const MeetingIndex meeting = timed.ranks[rank].meeting[op];
    times.start.push_back(dates.start_of(timed, rank, op));
    const bool waited = meeting != kNoMeeting && of.ready[op] != times.start.back();
    times.last_peer.push_back(waited ? dates.last_peer[meeting] : -1);
  }
  return times;
}

OpTimes times_of(const TimedProgram& timed, const StepDates& dates) {
  OpTimes times{.ranks = {}, .makespan = dates.makespan};
  for (std::size_t rank = 0; rank < dates.ranks.size(); ++rank) times.ranks.push_back(times_of(timed, dates, rank));
  return times;
}

}  // namespace orrery::sim
