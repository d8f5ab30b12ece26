// SPDX-License-Identifier: Apache-2.0
#include "sim/platform.h"

#include "base/enum_names.h"
#include "sim/compat.hpp"

#include <algorithm>
#include <span>
#include <string>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

using costmodel::PathClass;

constexpr Named<PathClass> kPaths[kNumPathClasses] = {
    {"scale_up", PathClass::node}, {"rail", PathClass::rail}, {"spine", PathClass::spine}};

/// Both directions of a port.
struct Links {
  const simgrid::s4u::Link* out = nullptr;
  const simgrid::s4u::Link* in = nullptr;
};

}  // namespace

void Lane::set_cap(double cap) {
  if (cap == cap_) return;
  cap_ = cap;
  link_->set_bandwidth(cap);
}

Platform::Platform(simgrid::s4u::Engine& engine, const Network& network, Seconds second)
    : sites_(network.sites().size()) {
  auto* zone = compat::add_star_zone(engine, "cluster");
  std::vector<Links> ports;
  for (const Port& port : network.ports()) {
    const double per_second = (port.bandwidth * second).in(unit::byte);
    ports.push_back({compat::add_link(*zone, port.name + ".out", per_second),
                     compat::add_link(*zone, port.name + ".in", per_second)});
  }
  std::vector<const simgrid::s4u::Link*> route;
  for (SiteIndex site = 0; site < sites_.size(); ++site) {
    for (const bool on_network : {false, true}) {
      const auto paths = std::span(kPaths).subspan(on_network ? 1 : 0, on_network ? 2 : 1);
      if (std::ranges::none_of(paths, [&](const auto& of) { return network.uses(of.value); })) continue;
      for (std::int64_t i = 0; i < network.sites()[site].num_lanes; ++i) {
        const std::string name = fmt::format("site{}.{}.lane{}", site, on_network ? "network" : "scale_up", i);
        Lane& lane = lanes_.emplace_back(compat::add_link(*zone, name, 1.0));
        sites_[site].free[on_network ? 1 : 0].push_back(&lane);
      }
      for (const auto& [name, path] : paths) {
        if (!network.uses(path)) continue;
        const auto way = network.way(site, path);
        const std::string at = fmt::format("site{}.{}", site, name);
        auto* destination = compat::add_host(*zone, at);
        sites_[site].destinations[static_cast<std::size_t>(path)] = destination;
        route.clear();
        for (const PortIndex port : way) route.push_back(ports[port].in);
        std::ranges::reverse(route);
        compat::add_route_in(*zone, *destination, route);
        route.assign(1, nullptr);  // the link of the lane
        for (const PortIndex port : way) route.push_back(ports[port].out);
        std::size_t number = 0;
        for (Lane* lane : sites_[site].free[on_network ? 1 : 0]) {
          auto* source = compat::add_host(*zone, fmt::format("{}.lane{}", at, number++));
          route.front() = lane->link();
          compat::add_route_out(*zone, *source, route);
          lane->set_source(path, source);
        }
      }
    }
  }
  zone->seal();
}

}  // namespace orrery::sim
