// SPDX-License-Identifier: Apache-2.0
// How full the links of a simulated step were, over time: from the flows that SimGrid ran (sim/flow_plan.h) and when
// their communications were under way in the trace. Each flow is taken to move at one rate from its start to the end of
// its communication; SimGrid's rates change whenever another flow comes or goes, so sums can differ from its own in
// between, and are cut where they come to more than the link has. Bytes, and so means over the step, are exact.
#pragma once

#include "costmodel/timed_program.h"
#include "program/cluster.h"
#include "program/fidelity.h"
#include "sim/network.h"
#include "traces/trace.h"

#include <string>
#include <vector>

namespace orrery::sim {

/// A port in one direction: "node3.nic.out".
struct LinkUse {
  std::string name;
  LinkClass link_class = LinkClass::scale_up;
  Bytes size;         // what went over it
  double mean = 0.0;  // utilisation over the step
  double peak = 0.0;  // of the slices of the step, at most 1
};

struct UseOfLinks {
  std::vector<LinkUse> links;  // those that carried something, the fullest first
  Seconds slice;               // into which the step is cut
  /// Mean utilisation of the links above of each class, in each slice; empty without such links.
  std::vector<double> tracks[kNumLinkClasses];
  /// Of what went over the links of each class, the part that is cut from tracks and peaks.
  double cut[kNumLinkClasses] = {};
  double fullest = 0.0;  // slice before the cut, of any link
};

/// Requires: `trace` is one step of `timed`, simulated at `fidelities`; its spans are in the order of the program.
/// Complexity: linear in flows and in the slices that they last.
UseOfLinks use_of_links(const costmodel::TimedProgram& timed, const Cluster& cluster, const Fidelities& fidelities,
                        const Trace& trace);

}  // namespace orrery::sim
