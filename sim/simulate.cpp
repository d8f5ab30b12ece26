// SPDX-License-Identifier: Apache-2.0
#include "sim/simulate.h"

#include "costmodel/op_times.h"
#include "sim/engine.h"
#include "sim/flow_plan.h"

#include <algorithm>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

/// How much of the communication could compete for links at all.
std::string fidelity_note(const costmodel::TimedProgram& timed, const Cluster& cluster, Fidelity fidelity) {
  const std::vector<bool> as_flows = plan_flows(timed, cluster, fidelity).as_flows;
  return fmt::format("SimGrid at {}: {} of {} communications as flows, the others in closed form",
                     name_of(kFidelityNames, fidelity), std::ranges::count(as_flows, true), as_flows.size());
}

}  // namespace

Trace simulate(const costmodel::TimedProgram& timed, const Cluster& cluster, const RunInput& input, Fidelity fidelity) {
  const costmodel::OpTimes times = run_on_simgrid(timed, cluster, fidelity, !input.steps_only);
  Trace trace = trace_of(timed, times, input, "simgrid");
  trace.header.program_hash = hash_of(*timed.program);
  trace.header.notes.push_back(fidelity_note(timed, cluster, fidelity));
  return trace;
}

}  // namespace orrery::sim
