// SPDX-License-Identifier: Apache-2.0
// sweep/1 (docs/formats/sweep.md): a grid of searches. Each point names its inputs and nothing else, so that a sweep
// which was cut off knows by its results what is left to do.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace orrery {
class JsonObject;
class JsonWriter;
}  // namespace orrery

namespace orrery::planner {

struct SweepPoint {
  std::string model, cluster;  // names or paths, as users write them
  std::int64_t num_nodes = 0;  // of the cluster, the first ones; 0: all
  std::int64_t seq = 0, global_batch = 0;
  std::vector<std::string> where;  // planner/conditions.h
  std::string with = {};           // what else holds for all points, as users ask for it; empty: nothing

  bool operator==(const SweepPoint&) const = default;
};

/// All points, the last of the lists fastest: models, clusters, nodes, sequence, global_batch, where.
/// Throws: ConfigError with all problems of the file.
std::vector<SweepPoint> read_sweep(const std::string& path);
std::vector<SweepPoint> read_sweep_text(std::string_view text, const std::string& name);

/// The fields of a point, for one line of results; and back.
void write_point(JsonWriter& out, const SweepPoint& point);
SweepPoint read_point(const JsonObject& in);

}  // namespace orrery::planner
