// SPDX-License-Identifier: Apache-2.0
#include "cli/explain_report.h"

#include "base/parallel.h"
#include "cli/prediction.h"
#include "cli/progress.h"
#include "planner/explain/time_parts.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <string>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

constexpr double kMore = 1.1;          // of each resource
constexpr double kTight = 0.05;        // of a device's memory, so little left
constexpr std::size_t kReadable = 16;  // combinations; more are for machines

/// The number of the machine that a resource stands for.
Value number_of(const Plan& plan, planner::Resource resource) {
  const NodeGroup& group = plan.cluster.groups.front();
  const auto known = [](const auto& number) { return number ? Value(*number) : Value::unknown(); };
  switch (resource) {
    case planner::Resource::arithmetic: {
      const auto peak = group.device.peak.find(plan.strategy.precision);
      return peak == group.device.peak.end() ? Value::unknown() : Value(peak->second);
    }
    case planner::Resource::memory_bandwidth:
      return known(group.device.memory_bandwidth);
    case planner::Resource::scale_up:
      return known(group.scale_up.per_device);
    case planner::Resource::network:
      return group.nics ? known(group.nics->each) : Value::unknown("no NIC");
    case planner::Resource::host_link:
      return known(group.host.pcie);
    case planner::Resource::launch:
    case planner::Resource::latency:
      return Value::unknown("several");
  }
  return Value::unknown();
}

/// "the second plan's ep 64; pp 8", of a coalition by its bits.
std::string members_text(const planner::Difference& found, std::size_t coalition) {
  std::string text;
  for (std::size_t player = 0; player < found.players.size(); ++player) {
    if ((coalition >> player & 1) == 0) continue;
    text += fmt::format("{}{}", text.empty() ? "" : "; ", found.players[player]);
  }
  return text.empty() ? "none" : text;
}

/// With intervals for machines: of time with the ops that the plan extrapolates.
Table coalitions_table(const planner::Difference& found, const Intervals& intervals,
                       const std::vector<std::string>& extrapolated, const Plan& plan) {
  std::vector<std::optional<Interval80<Seconds>>> steps;
  std::vector<std::optional<Interval80<Bytes>>> memories;
  Table table{.columns = {{"members", "choices taken over"},
                          {"step_time", "step time"},
                          {"memory", "memory"},
                          {"fits", "fits"}},
              .rows = {}};
  for (std::size_t i = 0; i < found.coalitions.size(); ++i) {
    const planner::Coalition& coalition = found.coalitions[i];
    table.rows.push_back({members_text(found, i), coalition.time, coalition.memory, coalition.fits});
    steps.push_back(intervals.of_step(coalition.time, extrapolated));
    memories.push_back(intervals.of_memory(coalition.memory, plan.strategy));
  }
  add_interval_columns(table, "step_time", steps);
  add_interval_columns(table, "memory", memories);
  return table;
}

}  // namespace

void add_time_parts(Report& report, const Trace& trace) {
  const Seconds step = trace.steps.front().time;
  Table table{.columns = {{"part", "part"},
                          {"of_ranks", "mean of ranks"},
                          {"share_of_ranks", "share"},
                          {"of_path", "critical path"},
                          {"share_of_path", "share"}},
              .rows = {}};
  for (const planner::TimePart& part : planner::time_parts(trace)) {
    table.rows.push_back({part.name, part.of_ranks, Value::percent(part.of_ranks / step), part.of_path,
                          Value::percent(part.of_path / step)});
  }
  report.table("parts", "Where the step goes", std::move(table));
}

void add_memory_limit(Report& report, const Plan& plan, const std::filesystem::path& catalog) {
  const std::vector<costmodel::MemoryByCause> ranks = memory_of(plan);
  std::vector<std::size_t> order(ranks.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return ranks[a].total() > ranks[b].total(); });
  const std::optional<Bytes>& limit = plan.cluster.groups.front().device.memory;
  report.fact("fullest_rank", "fullest pipeline rank", order[0]);
  report.fact("peak_memory", "its memory", ranks[order[0]].total());
  add_memory_interval(report, plan, ranks[order[0]].total(), catalog);
  if (order.size() > 1) {
    report.fact("next_rank", "next pipeline rank", order[1]);
    report.fact("next_memory", "its memory", ranks[order[1]].total());
  }
  report.fact("device_memory", "memory of a device", limit ? Value(*limit) : Value::unknown());
  if (!limit) return;
  report.fact("headroom", "headroom", *limit - ranks[order[0]].total());
  const auto over = std::count_if(ranks.begin(), ranks.end(), [&](const auto& rank) { return rank.total() > *limit; });
  report.fact("ranks_over", "pipeline ranks that do not fit", over);
  if (over > 0) report.note(*costmodel::why_it_does_not_fit(ranks, plan.cluster.groups.front().device));
}

