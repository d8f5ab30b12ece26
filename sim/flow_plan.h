// SPDX-License-Identifier: Apache-2.0
// From the communications of a timed program to flows: which of them become flows at all, what the platform needs for
// them, and the flows of each. Nothing here runs.
#pragma once

#include "costmodel/timed_program.h"
#include "program/cluster.h"
#include "sim/fidelity.h"
#include "sim/network.h"
#include "sim/simgrid_kernel.h"

#include <cstdint>
#include <span>
#include <vector>

namespace orrery::sim {

/// What of a program travels as flows, and over which network.
struct FlowPlan {
  std::vector<bool> as_flows;           // by meeting; the others run in closed form
  std::vector<SiteIndex> site_of_rank;  // by simulated rank: its node
  Network network;
};

/// Complexity: linear in the ops of the simulated ranks.
/// Throws: ConfigError when the cluster does not give a bandwidth that is needed.
FlowPlan plan_flows(const costmodel::TimedProgram& timed, const Cluster& cluster, Fidelity fidelity);

/// What the sites send in one meeting, in order.
struct Sends {
  struct Entry {
    Send send;
    std::uint32_t first_part = 0, num_parts = 0;
  };
  std::vector<Entry> entries;
  std::vector<Part> parts;

  std::span<const Part> parts_of(const Entry& entry) const {
    return std::span(parts).subspan(entry.first_part, entry.num_parts);
  }
  void clear() {
    entries.clear();
    parts.clear();
  }
};

/// Appends what is sent in one meeting, nothing for a leg without bytes. A node carries what its members send together,
/// at the rate of all of them. Within nodes it goes to the node itself; else each node sends to the next participating
/// one, which loads every port in both directions as an all-to-all or a ring does. A folded group is one node that
/// sends to itself. A message goes from the sender's node to the receiver's.
/// Requires: plan.as_flows[meeting].
void append_sends(const costmodel::TimedProgram& timed, const FlowPlan& plan, costmodel::MeetingIndex meeting,
                  Sends& sends);

}  // namespace orrery::sim
