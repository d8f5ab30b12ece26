// SPDX-License-Identifier: Apache-2.0
#include "sim/link_changes.h"

#include "base/units_format.h"
#include "program/topology/uplinks.h"

#include <algorithm>
#include <set>
#include <tuple>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

bool holds(const Interval& when, Seconds date) { return when.from <= date && (!when.until || date < *when.until); }

void add_dates(const Interval& when, std::set<Seconds>& dates) {
  dates.insert(when.from);
  if (when.until) dates.insert(*when.until);
}

/// The links that a port, or all a node's or a leaf's of one kind, consists of.
struct Links {
  std::int64_t first = 0, number = 1;
  topology::LeafUplinks uplinks;  // of the leaf
};

Links uplinks_above(const Cluster& cluster, std::int64_t node) {
  const topology::LeafUplinks uplinks = topology::leaf_uplinks(cluster, cluster.locate_node(node).group);
  return {.first = 0, .number = std::max<std::int64_t>(uplinks.number, 1), .uplinks = uplinks};
}

Links nics_of(const Cluster& cluster, std::int64_t node) {
  const NodeGroup& group = cluster.groups[cluster.locate_node(node).group];
  return {.first = 0, .number = group.nics ? group.nics->per_node : 1, .uplinks = {}};
}

bool hits(const LinkFault& fault, const Links& links, std::int64_t link) {
  if (fault.nic) return *fault.nic == link;
  if (fault.uplink) return *fault.uplink == link;
  return !fault.plane || *fault.plane == links.uplinks.plane_of(link);
}

/// Of their bandwidth, when all these faults hold.
double left_of(const Links& links, const std::vector<const LinkFault*>& faults) {
  double sum = 0.0;
  for (std::int64_t link = links.first; link < links.first + links.number; ++link) {
    double left = 1.0;
    for (const LinkFault* fault : faults) {
      if (hits(*fault, links, link)) left *= fault->left;
    }
    sum += left;
  }
  return sum / static_cast<double>(links.number);
}

bool is_below(const Network& network, const Port& port, std::int64_t node) {
  if (port.link_class != LinkClass::uplink) return port.node == node;
  return network.leaf_of(port.node) == network.leaf_of(node);
}

/// Whether the traffic takes that direction of the port. A device's own NIC is left out: nobody says which it is.
bool takes(const Network& network, const ForeignTraffic& traffic, const Port& port, bool inwards) {
  if (port.link_class == LinkClass::scale_up || port.of_device || traffic.from_node == traffic.to_node) return false;
  const bool below_one_leaf = network.leaf_of(traffic.from_node) == network.leaf_of(traffic.to_node);
  if (port.link_class == LinkClass::uplink && below_one_leaf) return false;
  return is_below(network, port, inwards ? traffic.to_node : traffic.from_node);
}

double left_of(const Cluster& cluster, const Port& port, const std::vector<const LinkFault*>& faults) {
  if (port.link_class == LinkClass::scale_up) return left_of(Links{}, faults);
  if (port.link_class == LinkClass::uplink) return left_of(uplinks_above(cluster, port.node), faults);
  const Links links{.first = port.first_nic, .number = port.num_nics, .uplinks = {}};
  const double left = left_of(links, faults);
  const bool others_carry_it = port.of_device && left == 0.0 && left_of(nics_of(cluster, port.node), faults) > 0.0;
  return others_carry_it ? 1.0 : left;
}

}  // namespace

std::vector<std::string> detours(const Disturbances& disturbances, const Cluster& cluster) {
  std::vector<std::string> notes;
  for (const LinkFault& fault : disturbances.links) {
    if (!fault.is_of_one() || fault.left > 0.0) continue;
    const bool is_nic = fault.link == LinkClass::nic;
    const Links links = is_nic ? nics_of(cluster, fault.node) : uplinks_above(cluster, fault.node);
    const std::int64_t leaf = cluster.locate_node(fault.node).leaf;
    std::vector<const LinkFault*> faults;  // on the same links when this one begins
    for (const LinkFault& other : disturbances.links) {
      const bool same = other.node == fault.node || (!is_nic && cluster.locate_node(other.node).leaf == leaf);
      if (same && other.link == fault.link && holds(other.when, fault.when.from)) faults.push_back(&other);
    }
    const double left = left_of(links, faults);
    if (left <= 0.0) continue;  // no other way: the step waits
    const std::string what = fault.nic      ? fmt::format("NIC {} of node {}", *fault.nic, fault.node)
                             : fault.uplink ? fmt::format("uplink {} of leaf {}", *fault.uplink, leaf)
                                            : fmt::format("plane {} above leaf {}", *fault.plane, leaf);
    notes.push_back(fmt::format("{} is down from {} on: its traffic takes the other {} of the {}, {:.4g} % are left",
                                what, fault.when.from, is_nic ? "NICs" : "uplinks", is_nic ? "node" : "leaf",
                                100.0 * left));
  }
  return notes;
}

std::vector<LinkChange> link_changes(const Disturbances& disturbances, const Cluster& cluster, const Network& network) {
  std::vector<LinkChange> changes;
  for (PortIndex index = 0; index < network.ports().size(); ++index) {
    const Port& port = network.ports()[index];
    for (const bool inwards : {false, true}) {
      std::set<Seconds> dates;
      const auto bandwidth_at = [&](Seconds date, bool note) {
        std::vector<const LinkFault*> faults;
        for (const LinkFault& fault : disturbances.links) {
          if (fault.link != port.link_class || !is_below(network, port, fault.node)) continue;
          if (note) add_dates(fault.when, dates);
          if (holds(fault.when, date)) faults.push_back(&fault);
        }
        BytesPerSecond bandwidth = port.bandwidth * left_of(cluster, port, faults);
        for (const ForeignTraffic& traffic : disturbances.traffic) {
          if (!takes(network, traffic, port, inwards)) continue;
          if (note) add_dates(traffic.when, dates);
          if (holds(traffic.when, date)) bandwidth -= traffic.rate * port.part;
        }
        return std::max(bandwidth, BytesPerSecond::zero());
      };
      bandwidth_at(Seconds::zero(), true);
      for (const Seconds date : dates) {
        changes.push_back({.date = date, .port = index, .inwards = inwards, .bandwidth = bandwidth_at(date, false)});
      }
    }
  }
  std::ranges::sort(changes, {},
                    [](const LinkChange& change) { return std::tuple(change.date, change.port, change.inwards); });
  return changes;
}

}  // namespace orrery::sim
