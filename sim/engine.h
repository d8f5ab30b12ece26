// SPDX-License-Identifier: Apache-2.0
// Runs TimedPrograms on SimGrid: one clock, one network, and one or several jobs (sim/job.h) whose flows share it. No
// actors: SimGrid calls back once per timer and flow, and everything between two dates is done here. The analytic
// interpreter runs the same program with an event queue of its own; the two share op times and the rate rule, and
// nothing of how they are run.
#pragma once

#include "costmodel/op_times.h"
#include "costmodel/timed_program.h"
#include "program/cluster.h"
#include "program/fidelity.h"
#include "sim/repeated_phase.h"
#include "sim/routes.h"
#include "sim/step_dates.h"

#include <span>
#include <vector>

namespace orrery::sim {

struct SimulatedJob {
  const costmodel::TimedProgram* timed = nullptr;
  Fidelities fidelities;
};

struct SharedRun {
  StepDates dates;                               // of the first job
  std::vector<Fidelity> fidelity;                // of its communications, as they ran
  Replayed replayed;                             // of the first job
  std::vector<std::vector<Seconds>> step_times;  // by job; of the others, each step that ended
};

/// The first job makes one step, the others as many as they can until it ends; all begin at once. Links change as the
/// first job's disturbances say. `keep_dates`: else only the makespan is told. `replay`: of a job that is alone on
/// links that do not change, phases that repeat themselves are run once (sim/repeated_phase.h).
/// Throws: BackendError when links are down for good that the step needs, with the communications that wait;
/// ConfigError when the cluster does not give a bandwidth that is needed.
/// Requires: verify is empty for each program; of several jobs every rank is simulated; no other simulation of this
/// process is under way.
SharedRun run_jobs(std::span<const SimulatedJob> jobs, const Cluster& cluster, bool keep_dates, bool replay = true,
                   PathSeed seed = {});

/// One job alone, with all its dates.
costmodel::OpTimes run_on_simgrid(const costmodel::TimedProgram& timed, const Cluster& cluster,
                                  const Fidelities& fidelities, bool keep_dates, bool replay = true,
                                  PathSeed seed = {});

}  // namespace orrery::sim
