// SPDX-License-Identifier: Apache-2.0
// What a cluster asks of a platform that the user describes to SimGrid, and what it makes of the answer: the routes
// between a few pairs of hosts of each path class, and from these the bandwidths and latencies of cluster/1. Nothing
// here knows SimGrid; who does is sim/platform_worker.
#pragma once

#include "base/units.h"
#include "program/cluster.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace orrery::sim {

/// A link of the platform.
struct PlatformLink {
  std::string name;
  BytesPerSecond bandwidth;
  bool is_shared = true;  // not a FATPIPE
};

struct PlatformRoute {
  std::vector<std::size_t> links;  // into PlatformRoutes::links
  Seconds latency;
};

struct PlatformRoutes {
  std::vector<PlatformLink> links;
  std::vector<PlatformRoute> routes;  // one for each pair that was asked for
};

/// Positions into PlatformQuestion::hosts.
struct HostPair {
  std::size_t from = 0, to = 0;
};

/// The pairs of one path class in one group: each host sends to one and receives from one, as many as there are.
struct PairsOfClass {
  enum class Kind : std::uint8_t { node, rail, spine } kind = Kind::node;
  std::size_t group = 0;
  std::vector<HostPair> pairs;
};

struct PlatformQuestion {
  std::vector<std::string> hosts;     // by node, or by device where the pattern names devices
  std::vector<PairsOfClass> classes;  // routes are wanted in their order
  bool by_device = false;
};

/// `pattern`: the name of a host, with "{node}" for the number of a node over the cluster and, where every device is a
/// host, "{device}" for its number in the node; "{node+1}" where they count from one.
/// Throws: ConfigError if the pattern names no node or something else, or the fabric is not a tree.
PlatformQuestion question_for(const Cluster& cluster, const std::string& pattern);

/// `cluster` with what the routes say instead of its own rates: scale_up (of devices), nics.each, nics.latency and
/// fabric.oversubscription. A class has the bandwidth of the slowest link of its routes, a link that several hosts
/// share being divided among those that send over it at once, and the largest latency, the sum over the links. Throws:
/// ConfigError if nodes have routes but no NICs to give the rate to.
Cluster with_routes(Cluster cluster, const PlatformQuestion& question, const PlatformRoutes& answer);

}  // namespace orrery::sim
