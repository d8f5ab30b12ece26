// SPDX-License-Identifier: Apache-2.0
// When links change during a step, and to what: faults and the traffic of others as bandwidths of ports over time.
#pragma once

#include "program/disturbances.h"
#include "sim/network.h"

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
/// nothing below zero. A port that is a part of a link has that part of the traffic. Links that carry nothing in this
/// simulation are left out.
std::vector<LinkChange> link_changes(const Disturbances& disturbances, const Network& network);

}  // namespace orrery::sim
