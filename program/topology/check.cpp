// SPDX-License-Identifier: Apache-2.0
#include "program/topology/check.h"

#include "program/topology/cuts.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace orrery::topology {
namespace {

class Checker {
 public:
  explicit Checker(const Topology& topology) : topology_(topology), cluster_(topology.cluster()) {}

  std::vector<Problem> run() {
    for (std::size_t i = 0; i < cluster_.groups.size(); ++i) check_group(i);
    check_fabric();
    for (std::size_t i = 0; i < cluster_.gateways.size(); ++i) {
      if (!cluster_.gateways[i].bandwidth) no_bandwidth(fmt::format("/gateways/{}/bandwidth", i), "a gateway");
    }
    check_reach();
    return std::move(problems_);
  }

 private:
  void add(std::string pointer, std::string message, std::string hint = "") {
    problems_.push_back({.pointer = std::move(pointer), .message = std::move(message), .hint = std::move(hint)});
  }

  void no_bandwidth(std::string pointer, std::string_view link) {
    add(std::move(pointer), fmt::format("expected the bandwidth of {}, got null", link));
  }

  void check_group(std::size_t index) {
    const NodeGroup& group = cluster_.groups[index];
    const std::string at = fmt::format("/groups/{}", index);
    const bool has_link = group.scale_up.kind != ScaleUpKind::none && group.scale_up.kind != ScaleUpKind::shared_memory;
    const bool has_neighbours = group.devices_per_node * group.scale_up.span_nodes > 1;
    if (has_link && has_neighbours && !group.scale_up.per_device) {
      no_bandwidth(at + "/scale_up/per_device", "a device's links into its domain");
    }
    if (!group.nics) return;
    if (cluster_.fabric.kind != FabricKind::none && !group.nics->each) no_bandwidth(at + "/nics/each", "a NIC");
    if (group.nics->per_node % group.nics->rails != 0) {
      add(at + "/nics/rails",
          fmt::format("expected a divisor of {}, the NICs of a node, got {}", group.nics->per_node, group.nics->rails));
    }
    const Fabric& fabric = cluster_.fabric;
    const std::int64_t span = group.scale_up.span_nodes;
    if (fabric.kind != FabricKind::none && span > 1 && fabric.nodes_per_leaf % span != 0 &&
        span % fabric.nodes_per_leaf != 0) {
      add(at + "/scale_up/span_nodes",
          fmt::format("expected a divisor or a multiple of {}, the nodes of a leaf, got {}", fabric.nodes_per_leaf,
                      span));
    }
    if (fabric.kind == FabricKind::rail_leaf_spine && group.nics->rails % fabric.planes != 0) {
      add("/fabric/planes", fmt::format("expected a divisor of {}, the rails of group \"{}\", got {}",
                                        group.nics->rails, group.name, fabric.planes));
    }
  }

  void check_fabric() {
    const Fabric& fabric = cluster_.fabric;
    if (has_routers(fabric)) {
      if (!fabric.link) no_bandwidth("/fabric/link", "a cable between two routers");
      if (fabric.kind == FabricKind::dragonfly && !fabric.global_link) {
        no_bandwidth("/fabric/global_link", "a cable between two groups");
      }
    }
  }

  /// The first and the last device of an island, which are of the same group wherever a file is the cause.
  void check_reach() {
    const std::vector<std::int64_t> island = islands(topology_);
    const std::int64_t num_islands = island.empty() ? 0 : *std::max_element(island.begin(), island.end()) + 1;
    if (num_islands > 1) add_islands(island, num_islands);
    if (num_islands != 1 || cluster_.groups.size() < 2) return;
    // In one piece, but groups reach each other by their own gateway only.
    for (std::size_t a = 0; a < cluster_.groups.size(); ++a) {
      for (std::size_t b = a + 1; b < cluster_.groups.size(); ++b) {
        const std::string &first = cluster_.groups[a].name, &second = cluster_.groups[b].name;
        const bool joined = std::ranges::any_of(cluster_.gateways, [&](const Gateway& gateway) {
          return (gateway.from == first && gateway.to == second) || (gateway.from == second && gateway.to == first);
        });
        if (!joined)
          add("/gateways", fmt::format("expected a gateway between \"{}\" and \"{}\", got none", first, second));
      }
    }
  }

  void add_islands(const std::vector<std::int64_t>& island, std::int64_t num_islands) {
    constexpr std::int64_t kNamed = 8;
    std::string named;
    for (std::int64_t i = 0; i < std::min(num_islands, kNamed); ++i) {
      const auto first = std::find(island.begin(), island.end(), i);
      const auto number = std::count(island.begin(), island.end(), i);
      const auto device = static_cast<std::int32_t>(first - island.begin());
      const NodeGroup& group = cluster_.groups[cluster_.locate(DeviceIndex(device)).group];
      named += fmt::format("{}{} of group \"{}\" from device {} on", i > 0 ? ", " : "", number, group.name, device);
    }
    if (num_islands > kNamed) named += fmt::format(" and {} more", num_islands - kNamed);
    const bool no_fabric = cluster_.fabric.kind == FabricKind::none;
    const bool no_nics = std::ranges::any_of(cluster_.groups, [](const NodeGroup& group) { return !group.nics; });
    const bool within = no_fabric || no_nics;
    add(within ? (no_fabric ? "/fabric/kind" : "/groups") : "/gateways",
        fmt::format("expected all devices to reach each other, got {} parts that nothing joins: {}", num_islands,
                    named),
        no_fabric ? "a fabric joins the nodes of a group, a gateway two groups"
                  : (no_nics ? "a node without NICs reaches no other" : "a gateway joins two groups"));
  }

  const Topology& topology_;
  const Cluster& cluster_;
  std::vector<Problem> problems_;
};

}  // namespace

std::vector<Problem> problems_of(const Topology& topology) { return Checker(topology).run(); }

std::vector<Unknown> unknowns_of(const Cluster& cluster) {
  std::vector<Unknown> found;
  const auto look = [&](const auto& value, std::string pointer, const char* what) {
    if (!value) found.push_back({std::move(pointer), what});
  };
  for (std::size_t i = 0; i < cluster.groups.size(); ++i) {
    const NodeGroup& group = cluster.groups[i];
    const std::string at = fmt::format("/groups/{}", i);
    if (group.scale_up.kind != ScaleUpKind::none) {
      look(group.scale_up.latency, at + "/scale_up/latency", "latency within a domain, where nothing was measured");
    }
    if (group.nics)
      look(group.nics->latency, at + "/nics/latency", "latency between nodes, where nothing was measured");
    look(group.host.pcie, at + "/host/pcie", "rate of copies to the host, for offloading");
    look(group.host.memory, at + "/host/memory", "room for what is offloaded");
    look(group.device.memory, at + "/device/memory", "memory of a device, for fit and plan");
    look(group.device.power_limit, at + "/device/power_limit", "power of a device, for energy");
  }
  const Fabric& fabric = cluster.fabric;
  if (has_routers(fabric)) {
    look(fabric.hop_latency, "/fabric/hop_latency", "latency of a further router");
  }
  look(cluster.pue, "/pue", "power of the site, for energy and cost");
  look(cluster.kg_co2_per_kwh, "/carbon_intensity", "emissions");
  look(cluster.failures_per_node_day, "/failures", "failures, for goodput");
  const bool has_price =
      cluster.usd_per_device_hour.has_value() ||
      std::ranges::all_of(cluster.groups, [](const NodeGroup& group) { return group.device.usd_per_hour.has_value(); });
  if (!has_price) found.push_back({"/price", "price of a device hour, for cost"});
  return found;
}

}  // namespace orrery::topology
