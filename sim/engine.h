// SPDX-License-Identifier: Apache-2.0
// Runs a TimedProgram on SimGrid: the queues and dependencies of each rank decide when an op may begin, a timer says
// when compute ends, and flows that share links say when communication ends. No actors: SimGrid calls back once per
// timer and flow, and everything between two dates is done here. The analytic interpreter runs the same program with
// an event queue of its own; the two share op times and the rate rule, and nothing of how they are run.
#pragma once

#include "costmodel/op_times.h"
#include "costmodel/timed_program.h"
#include "program/cluster.h"
#include "sim/fidelity.h"
#include "sim/flow_plan.h"

namespace orrery::sim {

/// Runs one step with the flows of `plan`. `keep_times`: else only the makespan is told.
/// Throws: BackendError when links are down for good that the step needs, with the communications that wait.
/// Requires: verify(*timed.program) is empty; `plan` is of `timed`; no other simulation of this process is under way.
costmodel::OpTimes run_on_simgrid(const costmodel::TimedProgram& timed, const FlowPlan& plan, bool keep_times);
/// The same with the flows that plan_flows makes of it.
costmodel::OpTimes run_on_simgrid(const costmodel::TimedProgram& timed, const Cluster& cluster,
                                  const Fidelities& fidelities, bool keep_times);

}  // namespace orrery::sim
