// SPDX-License-Identifier: Apache-2.0
#include "sim/platform.h"

#include "base/check.h"
#include "base/errors.h"
#include "sim/compat.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

using costmodel::PathClass;

std::size_t index_of(PathClass path) { return static_cast<std::size_t>(path); }

template <class T>
T required(const std::optional<T>& value, const Cluster& cluster, const NodeGroup& group, std::string_view key) {
  if (value) return *value;
  throw ConfigError(
      fmt::format("cluster {}, group {}: {} is null; expected a bandwidth, because the program "
                  "communicates over it",
                  cluster.name, group.name, key));
}

/// The group of a node that is numbered over the whole cluster.
std::size_t group_of(const Cluster& cluster, std::int64_t node) {
  for (std::size_t group = 0; group < cluster.groups.size(); ++group) {
    if (node < cluster.groups[group].num_nodes) return group;
    node -= cluster.groups[group].num_nodes;
  }
  CHECK(false, node, cluster.name);
  return 0;
}

/// Both directions of a port.
struct Port {
  const simgrid::s4u::Link* out = nullptr;
  const simgrid::s4u::Link* in = nullptr;
};

}  // namespace

NodePorts ports_of(const Cluster& cluster, std::size_t group_index, const PathClasses& used) {
  const NodeGroup& group = cluster.groups.at(group_index);
  NodePorts ports;
  if (used[index_of(PathClass::node)]) {
    ports.scale_up = static_cast<double>(group.devices_per_node) *
                     required(group.scale_up.per_device, cluster, group, "scale_up.per_device");
  }
  if (used[index_of(PathClass::rail)] || used[index_of(PathClass::spine)]) {
    const Nics nics = required(group.nics, cluster, group, "nics");
    ports.nic = static_cast<double>(nics.per_node) * required(nics.each, cluster, group, "nics.each");
    ports.uplink = ports.nic / cluster.fabric.oversubscription;
  }
  return ports;
}

void Lane::set_cap(double cap) {
  if (cap == cap_) return;
  cap_ = cap;
  link_->set_bandwidth(cap);
}

Platform::Platform(simgrid::s4u::Engine& engine, const Cluster& cluster, std::span<const NodeUse> nodes,
                   const PathClasses& used, Seconds second) {
  auto* zone = compat::add_star_zone(engine, "cluster");
  for (const NodeUse& use : nodes) {
    const std::int64_t node = use.node;
    const NodePorts ports = ports_of(cluster, group_of(cluster, node), used);
    const auto add_port = [&](std::string_view name, BytesPerSecond bandwidth) {
      const double per_second = (bandwidth * second).in(unit::byte);
      return Port{compat::add_link(*zone, fmt::format("node{}.{}.out", node, name), per_second),
                  compat::add_link(*zone, fmt::format("node{}.{}.in", node, name), per_second)};
    };
    const auto add_endpoint = [&](std::string_view name, PathClass path, const std::vector<Port>& route) {
      endpoints_.resize(std::max(endpoints_.size(), static_cast<std::size_t>(node) + 1));
      Endpoint& added = endpoints_[static_cast<std::size_t>(node)][index_of(path)];
      std::vector<const simgrid::s4u::Link*> out, in;
      for (const Port& port : route) {
        out.push_back(port.out);
        in.insert(in.begin(), port.in);
      }
      added.destination = compat::add_host(*zone, fmt::format("node{}.{}.destination", node, name));
      compat::add_route_in(*zone, *added.destination, in);
      for (std::int64_t i = 0; i < use.num_flows; ++i) {
        const std::string lane = fmt::format("node{}.{}.lane{}", node, name, i);
        auto* source = compat::add_host(*zone, lane);
        auto* link = compat::add_link(*zone, lane, 1.0);
        out.insert(out.begin(), link);
        compat::add_route_out(*zone, *source, out);
        out.erase(out.begin());
        added.free.push_back(&lanes_.emplace_back(source, link));
      }
    };
    if (used[index_of(PathClass::node)]) {
      add_endpoint("scale_up", PathClass::node, {add_port("scale_up", ports.scale_up)});
    }
    if (used[index_of(PathClass::rail)] || used[index_of(PathClass::spine)]) {
      const Port nic = add_port("nic", ports.nic);
      add_endpoint("rail", PathClass::rail, {nic});
      add_endpoint("spine", PathClass::spine, {nic, add_port("uplink", ports.uplink)});
    }
  }
  zone->seal();
}

Platform::Endpoint& Platform::endpoint(PathClass path, std::int64_t node) {
  CHECK(static_cast<std::size_t>(node) < endpoints_.size(), node);
  return endpoints_[static_cast<std::size_t>(node)][index_of(path)];
}

}  // namespace orrery::sim
