// SPDX-License-Identifier: Apache-2.0
// The least time that a communication can take on its machine, whatever the algorithm: what has to cross a link over
// the link's bandwidth, for the busiest one, and one way's latency. A prediction below it is a mistake of the
// prediction. Hence nothing here is taken from the cost model or from the flows of the simulation, and no efficiency,
// protocol or start-up is in it (docs/design/simgrid.md, "Bounds").
#pragma once

#include "program/cluster.h"
#include "program/load_model.h"
#include "program/op.h"
#include "program/topology/topology.h"

#include <cstddef>
#include <span>

namespace orrery::sim {

struct LeastTime {
  Seconds links;    // of the busiest link
  Seconds latency;  // of one way
  Seconds total() const { return links + latency; }
};

/// Where a communication takes place: its members in group order, and whether the uplinks of leaves count. They do not
/// for a simulation in closed form, which knows none.
struct Members {
  const Cluster& cluster;
  std::span<const DeviceIndex> devices;
  bool uplinks = true;
  /// Of `cluster`; null: links between routers do not count.
  const topology::Topology* routers = nullptr;
  /// Whether a hash draws the ways: then only cuts bound, since nobody knows what a single cable carries.
  bool hashed = false;
};

/// All-gather and reduce-scatter: m of n members have to take in, or give away, (n-m)/n of the buffer; for each device,
/// domain, leaf or router, pod or dragonfly group. All-reduce: the whole buffer has to enter and to leave each; and
/// where only devices add up, so not within NVLink, k parts send 2(k-1) buffers together. Ring shift and all-to-all:
/// their traffic, each pair on its way; over routers on the links of the topology's route. Requires: rows are resolved
/// into bytes; at least two members.
LeastTime least_time(const CollectiveShape& shape, const Members& members);

/// Every pair of members on its way. With two levels one copy of a token for each domain that needs it, by the NIC of
/// its sender, and each device takes in a token once: expected copies of a uniform router if `is_balanced`, else the
/// fewest that `routing` allows, where all choices of a token that can coincide do.
/// Requires: routing.group is the number of members.
LeastTime least_time(const ExchangeShape& shape, const RoutingMatrix& routing, bool is_balanced,
                     const Members& members);

/// From the first member to the second.
LeastTime least_time(const PeerShape& shape, const Members& members);

}  // namespace orrery::sim
