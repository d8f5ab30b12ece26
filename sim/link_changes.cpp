// SPDX-License-Identifier: Apache-2.0
#include "sim/link_changes.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace orrery::sim {
namespace {

bool holds(const Interval& when, Seconds date) { return when.from <= date && (!when.until || date < *when.until); }

void add_dates(const Interval& when, std::set<Seconds>& dates) {
  dates.insert(when.from);
  if (when.until) dates.insert(*when.until);
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

}  // namespace

std::vector<LinkChange> link_changes(const Disturbances& disturbances, const Network& network) {
  std::vector<LinkChange> changes;
  for (PortIndex index = 0; index < network.ports().size(); ++index) {
    const Port& port = network.ports()[index];
    for (const bool inwards : {false, true}) {
      std::set<Seconds> dates;
      const auto bandwidth_at = [&](Seconds date, bool note) {
        BytesPerSecond bandwidth = port.bandwidth;
        for (const LinkFault& fault : disturbances.links) {
          if (fault.link != port.link_class || !is_below(network, port, fault.node)) continue;
          if (note) add_dates(fault.when, dates);
          if (holds(fault.when, date)) bandwidth *= fault.left;
        }
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
