// SPDX-License-Identifier: Apache-2.0
// When what happened in a simulated step, each date once. A step of all replicas has millions of ops, so what follows
// from something else is not kept: compute starts when it is ready, a communication starts and came to have its last
// member once for all of them.
#pragma once

#include "costmodel/op_times.h"
#include "costmodel/timed_program.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace orrery::sim {

struct StepDates {
  /// Of one simulated rank, by op of its class.
  struct Rank {
    std::vector<Seconds> ready, end;
  };
  std::vector<Rank> ranks;              // none if only the makespan was wanted
  std::vector<Seconds> start;           // by meeting
  std::vector<std::int32_t> last_peer;  // by meeting: the first of its ranks that were ready when it started
  Seconds makespan;

  Seconds start_of(const costmodel::TimedProgram& timed, std::size_t rank, OpIndex op) const {
    const costmodel::MeetingIndex meeting = timed.ranks[rank].meeting[op];
    return meeting == costmodel::kNoMeeting ? ranks[rank].ready[op] : start[meeting];
  }
};

/// All dates of a rank. Requires: `dates` are of `timed`, and not of the makespan alone.
costmodel::OpTimes::Rank times_of(const costmodel::TimedProgram& timed, const StepDates& dates, std::size_t rank);

/// Of all ranks.
costmodel::OpTimes times_of(const costmodel::TimedProgram& timed, const StepDates& dates);

}  // namespace orrery::sim
