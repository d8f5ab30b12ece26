// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "costmodel/memory.h"
#include "costmodel/memory_record.h"
#include "costmodel/op_times.h"

#include <limits>
#include <utility>

namespace orrery::costmodel {

void append_spans(const TimedProgram& timed, const OpTimes::Rank& times, std::size_t index, std::int32_t step,
                  Spans& spans) {
  const TimedRank& rank = timed.ranks[index];
  const std::vector<Op>& ops = timed.class_of(rank).ops;
  for (OpIndex i = 0; i < ops.size(); ++i) {
    spans.push_back({.step = step,
                     .rank = rank.view.rank.value(),
                     .key = ops[i].key,
                     .queue = ops[i].queue,
                     .ready = times.ready[i],
                     .start = times.start[i],
                     .end = times.end[i],
                     .last_peer = times.last_peer[i],
                     .bytes = rank.sent[i]});
  }
}

void append_spans(const TimedProgram& timed, OpTimes times, const RunInput& input, Spans& spans) {
  CHECK(times.ranks.size() == timed.ranks.size(), times.ranks.size(), timed.ranks.size());
  spans.reserve(spans.size() + num_spans(times, input));
  for (std::int32_t step = 0; step < input.num_steps; ++step) {
    for (std::size_t rank = 0; rank < timed.ranks.size(); ++rank) {
      append_spans(timed, times.ranks[rank], rank, step, spans);
      if (step + 1 == input.num_steps) times.ranks[rank] = {};
    }
  }
}

std::size_t num_spans(const OpTimes& times, const RunInput& input) {
  std::size_t number = 0;
  for (const OpTimes::Rank& rank : times.ranks) number += rank.end.size();
  return number * static_cast<std::size_t>(input.num_steps);
}

Trace record_of(const TimedProgram& timed, Seconds step_time, const RunInput& input, std::string interpreter) {
  const StepProgram& program = *timed.program;
  Trace trace;
  trace.header.interpreter = std::move(interpreter);
  trace.header.num_ranks = program.mesh.world();
  trace.header.extrapolated = timed.extrapolated;
  for (const TimedRank& rank : timed.ranks) trace.header.represents[rank.view.rank.value()] = rank.represents;
  const Bytes peak = input.complete ? peak_memory(program, input.load) : Bytes::zero();
  constexpr double kNotComputed = std::numeric_limits<double>::quiet_NaN();
  for (std::int64_t step = 0; step < input.num_steps; ++step) {
    trace.steps.push_back({.step = static_cast<std::int32_t>(step),
                           .time = step_time,
                           .tokens = static_cast<double>(program.batch.seq * program.batch.global_batch),
                           .loss = kNotComputed,
                           .grad_norm = kNotComputed,
                           .peak_memory = peak});
  }
  if (input.steps_only || !input.complete) return trace;
  trace.header.program_hash = hash_of(program);
  std::vector<RankId> ranks;
  for (const TimedRank& rank : timed.ranks) ranks.push_back(rank.view.rank);
  trace.memory = memory_records(program, ranks, input.load);
  return trace;
}

Trace trace_of(const TimedProgram& timed, OpTimes times, const RunInput& input, std::string interpreter) {
  Trace trace = record_of(timed, times.makespan, input, std::move(interpreter));
  if (!input.steps_only) append_spans(timed, std::move(times), input, trace.spans);
  return trace;
}

}  // namespace orrery::costmodel
