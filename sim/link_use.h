// SPDX-License-Identifier: Apache-2.0
// How full the links of a simulated step were, over time: from the flows that SimGrid ran (sim/flow_plan.h) and when
// their communications were under way. Each flow is taken to move at one rate from its start to the end of
// its communication; SimGrid's rates change whenever another flow comes or goes, so sums can differ from its own in
// between, and are cut where they come to more than the link has. Bytes, and so means over the step, are exact.
#pragma once

#include "costmodel/timed_program.h"
#include "program/cluster.h"
#include "program/fidelity.h"
#include "sim/routes.h"
#include "sim/step_dates.h"

#include <string>
#include <vector>

namespace orrery::sim {

/// A port in one direction: "node3.nic.out"; or of a cable between two switches, where flows have routes
/// (sim/routes.h): "leaf0 -> plane1.spine3".
struct LinkUse {
  std::string name;
  std::string link_class;  // for people: "NIC", "uplink", "uplink, plane 1", "router"
  Bytes size;              // what went over it
  double mean = 0.0;       // utilisation over the step, of what faults and the traffic of others leave of the link
  double peak = 0.0;       // of the slices of the step, at most 1
};

struct UseOfLinks {
  std::vector<LinkUse> links;  // those that carried something, the fullest first
  Seconds slice;               // into which the step is cut
  struct Class {
    std::string name;
    std::vector<double> track;  // mean utilisation of its links above, in each slice
    double cut = 0.0;           // of what went over them, the part that is cut from track and peaks
  };
  std::vector<Class> classes;  // those of the links above
  double fullest = 0.0;        // slice before the cut, of any link
};

/// Requires: `dates` are those of a step of `timed`, simulated at `fidelities` with `seed`.
/// Complexity: linear in flows and in the slices that they last.
UseOfLinks use_of_links(const costmodel::TimedProgram& timed, const Cluster& cluster, const Fidelities& fidelities,
                        const StepDates& dates, PathSeed seed = {});

}  // namespace orrery::sim
