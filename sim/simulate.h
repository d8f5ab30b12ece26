// SPDX-License-Identifier: Apache-2.0
// A step on SimGrid, in this process. SimGrid's engine is a singleton that takes over signal handlers, so planner and
// command line use sim/worker_interpreter.h, which does this in a process of its own; tests and that process call it.
#pragma once

#include "costmodel/timed_program.h"
#include "program/cluster.h"
#include "program/fidelity.h"
#include "sim/routes.h"
#include "sim/step_dates.h"
#include "traces/interpreter.h"

#include <span>
#include <string>

namespace orrery::sim {

/// Another training job on the same cluster, which repeats its step until the one that is asked for ends.
struct OtherJob {
  std::string name;
  const costmodel::TimedProgram* timed = nullptr;
  Fidelities fidelities;
};

struct Simulated {
  Trace trace;      // without spans
  StepDates dates;  // of which they are made; none of ops if only steps are wanted
};

/// The step of `timed` when its communications compete for the links of `cluster`, with each other and with
/// those of `others`, of whose steps the notes of the trace tell. One simulation at a time; any number one after the
/// other.
/// `seed`: equal paths are drawn; flows of L0 and L1 have none.
/// Requires: beside others every rank of every job is simulated (RunInput::all_ranks).
/// Throws: ConfigError when the cluster does not give a bandwidth that is needed.
Simulated simulate_dates(const costmodel::TimedProgram& timed, const Cluster& cluster, const RunInput& input,
                         const Fidelities& fidelities, std::span<const OtherJob> others, PathSeed seed);

/// The same as a trace with all its spans.
Trace simulate(const costmodel::TimedProgram& timed, const Cluster& cluster, const RunInput& input,
               const Fidelities& fidelities = {}, std::span<const OtherJob> others = {}, PathSeed seed = {});

}  // namespace orrery::sim
