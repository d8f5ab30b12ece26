// SPDX-License-Identifier: Apache-2.0
// When links change during a step, and to what: faults and the traffic of others as bandwidths of ports over time.
#pragma once

#include "program/disturbances.h"
#include "sim/network.h"

#include <string>
#include <vector>

namespace orrery::sim {

/// From `date` on one direction of a port has `bandwidth`; zero: it is down.
struct LinkChange {
  Seconds date;
  PortIndex port = 0;
  bool inwards = false;
  BytesPerSecond bandwidth;
};

/// By date. A link that several faults hit has the product of what they leave, less the traffic of others over it, and
/// nothing below zero. A port of several NICs or uplinks has what is left of all together: what one that is down
/// carried takes the others. A device whose own NIC is down sends by those of its node, whose port then is its limit. A
/// port that is a part of a link has that part of the traffic. Links that carry nothing in this simulation are left
/// out.
std::vector<LinkChange> link_changes(const Disturbances& disturbances, const Cluster& cluster, const Network& network);

/// For a user: each NIC, uplink or plane that is down for a time while others of its node or leaf carry its traffic.
std::vector<std::string> detours(const Disturbances& disturbances, const Cluster& cluster);

}  // namespace orrery::sim
