// SPDX-License-Identifier: Apache-2.0
// From the communications of a timed program to flows: which of them become flows at all, what the platform needs for
// them, and the flows of each. Nothing here runs.
#pragma once

#include "costmodel/timed_program.h"
#include "program/cluster.h"
#include "sim/fidelity.h"
#include "sim/platform.h"
#include "sim/simgrid_kernel.h"

#include <cstdint>
#include <vector>

namespace orrery::sim {

/// What of a program travels as flows, and what the platform needs for it.
struct FlowPlan {
  std::vector<bool> as_flows;         // by meeting; the others run in closed form
  std::vector<std::int64_t> node_of;  // by simulated rank
  std::vector<NodeUse> nodes;         // of all simulated ranks, ascending
  PathClasses used = {};
};

/// Complexity: linear in the ops of the simulated ranks.
FlowPlan plan_flows(const costmodel::TimedProgram& timed, const Cluster& cluster, Fidelity fidelity);

/// Appends the flows of one meeting, none for a leg without bytes. A node carries what its members send together, at
/// the rate of all of them. Within nodes it goes to the node itself; else each node sends to the next participating
/// one, which loads every port in both directions as an all-to-all or a ring does. A folded group is one node that
/// sends to itself. A message goes from the sender's node to the receiver's.
/// Requires: plan.as_flows[meeting].
void append_flows(const costmodel::TimedProgram& timed, const FlowPlan& plan, costmodel::MeetingIndex meeting,
                  std::vector<Flow>& flows);

}  // namespace orrery::sim
