// SPDX-License-Identifier: Apache-2.0
#include "sim/platform.h"

#include "base/enum_names.h"
#include "sim/compat.hpp"
#include "sim/routes.h"

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

using costmodel::PathClass;

std::size_t index_of(PathClass path) { return static_cast<std::size_t>(path); }

constexpr Named<PathClass> kPaths[kNumPathClasses] = {
    {"scale_up", PathClass::node}, {"rail", PathClass::rail}, {"spine", PathClass::spine}};

}  // namespace

void Lane::set_cap(double cap) {
  if (cap == cap_) return;
  cap_ = cap;
  link_->set_bandwidth(cap);
}

Platform::Platform(simgrid::s4u::Engine& engine, const Network& network, Seconds second)
    : sites_(network.sites().size()) {
  auto* zone = compat::add_star_zone(engine, "cluster");
  for (const Port& port : network.ports()) {
    const double per_second = (port.bandwidth * second).in(unit::byte);
    Links& links = ports_.emplace_back();
    if (!port.binds) continue;
    links = {.out = compat::add_link(*zone, port.name + ".out", per_second),
             .in = compat::add_link(*zone, port.name + ".in", per_second)};
  }
  const auto binding_way = [&](SiteIndex site, PathClass path) {
    std::vector<PortIndex> way;
    for (const PortIndex port : network.way(site, path)) {
      if (ports_[port].out != nullptr) way.push_back(port);
    }
    return way;
  };
  std::vector<const simgrid::s4u::Link*> route;
  for (SiteIndex site = 0; site < sites_.size(); ++site) {
    for (const bool on_network : {false, true}) {
      std::vector<Lane*>& lanes = sites_[site].free[on_network ? 1 : 0];
      std::optional<PathClass> before;
      for (const auto& [name, path] : std::span(kPaths).subspan(on_network ? 1 : 0, on_network ? 2 : 1)) {
        if (!network.uses(path)) continue;
        const std::vector<PortIndex> way = binding_way(site, path);
        auto& destinations = sites_[site].destinations;
        if (before && way == binding_way(site, *before)) {  // the same way: the same hosts
          destinations[index_of(path)] = destinations[index_of(*before)];
          for (Lane* lane : lanes) lane->set_source(path, lane->source(*before));
          continue;
        }
        const std::string at = fmt::format("site{}.{}", site, name);
        destinations[index_of(path)] = compat::add_host(*zone, at);
        route.clear();
        for (const PortIndex port : way) route.push_back(ports_[port].in);
        std::ranges::reverse(route);
        compat::add_route_in(*zone, *destinations[index_of(path)], route);
        for (std::int64_t i = 0; i < network.sites()[site].num_lanes; ++i) {
          const std::string of_lane = fmt::format("{}.lane{}", at, i);
          if (!before) lanes.push_back(&lanes_.emplace_back(compat::add_link(*zone, of_lane, 1.0)));
          Lane& lane = *lanes[static_cast<std::size_t>(i)];
          lane.set_source(path, compat::add_host(*zone, of_lane));
          route.assign(1, lane.link());
          for (const PortIndex port : way) route.push_back(ports_[port].out);
          compat::add_route_out(*zone, *lane.source(path), route);
        }
        before = path;
      }
    }
  }
  add_routes(*zone, network, second);
  zone->seal();
}

void Platform::add_routes(simgrid::s4u::NetZone& zone, const Network& network, Seconds second) {
  if (network.routed_ends().empty()) return;
  const Routes& routes = *network.routes();
  std::vector<simgrid::s4u::Link*> links(routes.links().size());
  std::vector<const simgrid::s4u::Link*> way;
  for (const RoutedEnd& end : network.routed_ends()) {
    way.clear();
    for (const std::uint32_t number : routes.links_of(end.route)) {
      const RouteLink& link = routes.links()[number];
      if (links[number] == nullptr) {
        links[number] = compat::add_link(zone, link.name, (link.bandwidth * second).in(unit::byte));
      }
      way.push_back(links[number]);
    }
    const std::span<const PortIndex> ports = network.way(end.to, end.path);
    for (auto port = ports.rbegin(); port != ports.rend(); ++port) {
      if (ports_[*port].in != nullptr) way.push_back(ports_[*port].in);
    }
    simgrid::s4u::Host* host =
        compat::add_host(zone, fmt::format("site{}.{}.route{}", end.to, name_of(kPaths, end.path), end.route));
    compat::add_route_in(zone, *host, way);
    routed_[end] = host;
  }
}

}  // namespace orrery::sim
