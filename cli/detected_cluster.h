// SPDX-License-Identifier: Apache-2.0
// What was seen of machines as cluster/1. What cannot be seen is unknown (null), and asked for.
#pragma once

#include "cli/node_tree.h"
#include "program/cluster.h"

#include <filesystem>
#include <string>
#include <vector>

namespace orrery::cli {

struct DetectedCluster {
  Cluster cluster;
  /// "/groups/0/scale_up/latency: how long does ...?", or what was taken for granted.
  std::vector<std::string> questions;
};

/// One node. With accelerators they are its devices, otherwise one CPU rank for each core, but `min_ranks` at least.
/// `catalog`: its devices/NAME.json says what a driver does not, for names that it knows.
DetectedCluster detected_cluster(const NodeTree& tree, const std::filesystem::path& catalog, std::int64_t min_ranks);

/// Nodes that were detected one by one: equal ones are a group. Requires: at least one.
DetectedCluster merged(const std::vector<Cluster>& nodes);

}  // namespace orrery::cli
