// SPDX-License-Identifier: Apache-2.0
#include "traces/summary.h"

#include "base/errors.h"
#include "base/median.h"
#include "traces/critical_path.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

namespace orrery {
namespace {

/// Mean power of each rank over its samples, the time between two samples at the mean of both; added over ranks.
std::optional<Watts> mean_power(const std::vector<PowerSample>& samples) {
  if (samples.empty()) return std::nullopt;
  std::map<std::int32_t, std::vector<PowerSample>> by_rank;
  for (const PowerSample& sample : samples) by_rank[sample.rank].push_back(sample);
  Watts sum;
  for (auto& [rank, track] : by_rank) {
    std::stable_sort(track.begin(), track.end(), [](const auto& a, const auto& b) { return a.time < b.time; });
    const Seconds window = track.back().time - track.front().time;
    Joules energy;
    for (std::size_t i = 1; i < track.size(); ++i) {
      energy += 0.5 * (track[i - 1].power + track[i].power) * (track[i].time - track[i - 1].time);
    }
    sum += window > Seconds::zero() ? energy / window : track.front().power;
  }
  return sum;
}

void add_path(const Trace& trace, std::int32_t step, TraceSummary& summary) {
  const CriticalPath path = critical_path(trace, step);
  summary.path_work = path.work;
  summary.path_peer_wait = path.peer_wait;
  summary.path_gap = path.gap;
  std::map<std::pair<OpCode, Pass>, Seconds> shares;
  for (const CriticalPath::Part& part : path.parts) {
    const OpKey& key = trace.spans.key()[part.span];
    shares[{key.op, key.pass}] += part.work;
  }
  for (const auto& [name, time] : shares) summary.path.push_back({name.first, name.second, time});
  std::stable_sort(summary.path.begin(), summary.path.end(),
                   [](const PathShare& a, const PathShare& b) { return a.time > b.time; });
}

/// The steps of a trace that have spans.
std::set<std::int32_t> steps_with_spans(const Trace& trace) {
  return {trace.spans.step().begin(), trace.spans.step().end()};
}

Seconds median_of(const std::vector<StepRecord>& steps) {
  std::vector<Seconds> times;
  for (const StepRecord& step : steps) times.push_back(step.time);
  return median(times);
}

}  // namespace

std::vector<StepRecord> counted_steps(const Trace& trace) {
  std::vector<StepRecord> steps = trace.steps;
  if (steps.empty()) {
    throw ConfigError(fmt::format("expected the record of at least one step in the trace of \"{}\", got none",
                                  trace.header.interpreter));
  }
  std::sort(steps.begin(), steps.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  if (steps.size() > 1) steps.erase(steps.begin());
  return steps;
}

Seconds median_step_time(const Trace& trace) { return median_of(counted_steps(trace)); }

TraceSummary summarize(const Trace& trace) {
  const std::vector<StepRecord> steps = counted_steps(trace);
  TraceSummary summary;
  summary.interpreter = trace.header.interpreter;
  summary.num_steps = std::ssize(steps);
  summary.num_warm_up = std::ssize(trace.steps) - std::ssize(steps);
  for (const StepRecord& step : steps) summary.peak_memory = std::max(summary.peak_memory, step.peak_memory);
  summary.step_time = median_of(steps);
  if (summary.step_time > Seconds::zero()) {
    summary.tokens_per_second = steps.front().tokens / summary.step_time.in(unit::second);
  }
  if (const std::optional<Watts> power = mean_power(trace.power)) summary.energy = *power * summary.step_time;
  const std::set<std::int32_t> with_path = steps_with_spans(trace);
  const StepRecord* typical = nullptr;
  for (const StepRecord& step : steps) {
    if (!with_path.contains(step.step)) continue;
    if (typical == nullptr || abs(step.time - summary.step_time) < abs(typical->time - summary.step_time)) {
      typical = &step;
    }
  }
  if (typical != nullptr) add_path(trace, typical->step, summary);
  return summary;
}

}  // namespace orrery
