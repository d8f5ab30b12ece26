// SPDX-License-Identifier: Apache-2.0
// The cluster as links and ways over them, before SimGrid sees it. Routing is decided here: a flow takes the way out of
// its source and the way into its destination, for its path class. All links exist once in each direction. What this is
// not: a picture of switches. The core of the fabric is left out (docs/design/simgrid.md).
#pragma once

#include "costmodel/cost_model.h"
#include "program/cluster.h"
#include "program/link_class.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace orrery::sim {

inline constexpr std::size_t kNumPathClasses = 3;

/// Which path classes carry flows.
using PathClasses = std::array<bool, kNumPathClasses>;

/// Where flows begin and end: a node, or one device of it.
struct Site {
  std::int64_t node = 0;               // over the whole cluster
  std::optional<std::int64_t> device;  // in its node; absent: the node as a whole
  std::int64_t num_lanes = 0;          // at most as many communications at once send from here on one path class
  std::int64_t like_it = 1;            // nodes below its leaf for which the node stands, itself included
};
using SiteIndex = std::uint32_t;  // into Network::sites()

/// Both directions of a link.
struct Port {
  LinkClass link_class = LinkClass::scale_up;
  std::string name;                          // "node3.nic", "leaf0.uplink"
  std::int64_t node = 0;                     // of an uplink: any node below its leaf
  BytesPerSecond bandwidth;                  // each way
  double part = 1.0;                         // of the real link; less where the nodes below a leaf have an uplink each
  bool binds = true;                         // else what it serves can never fill it
  bool of_device = false;                    // in front of the node's
  std::int64_t first_nic = 0, num_nics = 0;  // of a NIC port, of the node's
};
using PortIndex = std::uint32_t;  // into Network::ports()

class Routes;
using RouteIndex = std::uint32_t;  // of sim/routes.h
/// No links between switches but the uplinks that a path class has.
inline constexpr RouteIndex kPooled = 0;

/// Where flows arrive that have taken a route.
struct RoutedEnd {
  SiteIndex to = 0;
  costmodel::PathClass path = costmodel::PathClass::rail;
  RouteIndex route = kPooled;
  auto operator<=>(const RoutedEnd&) const = default;
};

class Network {
 public:
  /// Ports of a node: scale-up, per_device * devices; NIC, each * number; uplink of its leaf, the NICs of the leaf's
  /// nodes / oversubscription. Where every node below a leaf stands for k nodes, the uplink has 1/k of that: the others
  /// send as much. Where they stand for different numbers, each has an uplink of its own, NIC / oversubscription.
  /// A device has ports of its own in front of those of its node: scale-up, and its NICs (NodeGroup::own_nics), named
  /// by the first.
  /// What is unlimited has no port. Uplinks that are not oversubscribed never bind, nor do the ports of a node from
  /// which only devices send, each behind its own.
  /// Throws: ConfigError when the cluster does not give a bandwidth that is needed for the classes in `used`.
  Network(const Cluster& cluster, std::vector<Site> sites, const PathClasses& used);

  /// For links that change: any port can bind then.
  void let_all_bind() {
    for (Port& port : ports_) port.binds = true;
  }
  /// Flows with routes of their own, and where they go.
  void set_routes(std::shared_ptr<const Routes> routes, std::set<RoutedEnd> ends) {
    routes_ = std::move(routes);
    routed_ends_ = std::move(ends);
  }
  /// Null: no flow has one.
  const Routes* routes() const { return routes_.get(); }
  const std::set<RoutedEnd>& routed_ends() const { return routed_ends_; }
  /// Leaf of any node of the cluster.
  std::int64_t leaf_of(std::int64_t node) const { return leaf_of_node_.at(static_cast<std::size_t>(node)); }

  const std::vector<Site>& sites() const { return sites_; }
  const std::vector<Port>& ports() const { return ports_; }
  bool uses(costmodel::PathClass path) const { return used_[static_cast<std::size_t>(path)]; }
  /// Ports between a site and the middle of the network, from the site on; a flow into it takes them in reverse.
  /// Requires: uses(path).
  std::span<const PortIndex> way(SiteIndex site, costmodel::PathClass path) const;

 private:
  struct Way {
    std::array<PortIndex, 4> ports = {};
    std::uint32_t num_ports = 0;
  };

  std::vector<Site> sites_;
  PathClasses used_;
  std::vector<std::int64_t> leaf_of_node_;
  std::vector<Port> ports_;
  std::vector<std::array<Way, kNumPathClasses>> ways_;  // by site
  std::shared_ptr<const Routes> routes_;
  std::set<RoutedEnd> routed_ends_;
};

}  // namespace orrery::sim
