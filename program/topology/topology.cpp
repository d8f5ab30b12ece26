// SPDX-License-Identifier: Apache-2.0
#include "program/topology/topology.h"

#include "base/check.h"

#include <algorithm>
#include <ranges>

#include <fmt/format.h>

namespace orrery::topology {
namespace {

std::optional<BytesPerSecond> scale_up_bandwidth(const ScaleUp& scale_up) {
  // Shared memory has no link: what it takes is measured, and nothing limits it here.
  return scale_up.kind == ScaleUpKind::shared_memory ? kUnlimited : scale_up.per_device;
}

std::int64_t num_nics_of(const NodeGroup& group) { return group.nics ? group.nics->per_node : 0; }

std::size_t group_named(const Cluster& cluster, const std::string& name) {
  const auto found = std::ranges::find(cluster.groups, name, &NodeGroup::name);
  CHECK(found != cluster.groups.end(), name);
  return static_cast<std::size_t>(found - cluster.groups.begin());
}

}  // namespace

Topology::Topology(const Cluster& cluster) : cluster_(cluster) {
  for (std::size_t group = 0; group < cluster.groups.size(); ++group) {
    const bool has_network = cluster.fabric.kind != FabricKind::none && num_nics_of(cluster.groups[group]) > 0;
    networks_.push_back(has_network ? add_network(graph_, cluster, group) : nullptr);
    std::map<std::int64_t, PlaceIndex> domains;
    for (std::int64_t node = 0; node < cluster.groups[group].num_nodes; ++node) add_node(group, node, domains);
  }
  add_gateways();
  for (std::size_t group = 0; group < cluster.groups.size(); ++group) {
    auto& of_group = senders_.emplace_back();
    if (!networks_[group]) continue;
    for (std::int64_t device = 0; device < cluster.groups[group].devices_per_node; ++device) {
      auto& of_device = of_group.emplace_back();
      for (std::int64_t rail = 0; rail < cluster.groups[group].nics->rails; ++rail) {
        of_device.push_back(senders_for(group, device, rail));
      }
    }
  }
  for (const Place& place : graph_.places) ++counts_[static_cast<std::size_t>(place.kind)];
}

void Topology::add_node(std::size_t group_index, std::int64_t node_in_group,
                        std::map<std::int64_t, PlaceIndex>& domains) {
  const NodeGroup& group = cluster_.groups[group_index];
  const auto number = static_cast<std::int64_t>(nodes_.size());
  const Node node{.host = graph_.add({PlaceKind::host, fmt::format("node{}.host", number), group_index}),
                  .group = group_index,
                  .first_device = devices_.size(),
                  .first_nic = nics_.size(),
                  .gateways = {}};
  for (std::int64_t i = 0; i < group.devices_per_node; ++i) {
    const DeviceIndex index(static_cast<std::int32_t>(devices_.size()));
    DeviceEnd& device = devices_.emplace_back();
    device.at = cluster_.locate(index);
    device.place = graph_.add({PlaceKind::device, fmt::format("node{}.device{}", number, i), group_index});
    if (group.scale_up.kind != ScaleUpKind::none) {
      auto [domain, is_new] = domains.try_emplace(device.at.domain);
      if (is_new) {
        domain->second = graph_.add({PlaceKind::scale_up, fmt::format("domain{}", device.at.domain), group_index});
      }
      device.scale_up =
          graph_.join(device.place, domain->second, LinkKind::scale_up, scale_up_bandwidth(group.scale_up));
    }
    device.pcie = graph_.join(device.place, node.host, LinkKind::pcie, group.host.pcie);
  }
  const std::int64_t leaf = node_in_group / cluster_.fabric.nodes_per_leaf;
  for (std::int64_t i = 0; i < num_nics_of(group); ++i) {
    const PlaceIndex place = graph_.add({PlaceKind::nic, fmt::format("node{}.nic{}", number, i), group_index});
    NicEnd nic{.slot = graph_.join(node.host, place, LinkKind::slot, kUnlimited),
               .cable = {},
               .port = {},
               .rail = i % group.nics->rails,
               .group = group_index};
    if (networks_[group_index]) {
      nic.port = networks_[group_index]->switch_of(leaf, i);
      nic.cable = graph_.join(place, nic.port, LinkKind::nic, group.nics->each);
    }
    nics_.push_back(nic);
  }
  nodes_.push_back(node);
}

void Topology::add_gateways() {
  for (const Gateway& gateway : cluster_.gateways) {
    const std::size_t a = group_named(cluster_, gateway.from), b = group_named(cluster_, gateway.to);
    const PlaceIndex place =
        graph_.add({PlaceKind::gateway, fmt::format("gateway {} - {}", gateway.from, gateway.to), a});
    for (Node& node : nodes_) {
      if (node.group != a && node.group != b) continue;
      const std::size_t other = node.group == a ? b : a;
      node.gateways[other] = graph_.join(node.host, place, LinkKind::gateway, gateway.bandwidth);
    }
  }
}

std::vector<std::int64_t> Topology::senders_for(std::size_t group, std::int64_t device, std::int64_t rail) const {
  const auto [first, number] = cluster_.groups[group].own_nics(device);
  std::vector<std::int64_t> own, of_node, joined;
  for (std::int64_t i = 0; i < num_nics_of(cluster_.groups[group]); ++i) {
    const bool is_own = i >= first && i < first + number;
    const std::int64_t its_rail = i % cluster_.groups[group].nics->rails;
    if (its_rail == rail || cluster_.fabric.kind != FabricKind::rail_leaf_spine) {
      if (is_own) own.push_back(i);
      of_node.push_back(i);
    } else if (is_own && networks_[group]->joins(its_rail, rail)) {
      joined.push_back(i);
    }
  }
  if (!own.empty()) return own;
  const bool can_change_rail = cluster_.groups[group].scale_up.kind != ScaleUpKind::none;
  return can_change_rail || joined.empty() ? of_node : joined;
}

void Topology::leave_by(const DeviceEnd& from, std::int64_t nic, double share, const LinkVisitor& visit) const {
  const Node& node = nodes_[static_cast<std::size_t>(from.at.node)];
  const auto [first, number] = cluster_.groups[from.at.group].own_nics(from.at.index);
  const DeviceEnd* sender = &from;
  if ((nic < first || nic >= first + number) && !from.scale_up.is_none()) {
    // By the neighbour in the domain whose NIC it is.
    const NodeGroup& group = cluster_.groups[from.at.group];
    const std::int64_t num_nics = num_nics_of(group);
    CHECK(num_nics > 0, group.name);
    const std::int64_t owner = nic * group.devices_per_node / num_nics;
    sender = &devices_[node.first_device + static_cast<std::size_t>(owner)];
    visit(from.scale_up, share);
    visit(reverse(sender->scale_up), share);
  }
  visit(sender->pcie, share);
  visit(nics_[node.first_nic + static_cast<std::size_t>(nic)].slot, share);
}

bool Topology::route_by_gateway(const DeviceEnd& from, const DeviceEnd& to, const LinkVisitor& visit) const {
  const auto& out = nodes_[static_cast<std::size_t>(from.at.node)].gateways;
  const auto& in = nodes_[static_cast<std::size_t>(to.at.node)].gateways;
  if (!out.contains(to.at.group)) return false;
  visit(from.pcie, 1.0);
  visit(out.at(to.at.group), 1.0);
  visit(reverse(in.at(from.at.group)), 1.0);
  visit(reverse(to.pcie), 1.0);
  return true;
}

bool Topology::route_to_nics(DeviceIndex from_device, DeviceIndex to_device, const LinkVisitor& visit,
                             const std::function<void(NicFlow)>& between) const {
  const DeviceEnd &from = devices_[from_device.index()], &to = devices_[to_device.index()];
  if (from_device == to_device) return true;
  if (from.at.domain == to.at.domain) {
    visit(from.scale_up, 1.0);
    visit(reverse(to.scale_up), 1.0);
    return true;
  }
  if (from.at.group != to.at.group) return route_by_gateway(from, to, visit);
  if (!networks_[from.at.group]) return false;
  const Node &sender = nodes_[static_cast<std::size_t>(from.at.node)],
             &receiver = nodes_[static_cast<std::size_t>(to.at.node)];
  const std::vector<std::vector<std::int64_t>>& by_rail =
      senders_[from.at.group][static_cast<std::size_t>(from.at.index)];
  const auto [first, number] = cluster_.groups[to.at.group].own_nics(to.at.index);
  const double each = 1.0 / static_cast<double>(number);
  for (std::int64_t i = first; i < first + number; ++i) {
    const std::size_t nic = receiver.first_nic + static_cast<std::size_t>(i);
    const std::vector<std::int64_t>& senders = by_rail[static_cast<std::size_t>(nics_[nic].rail)];
    for (const std::int64_t own : senders) {
      const double share = each / static_cast<double>(senders.size());
      leave_by(from, own, share, visit);
      between({.from = sender.first_nic + static_cast<std::size_t>(own), .to = nic, .share = share});
    }
    visit(reverse(nics_[nic].slot), each);
    visit(reverse(to.pcie), each);
  }
  return true;
}

void Topology::route_nics(NicFlow flow, const Ways& ways, const LinkVisitor& visit) const {
  const NicEnd &from = nics_[flow.from], &to = nics_[flow.to];
  visit(from.cable, flow.share);
  if (from.port != to.port) networks_[from.group]->route(from.port, to.port, flow.share, ways, visit);
  visit(reverse(to.cable), flow.share);
}

bool Topology::route(DeviceIndex from, DeviceIndex to, const Ways& ways, const LinkVisitor& visit) const {
  return route_to_nics(from, to, visit, [&](NicFlow flow) { route_nics(flow, ways, visit); });
}

}  // namespace orrery::topology
