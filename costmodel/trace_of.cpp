// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "costmodel/memory.h"
#include "costmodel/memory_record.h"
#include "costmodel/op_times.h"

#include <limits>
#include <utility>

namespace orrery::costmodel {
namespace {

void append_spans(const TimedProgram& timed, const OpTimes& times, std::int32_t step, Spans& spans) {
  for (std::size_t r = 0; r < timed.ranks.size(); ++r) {
    const TimedRank& rank = timed.ranks[r];
    const OpTimes::Rank& when = times.ranks[r];
    const std::vector<Op>& ops = timed.class_of(rank).ops;
    for (OpIndex i = 0; i < ops.size(); ++i) {
      spans.push_back({.step = step,
                       .rank = rank.view.rank.value(),
                       .key = ops[i].key,
                       .queue = ops[i].queue,
                       .ready = when.ready[i],
                       .start = when.start[i],
                       .end = when.end[i],
                       .last_peer = when.last_peer[i],
                       .bytes = rank.sent[i]});
    }
  }
}

}  // namespace

Trace trace_of(const TimedProgram& timed, const OpTimes& times, const RunInput& input, std::string interpreter) {
  const StepProgram& program = *timed.program;
  Trace trace;
  trace.header.interpreter = std::move(interpreter);
  trace.header.num_ranks = program.mesh.world();
  trace.header.extrapolated = timed.extrapolated;
  for (const TimedRank& rank : timed.ranks) trace.header.represents[rank.view.rank.value()] = rank.represents;
  CHECK(input.steps_only || times.ranks.size() == timed.ranks.size(), times.ranks.size(), timed.ranks.size());
  const Bytes peak = peak_memory(program, input.load);
  constexpr double kNotComputed = std::numeric_limits<double>::quiet_NaN();
  for (std::int64_t step = 0; step < input.num_steps; ++step) {
    const auto number = static_cast<std::int32_t>(step);
    if (!input.steps_only) append_spans(timed, times, number, trace.spans);
    trace.steps.push_back({.step = number,
                           .time = times.makespan,
                           .tokens = static_cast<double>(program.batch.seq * program.batch.global_batch),
                           .loss = kNotComputed,
                           .grad_norm = kNotComputed,
                           .peak_memory = peak});
  }
  if (input.steps_only) return trace;
  std::vector<RankId> ranks;
  for (const TimedRank& rank : timed.ranks) ranks.push_back(rank.view.rank);
  trace.memory = memory_records(program, ranks, input.load);
  return trace;
}

}  // namespace orrery::costmodel
