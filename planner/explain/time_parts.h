// SPDX-License-Identifier: Apache-2.0
// Where the time of a step goes, read from its trace. Two accounts of the same step, each of which adds up to it:
//     of the ranks: every rank's step is cut where its compute queue starts or stops to work; while it does not, the
//         time belongs to the communication that it waits for, or to who comes late to it. Mean over all ranks.
//     of the path: what the step as a whole waited for (traces/critical_path.h).
// Communication that runs beside compute costs nothing here but what it slows down, which is part of compute.
#pragma once

#include "base/units.h"
#include "traces/trace.h"

#include <string>
#include <vector>

namespace orrery::planner {

struct TimePart {
  std::string name;  // "compute", "exposed ep", "bubble"; docs/metrics.md defines each
  Seconds of_ranks, of_path;
};

/// The parts of the first step of `trace`, in a fixed order, without those that are zero in both accounts.
/// Requires: a step and spans. Complexity: O(n log n) for n spans.
std::vector<TimePart> time_parts(const Trace& trace);

}  // namespace orrery::planner