void add_sensitivity(Report& report, const Plan& plan, const planner::StepTimer& timer, Seconds step) {
  constexpr std::size_t kCount = std::size(planner::kResourceNames);
  std::vector<double> changes(kCount);
  parallel_for(kCount, [&](std::int64_t i, int) {
    const auto at = static_cast<std::size_t>(i);
    changes[at] = timer.time(plan.strategy, planner::kResourceNames[at].value, kMore) / step - 1.0;
  });
  Table table{.columns = {{"resource", "10 % more of"}, {"now", "now"}, {"change", "step time"}}, .rows = {}};
  std::size_t most = 0;
  for (std::size_t i = 0; i < kCount; ++i) {
    const auto& [name, resource] = planner::kResourceNames[i];
    table.rows.push_back({name, number_of(plan, resource), Value::error(changes[i])});
    if (std::abs(changes[i]) > std::abs(changes[most])) most = i;
  }
  // A step that only waits for this number would change by 1 / 1.1 - 1, or by 0.1 where the number is a time.
  const double whole = planner::is_rate(planner::kResourceNames[most].value) ? 1.0 / kMore - 1.0 : kMore - 1.0;
  report.fact("binding", "what binds", planner::kResourceNames[most].name)
      .fact("binding_share", "share of the step that it explains", Value::percent(changes[most] / whole));
  const Device& device = plan.cluster.groups.front().device;
  if (device.memory) {
    // No number of the step: what would be faster and needs more is not there to be chosen.
    const Bytes left = *device.memory - costmodel::fullest(memory_of(plan));
    report.fact("memory_left", "memory left", left);
    if (left < kTight * *device.memory) report.note("memory binds, too: of what would be faster, little would fit");
  }
  report.table("sensitivity", "What the machine's numbers are worth", std::move(table));
}

void add_difference(Report& report, const Plan& plan, const Strategy& other, const planner::StepTimer& timer,
                    const Intervals& intervals, bool json) {
  planner::Difference found;
  {
    ProgressLine progress;
    found = planner::difference(plan, other, timer,
                                [&](std::int64_t done, std::int64_t all) { progress.update("explain", done, all); });
  }
  const Seconds first = found.coalitions.front().time, second = found.coalitions.back().time;
  report.fact("step_time", "step time", first);
  const std::vector<std::string> extrapolated = timer.extrapolated(plan.strategy);
  add_interval(report, "step_time", "80 % interval,", intervals.of_step(first, extrapolated));
  report.fact("other_step_time", "of the other plan", second);
  add_interval(report, "other_step_time", "80 % interval,", intervals.of_step(second, timer.extrapolated(other)));
  report.fact("difference", "difference", second - first)
      .fact("difference_ratio", "of the step", Value::error(second / first - 1.0));
  if (found.players.empty()) report.note("the two strategies are equal");
  Table table{.columns = {{"choice", "choice"}, {"worth", "changes the step by"}, {"ratio", "of the step"}},
              .rows = {}};
  std::vector<std::size_t> order(found.players.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return found.worth.of(a) < found.worth.of(b); });
  for (const std::size_t player : order) {
    const Seconds worth = found.worth.of(player) * unit::nanosecond;
    table.rows.push_back({found.players[player], worth, Value::error(worth / first)});
  }
  report.table("choices", "What each choice of the other plan is worth (Shapley)", std::move(table));
  if (json || found.coalitions.size() <= kReadable) {
    report.table("combinations", "All combinations", coalitions_table(found, intervals, extrapolated, plan));
  }
  if (found.num_too_large() > 0) {
    report.note(fmt::format("{} of {} combinations need more memory than a device has; they count with their time",
                            found.num_too_large(), found.coalitions.size()));
  }
}

void add_single_changes(Report& report, const std::vector<planner::SingleChange>& changes, Seconds step,
                        std::size_t num_rows, const Intervals& intervals,
                        const std::vector<std::string>& extrapolated) {
  std::vector<std::optional<Interval80<Seconds>>> steps;
  std::vector<std::optional<Interval80<Bytes>>> memories;
  Table table{
      .columns = {{"change", "change"}, {"step_time", "step time"}, {"gain", "step time"}, {"memory", "memory"}},
      .rows = {}};
  for (std::size_t i = 0; i < changes.size() && i < num_rows; ++i) {
    const planner::SingleChange& change = changes[i];
    table.rows.push_back({change.text, change.time, Value::error(change.time / step - 1.0), change.memory});
    steps.push_back(intervals.of_step(change.time, extrapolated));
    memories.push_back(intervals.of_memory(change.memory, change.strategy));
  }
  add_interval_columns(table, "step_time", steps);
  add_interval_columns(table, "memory", memories);
  report.table("single_changes", "Single changes that fit, fastest first", std::move(table));
}

}  // namespace orrery::cli
