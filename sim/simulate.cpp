// SPDX-License-Identifier: Apache-2.0
#include "sim/simulate.h"

#include "costmodel/op_times.h"
#include "sim/engine.h"

namespace orrery::sim {

Trace simulate(const costmodel::TimedProgram& timed, const Cluster& cluster, const RunInput& input, Fidelity fidelity) {
  const costmodel::OpTimes times = run_on_simgrid(timed, cluster, fidelity, !input.steps_only);
  Trace trace = trace_of(timed, times, input, "simgrid");
  trace.header.program_hash = hash_of(*timed.program);
  return trace;
}

}  // namespace orrery::sim
