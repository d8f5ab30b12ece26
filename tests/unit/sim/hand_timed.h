// SPDX-License-Identifier: Apache-2.0
// Timed programs written by hand: no cost model and no lowering stands between a test and what SimGrid is asked to do.
#pragma once

#include "costmodel/timed_program.h"
#include "tests/conformance/programs.h"

#include <span>
#include <utility>
#include <vector>

namespace orrery::testing {

/// A communication over one path class.
inline costmodel::CommTime over(costmodel::PathClass path, Bytes size, BytesPerSecond bandwidth,
                                Seconds latency = Seconds::zero()) {
  costmodel::CommTime time;
  time.latency = latency;
  time.legs[0] = {.path = path, .bytes = size, .bandwidth = bandwidth};
  time.num_legs = 1;
  return time;
}

/// Each rank has a class of its own; rank r is on device r unless `devices` says otherwise.
class HandTimed {
 public:
  explicit HandTimed(std::int64_t num_ranks, std::vector<std::int32_t> devices = {}) : builder_(num_ranks) {
    for (std::int32_t rank = 0; rank < num_ranks; ++rank) {
      const std::int32_t device = devices.empty() ? rank : devices[static_cast<std::size_t>(rank)];
      costmodel::TimedRank& added = timed_.ranks.emplace_back();
      added.view = {.rank = RankId(rank), .program_class = ClassId(rank), .coords = {}};
      added.device = DeviceIndex(device);
    }
  }

  OpIndex compute(std::uint32_t rank, Seconds time, std::vector<OpIndex> deps = {}) {
    add(rank, time, costmodel::kNoMeeting);
    return builder_.compute(rank, time, std::move(deps));
  }

  /// One op for each of `ranks`, on `queue`, after the op that `after` gives for it (none by default).
  /// Returns the op of each rank.
  std::vector<OpIndex> collective(const std::vector<std::uint32_t>& ranks, const costmodel::CommTime& time,
                                  std::vector<std::vector<OpIndex>> after = {}, Queue queue = Queue::dp) {
    const costmodel::MeetingIndex meeting = meet(ranks, time, false);
    std::vector<OpIndex> ops;
    after.resize(ranks.size());
    for (const std::uint32_t rank : ranks) {
      add(rank, Seconds::zero(), meeting);
      ops.push_back(builder_.all_reduce(rank, queue, Group::dp, 1, after[ops.size()]));
    }
    return ops;
  }

  /// A message; returns the ops of sender and receiver.
  std::pair<OpIndex, OpIndex> message(std::uint32_t from, std::uint32_t to, const costmodel::CommTime& time,
                                      std::vector<OpIndex> after = {}) {
    const costmodel::MeetingIndex meeting = meet({from, to}, time, true);
    add(from, Seconds::zero(), meeting);
    add(to, Seconds::zero(), meeting);
    return {builder_.send_next(from, 1, std::move(after)), builder_.recv_prev(to, 1)};
  }

  costmodel::TimedRank& rank(std::uint32_t index) { return timed_.ranks[index]; }

  const costmodel::TimedProgram& timed() {
    timed_.program = &builder_.program();
    compute_time_.resize(timed_.ranks.size());
    for (std::size_t rank = 0; rank < timed_.ranks.size(); ++rank) {
      timed_.ranks[rank].compute_time = compute_time_[rank];
      timed_.ranks[rank].sent = std::vector<Bytes>(compute_time_[rank].size());
    }
    return timed_;
  }

 private:
  costmodel::MeetingIndex meet(const std::vector<std::uint32_t>& ranks, const costmodel::CommTime& time, bool message) {
    timed_.comm_times.push_back(time);
    timed_.meetings.push_back({.time = static_cast<std::uint32_t>(timed_.comm_times.size() - 1),
                               .first_participant = static_cast<std::uint32_t>(timed_.participants.size()),
                               .num_participants = static_cast<std::uint32_t>(ranks.size()),
                               .message = message});
    timed_.participants.insert(timed_.participants.end(), ranks.begin(), ranks.end());
    return static_cast<costmodel::MeetingIndex>(timed_.meetings.size() - 1);
  }

  void add(std::uint32_t rank, Seconds time, costmodel::MeetingIndex meeting) {
    compute_time_.resize(timed_.ranks.size());
    compute_time_[rank].push_back(time);
    timed_.ranks[rank].meeting.push_back(meeting);
  }

  ProgramBuilder builder_;
  costmodel::TimedProgram timed_;
  std::vector<std::vector<Seconds>> compute_time_;  // by rank
};

}  // namespace orrery::testing
