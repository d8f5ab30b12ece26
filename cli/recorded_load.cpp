// SPDX-License-Identifier: Apache-2.0
#include "cli/recorded_load.h"

#include "base/check.h"
#include "base/errors.h"
#include "traces/trace_io.h"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::cli {

namespace {

/// The routing of the last step. Requires: a trace that recorded loads.
std::shared_ptr<const RecordedLoad> last_step(const Trace& trace) {
  CHECK(!trace.loads.empty());
  const std::int32_t last = trace.loads.back().step;
  auto load = std::make_shared<RecordedLoad>();
  for (const LoadRecord& record : trace.loads) {
    if (record.step != last) continue;
    load->matrices[{record.layer, record.micro_batch, record.ep_group}] = record.routing;
  }
  return load;
}

}  // namespace

LoadModel recorded_load(const Trace& trace) { return last_step(trace); }

namespace {

Trace trace_with_loads(const std::string& path) {
  Trace trace = read_trace_file(path);
  if (trace.loads.empty()) {
    throw ConfigError(fmt::format("{}: expected a trace with load records, got none", path),
                      "orrery execute PLAN --trace FILE records them");
  }
  return trace;
}

}  // namespace

LoadModel popularity_load(const std::string& path) {
  return std::make_shared<const PopularityLoad>(popularity_of(*last_step(trace_with_loads(path))));
}

LoadModel load_by_source(const std::string& path, std::int64_t ep) {
  const Trace trace = trace_with_loads(path);
  std::shared_ptr<const RecordedLoad> recorded = last_step(trace);
  const bool same_groups = std::all_of(recorded->matrices.begin(), recorded->matrices.end(),
                                       [&](const auto& of) { return of.second.group == ep; });
  if (same_groups) return recorded;
  return std::make_shared<const PopularityLoad>(popularity_of(*recorded));
}

double fullest_rank(const Trace& trace) {
  std::map<std::pair<std::int32_t, std::int64_t>, std::vector<double>> received;  // by step and EP group: of each rank
  const bool has_warm_up = trace.steps.size() > 1;
  for (const LoadRecord& record : trace.loads) {
    if (has_warm_up && record.step == trace.steps.front().step) continue;
    std::vector<double>& ranks = received[{record.step, record.ep_group}];
    ranks.resize(static_cast<std::size_t>(record.routing.group));
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      ranks[rank] += record.routing.received(static_cast<std::int64_t>(rank));
    }
  }
  double fullest = 1.0;
  for (const auto& [place, ranks] : received) {
    const double all = std::accumulate(ranks.begin(), ranks.end(), 0.0);
    const double most = *std::max_element(ranks.begin(), ranks.end());
    if (all > 0.0) fullest = std::max(fullest, most * static_cast<double>(ranks.size()) / all);
  }
  return fullest;
}

}  // namespace orrery::cli
