// SPDX-License-Identifier: Apache-2.0
#include "cli/simulation_report.h"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace orrery::cli {

void add_bounds(Report& report, const std::vector<sim::BoundedOps>& bounds) {
  Table table{.columns = {{"op", "communication"},
                          {"count", "count"},
                          {"time", "time"},
                          {"mean_time", "mean"},
                          {"mean_bound", "bound"},
                          {"mean_ratio", "mean ratio"},
                          {"least_ratio", "least ratio"}},
              .rows = {}};
  for (const sim::BoundedOps& ops : bounds) {
    const auto count = static_cast<double>(ops.count);
    const bool bounded = ops.bound > Seconds::zero();
    const auto of_bound = [&](auto x) { return bounded ? Value(x) : Value::unknown("-"); };
    table.rows.push_back({name_of(ops.op), ops.count, ops.time, ops.time / count, of_bound(ops.bound / count),
                          of_bound(ops.mean_ratio()), of_bound(ops.least_ratio)});
  }
  report.table("bounds", "Communications beside the least that their links allow", std::move(table));
}

void add_links(Report& report, const sim::UseOfLinks& use) {
  if (use.links.empty()) return;
  constexpr std::size_t kShown = 10;
  Table table{.columns = {{"link", "link"}, {"class", "class"}, {"bytes", "bytes"}, {"mean", "mean"}, {"peak", "peak"}},
              .rows = {}};
  for (std::size_t i = 0; i < std::min(kShown, use.links.size()); ++i) {
    const sim::LinkUse& link = use.links[i];
    table.rows.push_back({link.name, link.link_class, link.size, Value::percent(link.mean), Value::percent(link.peak)});
  }
  report.table("links", "The fullest links", std::move(table));
  constexpr double kWorthSaying = 5e-4;
  for (const sim::UseOfLinks::Class& of : use.classes) {
    if (of.cut < kWorthSaying) continue;
    report.note(
        fmt::format("{} links: {:.1f} % of the bytes are cut from peaks and tracks, where flows that overlap in "
                    "part came to up to {:.0f} % of a link",
                    of.name, 100.0 * of.cut, 100.0 * use.fullest));
  }
}

std::vector<CounterTrack> tracks_of(const sim::UseOfLinks& use) {
  std::vector<CounterTrack> tracks;
  for (const sim::UseOfLinks::Class& of : use.classes) {
    CounterTrack& track = tracks.emplace_back();
    track.name = of.name + " links, per cent in use";
    for (const double share : of.track) track.values.push_back(100.0 * share);
    track.interval = use.slice;
  }
  return tracks;
}

}  // namespace orrery::cli
