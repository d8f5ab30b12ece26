// SPDX-License-Identifier: Apache-2.0
// The cluster as SimGrid sees it: one flat star of endpoints. Routing is decided here and not by SimGrid: a node has
// one endpoint per path class, and all endpoints of a node share the same port objects, so that flows of different
// classes still compete for the NIC. What it is not: a picture of switches. The core of the fabric is left out; an
// oversubscribed leaf is the node's fair share of its uplinks (docs/design/simgrid.md).
#pragma once

#include "costmodel/cost_model.h"
#include "program/cluster.h"

#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

namespace simgrid::s4u {
class Engine;
class Host;
class Link;
}  // namespace simgrid::s4u

namespace orrery::sim {

inline constexpr std::size_t kNumPathClasses = 3;

/// Which path classes carry flows.
using PathClasses = std::array<bool, kNumPathClasses>;

/// What leaves and enters one node, all its devices together, per direction.
struct NodePorts {
  BytesPerSecond scale_up;  // zero: not needed
  BytesPerSecond nic;       // zero: not needed
  BytesPerSecond uplink;    // share of the leaf's uplinks; zero: not needed
};

/// The ports of a node of group `group` of `cluster` that flows of the classes in `used` need.
/// scale_up = per_device * devices; nic = each * number; uplink = nic / oversubscription, which is what the node gets
/// when all nodes under its leaf send at once.
/// Throws: ConfigError when the cluster does not give a bandwidth that is needed.
NodePorts ports_of(const Cluster& cluster, std::size_t group, const PathClasses& used);

/// A node that flows begin or end at, and how many of them at most begin there at the same time on one path class.
struct NodeUse {
  std::int64_t node = 0;  // over the whole cluster
  std::int64_t num_flows = 0;
};

/// The way of one flow out of a node: a host to send from, behind a link of its own that holds the flow's rate cap.
/// A link, because SimGrid 3.32 ignores the rate of a Comm that no actor sends.
class Lane {
 public:
  Lane(simgrid::s4u::Host* source, simgrid::s4u::Link* link) : source_(source), link_(link) {}
  simgrid::s4u::Host* source() const { return source_; }
  /// Bytes per second of SimGrid's clock. Requires: no flow is on the lane.
  void set_cap(double cap);

 private:
  simgrid::s4u::Host* source_;
  simgrid::s4u::Link* link_;
  double cap_ = 0.0;
};

/// Hosts at which flows begin and end. A node receives at another host than it sends from, so it can send to itself:
/// with folded symmetric ranks a node stands for all nodes of its group.
class Platform {
 public:
  /// Builds the star for `nodes` with bandwidths per `second` of SimGrid's clock.
  /// Throws: ConfigError when the cluster does not give a bandwidth that is needed.
  Platform(simgrid::s4u::Engine& engine, const Cluster& cluster, std::span<const NodeUse> nodes,
           const PathClasses& used, Seconds second);

  /// The lanes of `node` that no flow is on: take one from the back, and bring it back when the flow has ended.
  /// Requires: `node` was given to the constructor, and `path` is used.
  std::vector<Lane*>& free_lanes(costmodel::PathClass path, std::int64_t node) { return endpoint(path, node).free; }
  simgrid::s4u::Host* destination(costmodel::PathClass path, std::int64_t node) {
    return endpoint(path, node).destination;
  }

 private:
  struct Endpoint {
    std::vector<Lane*> free;
    simgrid::s4u::Host* destination = nullptr;
  };

  Endpoint& endpoint(costmodel::PathClass path, std::int64_t node);

  std::deque<Lane> lanes_;
  std::vector<std::array<Endpoint, kNumPathClasses>> endpoints_;  // by node; empty where none was asked for
};

}  // namespace orrery::sim
