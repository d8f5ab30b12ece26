// SPDX-License-Identifier: Apache-2.0
// How right a prediction was: two traces of one program, joined op by op on rank and name. Every number that is
// printed is defined in docs/metrics.md. Errors are (predicted - measured) / measured, so a positive one means that
// the prediction was too slow; NaN where nothing was measured.
#pragma once

#include "base/units.h"
#include "traces/summary.h"
#include "traces/trace.h"

#include <cstdint>
#include <string>
#include <vector>

namespace orrery {

class JsonWriter;

/// A time of both traces.
struct ComparedTime {
  Seconds predicted, measured;

  /// (predicted - measured) / measured; NaN if nothing was measured.
  double error() const;
};

/// Ops of one name and pass, those that both traces have.
struct OpClassComparison {
  OpCode op = OpCode::embed_lookup;
  Pass pass = Pass::fwd;
  std::int64_t num_ops = 0;
  ComparedTime time;          // sum over the ops
  double median_error = 0.0;  // median over the ops of |error|
};

/// One queue, the mean over the compared ranks.
struct QueueComparison {
  Queue queue = Queue::compute;
  ComparedTime busy, wait;
};

/// Ops that only one trace has, among the ranks that both have.
struct UnmatchedOps {
  std::int64_t count = 0;
  std::vector<std::string> first;  // a few: "rank 0 step/mb0/..."
};

struct Comparison {
  TraceSummary predicted, measured;
  ComparedTime step_time;
  std::int64_t num_ranks_compared = 0, num_ops_compared = 0;
  std::vector<OpClassComparison> classes;  // by measured time, the largest first
  std::vector<QueueComparison> queues;
  UnmatchedOps only_predicted, only_measured;
  std::vector<std::string> notes;  // of both traces, and what to know about the comparison
};

/// Compares two traces. The time of an op is its median over the steps that count.
/// Throws: ConfigError if a trace holds no step.
Comparison compare(const Trace& predicted, const Trace& measured);

/// A table for people.
std::string to_text(const Comparison& comparison);

/// The same for machines.
void write_comparison(JsonWriter& out, const Comparison& comparison);

}  // namespace orrery
