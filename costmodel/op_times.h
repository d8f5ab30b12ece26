// SPDX-License-Identifier: Apache-2.0
// When the ops of a timed program ran, and the trace made of it. How time passes is an interpreter's business; that
// of the analytic one is `run_step`: a pass over the ops where nothing slows anything (run_in_order.h), else
// `run_events`, an event simulation over the in-order queues of the simulated ranks.
#pragma once

#include "base/units.h"
#include "costmodel/timed_program.h"
#include "traces/trace.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace orrery::costmodel {

struct OpTimes {
  /// Of one simulated rank, by op of its class.
  struct Rank {
    std::vector<Seconds> ready, start, end;
    std::vector<std::int32_t> last_peer;  // as in Span
  };
  std::vector<Rank> ranks;  // empty if only the makespan was wanted
  Seconds makespan;
};

/// Runs one step by run_in_order where rates are fixed and the order of the hosts allows it, else by run_events. Both
/// give the same bits; requirements and errors are those of run_events.
OpTimes run_step(const TimedProgram& timed, bool keep_times);

/// Runs one step: every queue in order, every op after its dependencies, every communication when its last participant
/// is there, and the rate rule while compute and communication overlap. Simultaneous events are taken in the order of
/// (rank, op), so equal programs give equal bits.
/// Requires: verify(*timed.program) is empty; a deadlock is a CHECK that names the waiting ops.
/// Complexity: O(n log r) for n ops on r ranks.
OpTimes run_events(const TimedProgram& timed, bool keep_times);

/// Notes that a meeting starts now, for its `members`, each ready by now. The last peer of those that waited is the
/// lowest of the ranks that were not ready before.
void note_start(std::span<const RankOp> members, Seconds now, const TimedProgram& timed, OpTimes& times);

/// The trace of `input.num_steps` equal steps without their spans.
Trace record_of(const TimedProgram& timed, Seconds step_time, const RunInput& input, std::string interpreter);

/// Of all ranks in all steps.
std::size_t num_spans(const OpTimes& times, const RunInput& input);

/// Adds those of all steps. The times of a rank are let go once its spans are made, since both together take twice the
/// memory. Requires: times of all ranks.
void append_spans(const TimedProgram& timed, OpTimes times, const RunInput& input, Spans& spans);

/// Adds those of one rank in one step. `index`: into timed.ranks.
void append_spans(const TimedProgram& timed, const OpTimes::Rank& times, std::size_t index, std::int32_t step,
                  Spans& spans);

/// The record with all spans. Requires: times of all ranks unless input.steps_only.
Trace trace_of(const TimedProgram& timed, OpTimes times, const RunInput& input, std::string interpreter);

}  // namespace orrery::costmodel
