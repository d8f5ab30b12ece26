// SPDX-License-Identifier: Apache-2.0
#include "sim/routes.h"

#include "base/errors.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

using topology::Link;
using topology::LinkIndex;
using topology::LinkKind;
using topology::Topology;
using topology::Ways;

std::string label_of(const Link& link, const Topology& topology) {
  if (link.kind == LinkKind::core) return "core";
  if (link.kind == LinkKind::hop) return "router";
  if (link.kind == LinkKind::global) return "dragonfly group";
  if (topology.cluster().fabric.planes == 1) return "uplink";
  const topology::Place &from = topology.graph()[link.from], &to = topology.graph()[link.to];
  return fmt::format("uplink, plane {}", from.kind == topology::PlaceKind::spine ? from.plane : to.plane);
}

}  // namespace

Routes::Routes(const Cluster& cluster, PathSeed seed)
    : topology_(cluster), seed_(seed), has_routers_(topology::has_routers(cluster.fabric)), pods_(cluster), routes_(1) {
  known_routes_[{}] = kPooled;
}

DeviceIndex Routes::device_at(const Cluster::Location& at) const {
  return DeviceIndex(topology_.cluster().first_device(at.node).value() + static_cast<std::int32_t>(at.index));
}

std::span<const Routes::Way> Routes::between(const Cluster::Location& from, const Cluster::Location& to) {
  if (pods() != nullptr) {
    const auto [known, is_new] = known_.try_emplace({from.node, to.node});
    const bool leaves_pod = pods_.of(from.node) != pods_.of(to.node);
    if (is_new) known->second = {{.route = leaves_pod ? of_pods(from.node, to.node) : kPooled}};
    return known->second;
  }
  const DeviceIndex sender = device_at(from), receiver = device_at(to);
  const auto key =
      seed_ ? std::pair<std::int64_t, std::int64_t>(sender.value(), receiver.value()) : std::pair(from.leaf, to.leaf);
  const auto [known, is_new] = known_.try_emplace(key);
  if (is_new) known->second = ways_of(sender, receiver);
  return known->second;
}

std::vector<Routes::Way> Routes::ways_of(DeviceIndex from, DeviceIndex to) {
  std::vector<Topology::NicFlow> flows;
  topology_.route_to_nics(from, to, [](LinkIndex, double) {}, [&](Topology::NicFlow flow) { flows.push_back(flow); });
  std::vector<Way> ways;
  const auto add = [&](RouteIndex route, double share) {
    const auto same = std::ranges::find(ways, route, &Way::route);
    if (same == ways.end()) {
      ways.push_back({.route = route, .share = share});
    } else {
      same->share += share;
    }
  };
  if (flows.empty()) return {{}};
  if (seed_) {
    for (const Topology::NicFlow& flow : flows) add(route_of(flow, topology_.drawn(*seed_, flow)), flow.share);
    return ways;
  }
  // All NICs of a node are plugged into one router, and every equal path carries as much.
  Topology::NicFlow flow = flows.front();
  flow.share = 1.0;
  double least = 1.0;
  topology_.route_nics(flow, Ways::balanced(), [&](LinkIndex, double share) { least = std::min(least, share); });
  const auto number = static_cast<std::size_t>(std::lround(1.0 / least));
  for (std::size_t i = 0; i < number; ++i) add(route_of(flow, Ways::numbered(i)), 1.0 / static_cast<double>(number));
  return ways;
}

RouteIndex Routes::route_of(Topology::NicFlow flow, const Ways& ways) {
  std::vector<std::uint32_t> links;
  topology_.route_nics(flow, ways, [&](LinkIndex link, double) {
    const Link& of_graph = topology_.graph()[link];
    if (!topology::is_between_switches(of_graph.kind)) return;
    const std::uint32_t number = number_of(link);
    if (!std::isinf(links_[number].bandwidth.in(unit::byte_per_second))) links.push_back(number);
  });
  return number_of(std::move(links));
}

RouteIndex Routes::number_of(std::vector<std::uint32_t> links) {
  const auto [known, is_new] = known_routes_.try_emplace(links, static_cast<RouteIndex>(routes_.size()));
  if (is_new) routes_.push_back(std::move(links));
  return known->second;
}

RouteIndex Routes::of_pods(std::int64_t from, std::int64_t to) {
  return number_of(std::vector<std::uint32_t>{pod_link(from, false), pod_link(to, true)});
}

std::uint32_t Routes::pod_link(std::int64_t node, bool inwards) {
  const std::int64_t pod = pods_.of(node);
  const auto like_it = like_it_.contains(pod) ? like_it_.at(pod) : std::optional<std::int64_t>(1);
  std::string name = fmt::format("{}.cores.{}", like_it ? fmt::format("pod{}", pod) : fmt::format("node{}", node),
                                 inwards ? "in" : "out");
  const auto [known, is_new] = pod_links_.try_emplace(name, static_cast<std::uint32_t>(links_.size()));
  if (!is_new) return known->second;
  const BytesPerSecond bandwidth =
      like_it ? pods_.links_of(node) / static_cast<double>(*like_it) : pods_.share_of(node);
  links_.push_back({.name = std::move(name), .label = "core", .bandwidth = bandwidth});
  return known->second;
}

std::uint32_t Routes::number_of(LinkIndex index) {
  const auto [known, is_new] = number_of_.try_emplace(index, static_cast<std::uint32_t>(links_.size()));
  if (!is_new) return known->second;
  const topology::LinkGraph& graph = topology_.graph();
  const Link& link = graph[index];
  std::string name = fmt::format("{} -> {}", graph[link.from].name, graph[link.to].name);
  if (!link.bandwidth) {
    throw ConfigError(
        fmt::format("cluster {}: the bandwidth of {} is unknown (null): expected its value, because the "
                    "program communicates over it",
                    topology_.cluster().name, name));
  }
  links_.push_back({.name = std::move(name), .label = label_of(link, topology_), .bandwidth = *link.bandwidth});
  return known->second;
}

bool have_routes(const Cluster& cluster, bool hashed) {
  return topology::has_routers(cluster.fabric) || (hashed && cluster.fabric.kind != FabricKind::none);
}

std::shared_ptr<Routes> routes_of(const Cluster& cluster, PathSeed seed, bool in_pairs) {
  if (in_pairs && have_routes(cluster, seed.has_value())) return std::make_shared<Routes>(cluster, seed);
  return PodLinks(cluster).bind() && !seed ? std::make_shared<Routes>(cluster, seed) : nullptr;
}

}  // namespace orrery::sim
