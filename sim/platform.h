// SPDX-License-Identifier: Apache-2.0
// A network (sim/network.h) as SimGrid has it: one flat star of hosts. A site has a host to receive at for each path
// class, and hosts to send from, its lanes; all share the links of the ports on their way, so that flows of different
// classes compete. Where flows have routes of their own (sim/routes.h), a site has a further host to receive at for
// each of them, behind the links of the route: a star's hosts have one way in, and so routes are explicit for those
// pairs that really talk and for no others.
#pragma once

#include "sim/network.h"

#include <array>
#include <deque>
#include <map>
#include <vector>

namespace simgrid::s4u {
class Engine;
class Host;
class Link;
class NetZone;
}  // namespace simgrid::s4u

namespace orrery::sim {

/// The way of one communication out of a site: hosts to send from, one for each path class, behind a link of their own
/// that holds the rate cap of all its flows together. A link, because SimGrid 3.32 ignores the rate of a Comm that no
/// actor sends. A lane is for the scale-up link or for the network, whose path classes share the cap.
class Lane {
 public:
  explicit Lane(simgrid::s4u::Link* link) : link_(link) {}
  simgrid::s4u::Link* link() const { return link_; }
  simgrid::s4u::Host* source(costmodel::PathClass path) const { return sources_[static_cast<std::size_t>(path)]; }
  void set_source(costmodel::PathClass path, simgrid::s4u::Host* host) {
    sources_[static_cast<std::size_t>(path)] = host;
  }
  /// Bytes per second of SimGrid's clock. Requires: no flow is on the lane.
  void set_cap(double cap);

 private:
  std::array<simgrid::s4u::Host*, kNumPathClasses> sources_ = {};
  simgrid::s4u::Link* link_;
  double cap_ = 0.0;
};

/// A site receives at another host than it sends from, so it can send to itself: with folded symmetric ranks a node
/// stands for all nodes of its group.
class Platform {
 public:
  /// Builds the star with bandwidths per `second` of SimGrid's clock.
  Platform(simgrid::s4u::Engine& engine, const Network& network, Seconds second);

  /// The lanes of `site` that nothing is on, for the scale-up link or for the network: take one from the back, and
  /// bring it back when its last flow has ended.
  std::vector<Lane*>& free_lanes(SiteIndex site, bool network) { return sites_[site].free[network ? 1 : 0]; }
  /// One direction of a port that binds.
  simgrid::s4u::Link* link(PortIndex port, bool inwards) const { return inwards ? ports_[port].in : ports_[port].out; }
  simgrid::s4u::Host* destination(SiteIndex site, costmodel::PathClass path, RouteIndex route) const {
    if (route != kPooled) return routed_.at({.to = site, .path = path, .route = route});
    return sites_[site].destinations[static_cast<std::size_t>(path)];
  }

 private:
  void add_routes(simgrid::s4u::NetZone& zone, const Network& network, Seconds second);

  struct SiteHosts {
    std::array<std::vector<Lane*>, 2> free;
    std::array<simgrid::s4u::Host*, kNumPathClasses> destinations = {};  // null for a class that is not used
  };

  struct Links {
    simgrid::s4u::Link* out = nullptr;
    simgrid::s4u::Link* in = nullptr;
  };

  std::vector<Links> ports_;  // of the network; null where it does not bind
  std::deque<Lane> lanes_;
  std::vector<SiteHosts> sites_;
  std::map<RoutedEnd, simgrid::s4u::Host*> routed_;
};

}  // namespace orrery::sim
