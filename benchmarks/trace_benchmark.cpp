// SPDX-License-Identifier: Apache-2.0
// Traces of the size of a large step: 400 000 spans on 16 ranks. Time per call; spans per second beside it.
#include "base/rng.h"
#include "traces/compare.h"
#include "traces/trace_io.h"

#include <algorithm>
#include <sstream>
#include <string>

#include <benchmark/benchmark.h>

namespace orrery {
namespace {

constexpr std::int32_t kNumRanks = 16;
constexpr std::int32_t kNumSpans = 400000;

/// Ops of random length, one behind the other on each rank; times have all their digits, as measured ones do.
Trace large_trace() {
  Trace trace;
  trace.header.num_ranks = kNumRanks;
  trace.spans.reserve(kNumSpans);
  double end = 0.0;
  for (std::int32_t rank = 0; rank < kNumRanks; ++rank) {
    trace.header.represents[rank] = 1;
    const CounterRng durations(1, static_cast<std::uint64_t>(rank));
    double now = 0.0;
    for (std::int32_t i = 0; i < kNumSpans / kNumRanks; ++i) {
      const double next = now + 1e-3 * durations.uniform(static_cast<std::uint64_t>(i));
      trace.spans.push_back({.rank = rank,
                             .key = {.micro_batch = i, .layer = 3, .op = OpCode::moe_fc1},
                             .ready = seconds(now),
                             .start = seconds(now),
                             .end = seconds(next),
                             .bytes = bytes(262144)});
      now = next;
    }
    end = std::max(end, now);
  }
  trace.steps.push_back({.time = seconds(end), .tokens = 1e6});
  return trace;
}

std::string text_of(const Trace& trace) {
  std::ostringstream out;
  write_trace(out, trace);
  return out.str();
}

void write_spans(benchmark::State& state) {
  const Trace trace = large_trace();
  for (auto _ : state) benchmark::DoNotOptimize(text_of(trace));
  state.SetItemsProcessed(state.iterations() * kNumSpans);
}
BENCHMARK(write_spans)->Unit(benchmark::kMillisecond);

void read_spans(benchmark::State& state) {
  const std::string text = text_of(large_trace());
  for (auto _ : state) benchmark::DoNotOptimize(read_trace_text(text, "trace.jsonl"));
  state.SetItemsProcessed(state.iterations() * kNumSpans);
}
BENCHMARK(read_spans)->Unit(benchmark::kMillisecond);

void compare_traces(benchmark::State& state) {
  const Trace trace = large_trace();
  for (auto _ : state) benchmark::DoNotOptimize(compare(trace, trace));
  state.SetItemsProcessed(state.iterations() * kNumSpans);
}
BENCHMARK(compare_traces)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace orrery
