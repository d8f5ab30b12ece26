// SPDX-License-Identifier: Apache-2.0
// What one trace says about its step as a whole: time, rate, memory, energy, and where the critical path spent the
// time. The first step of a trace is warm-up (caches, page faults, connections) and left out where there are others.
#pragma once

#include "base/units.h"
#include "traces/trace.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace orrery {

/// Time on the critical path of the ops of one name and pass.
struct PathShare {
  OpCode op = OpCode::embed_lookup;
  Pass pass = Pass::fwd;
  Seconds time;
};

struct TraceSummary {
  std::string interpreter;
  std::int64_t num_steps = 0;    // that count
  std::int64_t num_warm_up = 0;  // that were left out
  Seconds step_time;             // median over the steps that count, like the rate
  double tokens_per_second = 0.0;
  Bytes peak_memory;             // most of any step; zero: this interpreter did not count it
  std::optional<Joules> energy;  // of one step, all ranks with samples; nothing: there was no counter
  /// Parts of the critical path of the step, of those with spans, whose time is nearest to the median
  /// (traces/critical_path.h).
  Seconds path_work, path_peer_wait, path_gap;
  std::vector<PathShare> path;  // its work by op class, the longest first
};

/// The records of the steps that count, in order. Throws: ConfigError if the trace has none.
std::vector<StepRecord> counted_steps(const Trace& trace);

/// Throws: ConfigError if the trace has no step.
TraceSummary summarize(const Trace& trace);

/// Its step_time alone, without the path through the spans. Throws: ConfigError if the trace has no step.
Seconds median_step_time(const Trace& trace);

}  // namespace orrery
