// SPDX-License-Identifier: Apache-2.0
// Links between switches that each are for themselves. The star (sim/network.h) takes all uplinks of a leaf for one
// and knows nothing beyond them; that is right for balanced trees. It is not where a hash puts whole flows on one of
// several equal paths (ECMP), nor on a torus or dragonfly, where groups that share neither nodes nor leaves meet on the
// cables between routers. There a pair of sites has the links of its own way, as the topology routes it. The third kind
// are the links above the spines of pods, those of a pod taken for one.
#pragma once

#include "program/topology/topology.h"
#include "sim/network.h"
#include "sim/pod_links.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace orrery::sim {

/// How flows choose among equal paths: by a hash with this seed, or balanced.
using PathSeed = std::optional<std::uint64_t>;

/// One direction of a cable between two switches.
struct RouteLink {
  std::string name;   // "router0.1 -> router0.2"
  std::string label;  // of links like it, for people: "uplink, plane 1"
  BytesPerSecond bandwidth;
};

class Routes {
 public:
  /// With a seed, the flow between two NICs takes one of the equal paths, drawn as `orrery topology --ecmp-seeds` does.
  /// Without, it is divided evenly among them.
  Routes(const Cluster& cluster, PathSeed seed);

  struct Way {
    RouteIndex route = kPooled;
    double share = 1.0;  // of the flow
  };
  /// All ways of what one device sends to another; shares add up to one. A device with several NICs, or in whose node
  /// another one is on the receiver's rail, sends by each as the topology says. kPooled: over no links between
  /// switches. Throws: ConfigError when the cluster does not give the bandwidth of a link.
  std::span<const Way> between(const Cluster::Location& from, const Cluster::Location& to);

  /// Null where these are not the links of pods.
  const PodLinks* pods() const { return pods_.bind() && !seed_ ? &pods_ : nullptr; }
  /// From node to node, by the links of their pods; of a node and itself out of its pod and back in.
  /// Requires: pods().
  RouteIndex of_pods(std::int64_t from, std::int64_t to);
  /// Each simulated node of the pod of `node` stands for so many of it; none: for different numbers, and each has its
  /// share of the pod's links. Requires: pods(), and no route is known.
  void let_stand(std::int64_t node, std::optional<std::int64_t> nodes) { like_it_[pods_.of(node)] = nodes; }

  /// By number, in the order of the way. Those that are unlimited are left out.
  std::span<const std::uint32_t> links_of(RouteIndex route) const { return routes_[route]; }
  const std::vector<RouteLink>& links() const { return links_; }
  /// Whether these links are those that the star takes for one: flows then leave the uplinks of the star alone.
  bool replace_uplinks() const { return !has_routers_ && pods() == nullptr; }

 private:
  std::vector<Way> ways_of(DeviceIndex from, DeviceIndex to);
  /// The route over the links between switches of a flow from NIC to NIC.
  RouteIndex route_of(topology::Topology::NicFlow flow, const topology::Ways& ways);
  RouteIndex number_of(std::vector<std::uint32_t> links);
  /// Those of the pod, or the node's part of them.
  std::uint32_t pod_link(std::int64_t node, bool inwards);
  std::uint32_t number_of(topology::LinkIndex link);
  DeviceIndex device_at(const Cluster::Location& at) const;

  topology::Topology topology_;
  PathSeed seed_;
  bool has_routers_;
  PodLinks pods_;
  std::map<std::int64_t, std::optional<std::int64_t>> like_it_;  // by pod; one for each node without
  std::map<std::string, std::uint32_t> pod_links_;               // by name
  std::vector<RouteLink> links_;
  std::map<topology::LinkIndex, std::uint32_t> number_of_;
  std::vector<std::vector<std::uint32_t>> routes_;
  std::map<std::vector<std::uint32_t>, RouteIndex> known_routes_;
  /// By devices; where nothing is drawn a way depends on the routers alone, and so by those.
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<Way>> known_;
};

/// Else the star is all there is: balanced trees, with the links of pods beside it, and clusters without a fabric.
bool have_routes(const Cluster& cluster, bool hashed);

/// Null where flows have none.
/// `in_pairs`: whether there are flows in pairs. Those of nodes have only the links of pods.
std::shared_ptr<Routes> routes_of(const Cluster& cluster, PathSeed seed, bool in_pairs);

}  // namespace orrery::sim
