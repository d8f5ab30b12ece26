// SPDX-License-Identifier: Apache-2.0
// The one place that knows how versions of SimGrid differ: 3.32 (Debian 12) and 4.x. Only .cpp files of this folder
// include it; it brings in SimGrid's headers. Each function is what the two have in common under one name.
#pragma once

#include <simgrid/kernel/Timer.hpp>
#include <simgrid/s4u.hpp>

// Not before s4u.hpp: the version header of 3.32 wants to come second.
#include "base/check.h"

#include <functional>
#include <string>
#include <vector>

#include <simgrid/kernel/resource/Model.hpp>
#include <simgrid/version.h>

namespace orrery::sim::compat {

using KernelTimer = simgrid::kernel::timer::Timer;

/// A star zone that holds the whole platform. In 3.32 the first zone without a parent is the root; in 4.x there is
/// a root already, and a zone without a parent cannot hold hosts.
inline simgrid::s4u::NetZone* add_star_zone([[maybe_unused]] simgrid::s4u::Engine& engine, const std::string& name) {
#if SIMGRID_VERSION >= 40000
  return engine.get_netzone_root()->add_netzone_star(name);
#else
  return simgrid::s4u::create_star_zone(name);
#endif
}

inline simgrid::s4u::Host* add_host(simgrid::s4u::NetZone& zone, const std::string& name) {
  const double speed = 1.0;  // nothing is executed on it: compute is timers
#if SIMGRID_VERSION >= 40000
  return zone.add_host(name, speed)->seal();
#else
  return zone.create_host(name, speed)->seal();
#endif
}

/// A link that all flows on it share fairly. Latency is zero: the cost model's latency is a timer before the flow.
inline simgrid::s4u::Link* add_link(simgrid::s4u::NetZone& zone, const std::string& name, double bandwidth) {
#if SIMGRID_VERSION >= 40000
  return zone.add_link(name, bandwidth)->set_latency(0.0)->seal();
#else
  return zone.create_link(name, bandwidth)->set_latency(0.0)->seal();
#endif
}

inline std::vector<simgrid::s4u::LinkInRoute> in_route(const std::vector<const simgrid::s4u::Link*>& links) {
  std::vector<simgrid::s4u::LinkInRoute> route;
  for (const auto* link : links) route.emplace_back(link);
  return route;
}

/// Links that traffic from `host` takes before the centre of the star.
inline void add_route_out(simgrid::s4u::NetZone& zone, simgrid::s4u::Host& host,
                          const std::vector<const simgrid::s4u::Link*>& links) {
#if SIMGRID_VERSION >= 40000
  const simgrid::s4u::Host* centre = nullptr;
  zone.add_route(&host, centre, in_route(links), false);
#else
  zone.add_route(host.get_netpoint(), nullptr, nullptr, nullptr, in_route(links), false);
#endif
}

/// Links that traffic to `host` takes behind the centre of the star.
inline void add_route_in(simgrid::s4u::NetZone& zone, simgrid::s4u::Host& host,
                         const std::vector<const simgrid::s4u::Link*>& links) {
#if SIMGRID_VERSION >= 40000
  const simgrid::s4u::Host* centre = nullptr;
  zone.add_route(centre, &host, in_route(links), false);
#else
  zone.add_route(nullptr, host.get_netpoint(), nullptr, nullptr, in_route(links), false);
#endif
}

/// Lets a Comm that has just started count for `weight` flows wherever it shares a link. s4u has no word for it: the
/// Comm's action in the network model does, the last that this model has started.
inline void set_weight(const simgrid::s4u::Engine& engine, const simgrid::s4u::Comm& comm, double weight) {
  for (simgrid::kernel::resource::Model* model : engine.get_all_models()) {
    const auto* started = model->get_started_action_set();
    if (started->empty() || started->back().get_activity() != comm.get_impl()) continue;
    model->get_started_action_set()->back().set_sharing_penalty(1.0 / weight);
    return;
  }
  CHECK(false, weight);
}

/// Calls `callback` with the data of each Comm that ends, from now on and for every later Engine of this process.
inline void on_comm_completion(std::function<void(void*)> callback) {
#if SIMGRID_VERSION >= 33400
  simgrid::s4u::Comm::on_completion_cb(
      [callback = std::move(callback)](const simgrid::s4u::Comm& comm) { callback(comm.get_data<void>()); });
#else
  simgrid::s4u::Activity::on_completion_cb(
      [callback = std::move(callback)](const simgrid::s4u::Activity& comm) { callback(comm.get_data<void>()); });
#endif
}

}  // namespace orrery::sim::compat
