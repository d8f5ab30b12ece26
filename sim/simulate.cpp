// SPDX-License-Identifier: Apache-2.0
#include "sim/simulate.h"

#include "costmodel/op_times.h"
#include "sim/engine.h"
#include "sim/flow_plan.h"

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

std::size_t num(const std::vector<Fidelity>& run, Fidelity fidelity) {
  return static_cast<std::size_t>(std::ranges::count(run, fidelity));
}

/// How much of the communication could compete for links at all.
std::string fidelity_note(const std::vector<Fidelity>& run, const Fidelities& fidelities) {
  std::string note = fmt::format("SimGrid at {}: {} of {} communications as flows", fidelities.text(),
                                 run.size() - num(run, Fidelity::l0), run.size());
  for (const Fidelity fidelity : {Fidelity::l2, Fidelity::l3}) {
    const auto number = num(run, fidelity);
    if (number > 0) note += fmt::format(", {} of them at {}", number, name_of(kFidelityNames, fidelity));
  }
  return note + ", the others in closed form";
}

}  // namespace

Trace simulate(const costmodel::TimedProgram& timed, const Cluster& cluster, const RunInput& input,
               const Fidelities& fidelities) {
  const FlowPlan plan = plan_flows(timed, cluster, fidelities);
  const costmodel::OpTimes times = run_on_simgrid(timed, plan, !input.steps_only);
  Trace trace = trace_of(timed, times, input, "simgrid");
  trace.header.program_hash = hash_of(*timed.program);
  trace.header.notes.push_back(fidelity_note(plan.fidelity, fidelities));
  return trace;
}

}  // namespace orrery::sim
