// SPDX-License-Identifier: Apache-2.0
#include "sim/network.h"

#include "base/check.h"
#include "base/errors.h"

#include <cmath>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

using costmodel::PathClass;

std::size_t index_of(PathClass path) { return static_cast<std::size_t>(path); }

/// Makes each port when it is first asked for.
class PortMaker {
 public:
  PortMaker(const Cluster& cluster, const std::vector<Site>& sites) : cluster_(cluster) {
    for (const Site& site : sites) {
      const auto [known, is_new] = like_it_.try_emplace(cluster.locate_node(site.node).leaf, site.like_it);
      if (known->second != site.like_it) known->second = kDifferent;
      if (!site.device) whole_node_sends_[site.node] |= site.num_lanes > 0;
    }
  }

  /// Of the node, all its devices together; of a device, in front of that.
  std::optional<PortIndex> scale_up(const Site& site, bool own) {
    const NodeGroup& group = group_of(site.node);
    const double devices = own ? 1.0 : static_cast<double>(group.devices_per_node);
    return port({.link_class = LinkClass::scale_up,
                 .name = own ? fmt::format("node{}.device{}.scale_up", site.node, *site.device)
                             : fmt::format("node{}.scale_up", site.node),
                 .node = site.node,
                 .bandwidth = devices * required(group.scale_up.per_device, group, "scale_up.per_device"),
                 .binds = own || binds(site)},
                site.node, own ? *site.device : kWhole);
  }

  /// All of a node.
  std::optional<PortIndex> nic(const Site& site) {
    return port({.link_class = LinkClass::nic,
                 .name = fmt::format("node{}.nic", site.node),
                 .node = site.node,
                 .bandwidth = nics_of(site.node),
                 .binds = binds(site),
                 .num_nics = required(group_of(site.node).nics, group_of(site.node), "nics").per_node},
                site.node);
  }

  /// The NICs of a device, or those that it shares with others.
  std::optional<PortIndex> own_nic(const Site& site) {
    const NodeGroup& group = group_of(site.node);
    const BytesPerSecond each = required(required(group.nics, group, "nics").each, group, "nics.each");
    const auto [first, number] = group.own_nics(*site.device);
    return port({.link_class = LinkClass::nic,
                 .name = fmt::format("node{}.nic{}", site.node, first),
                 .node = site.node,
                 .bandwidth = each * static_cast<double>(number),
                 .first_nic = first,
                 .num_nics = number},
                site.node, first);
  }

  std::optional<PortIndex> uplink(const Site& site) {
    const std::int64_t leaf = cluster_.locate_node(site.node).leaf;
    const BytesPerSecond share = nics_of(site.node) / cluster_.fabric.oversubscription;
    const bool binds = cluster_.fabric.oversubscription > 1.0;
    const std::int64_t like_it = like_it_.at(leaf);
    const auto nodes = static_cast<double>(std::min(cluster_.fabric.nodes_per_leaf, group_of(site.node).num_nodes));
    Port made{.link_class = LinkClass::uplink, .node = site.node, .binds = binds};
    if (like_it == kDifferent || cluster_.fabric.kind == FabricKind::none) {
      made.name = fmt::format("node{}.uplink", site.node);
      made.bandwidth = share;
      made.part = 1.0 / nodes;
      return port(std::move(made), site.node);
    }
    made.name = fmt::format("leaf{}.uplink", leaf);
    made.bandwidth = share * (nodes / static_cast<double>(like_it));
    made.part = 1.0 / static_cast<double>(like_it);
    return port(std::move(made), -1 - leaf);
  }

  std::vector<Port> take() { return std::move(ports_); }

 private:
  static constexpr std::int64_t kDifferent = 0, kWhole = -1;

  /// Whether the ports of the node of `site` can be full though those of its devices are not: flows of the whole node
  /// use them.
  bool binds(const Site& site) const {
    const auto whole = whole_node_sends_.find(site.node);
    return whole != whole_node_sends_.end() && whole->second;
  }

  const NodeGroup& group_of(std::int64_t node) const { return cluster_.groups[cluster_.locate_node(node).group]; }

  template <class T>
  T required(const std::optional<T>& value, const NodeGroup& group, std::string_view key) const {
    if (value) return *value;
    throw ConfigError(
        fmt::format("cluster {}, group {}: {} is null; expected a bandwidth, because the program "
                    "communicates over it",
                    cluster_.name, group.name, key));
  }

  BytesPerSecond nics_of(std::int64_t node) const {
    const NodeGroup& group = group_of(node);
    const Nics nics = required(group.nics, group, "nics");
    return static_cast<double>(nics.per_node) * required(nics.each, group, "nics.each");
  }

  /// At a node, or a leaf (negative); of all of it, or with a number.
  std::optional<PortIndex> port(Port made, std::int64_t place, std::int64_t number = kWhole) {
    if (std::isinf(made.bandwidth.in(unit::byte_per_second))) return std::nullopt;
    made.of_device = number != kWhole;
    const auto [known, is_new] =
        known_.try_emplace({made.link_class, place, number}, static_cast<PortIndex>(ports_.size()));
    if (is_new) ports_.push_back(std::move(made));
    return known->second;
  }

  const Cluster& cluster_;
  std::map<std::int64_t, std::int64_t> like_it_;  // by leaf: nodes for which each node of it stands
  std::map<std::int64_t, bool> whole_node_sends_;
  std::map<std::tuple<LinkClass, std::int64_t, std::int64_t>, PortIndex> known_;
  std::vector<Port> ports_;
};

}  // namespace

Network::Network(const Cluster& cluster, std::vector<Site> sites, const PathClasses& used)
    : sites_(std::move(sites)), used_(used), ways_(sites_.size()) {
  for (std::int64_t node = 0; node < cluster.num_nodes(); ++node) {
    leaf_of_node_.push_back(cluster.locate_node(node).leaf);
  }
  PortMaker maker(cluster, sites_);
  const auto add = [](Way& way, std::optional<PortIndex> port) {
    if (port) way.ports[way.num_ports++] = *port;
  };
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    const Site& site = sites_[i];
    if (used[index_of(PathClass::node)]) {
      Way& way = ways_[i][index_of(PathClass::node)];
      if (site.device) add(way, maker.scale_up(site, true));
      add(way, maker.scale_up(site, false));
    }
    for (const PathClass path : {PathClass::rail, PathClass::spine}) {
      if (!used[index_of(path)]) continue;
      Way& way = ways_[i][index_of(path)];
      if (site.device) add(way, maker.own_nic(site));
      add(way, maker.nic(site));
      if (path == PathClass::spine) add(way, maker.uplink(site));
    }
  }
  ports_ = maker.take();
}

std::span<const PortIndex> Network::way(SiteIndex site, PathClass path) const {
  CHECK(site < ways_.size() && used_[index_of(path)], site, path);
  const Way& way = ways_[site][index_of(path)];
  return std::span(way.ports).first(way.num_ports);
}

}  // namespace orrery::sim
