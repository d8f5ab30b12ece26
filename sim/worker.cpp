// SPDX-License-Identifier: Apache-2.0
#include "sim/worker.h"

#include "base/check.h"
#include "costmodel/calibrated_cost_model.h"
#include "costmodel/calibration.h"
#include "program/lower.h"
#include "sim/child_process.h"
#include "sim/memory_need.h"
#include "sim/simulate.h"
#include "sim/worker_request.h"
#include "traces/trace_io.h"

#include <csignal>

#include <sys/prctl.h>

namespace orrery::sim {
namespace {

Trace answer(const WorkerRequest& request) {
  const Plan& plan = request.plan;
  const StepProgram program = lower(plan.model, plan.strategy, plan.batch, plan.num_ranks());
  const std::string hash = hash_of(program);
  CHECK(hash == request.program_hash, hash, request.program_hash);
  require_memory(memory_needed(program, plan.cluster, plan.device_of_rank, request.input, request.fidelities),
                 memory_available());
  const costmodel::Calibration calibration = costmodel::read_calibration(request.calibration);
  const costmodel::CalibratedCostModel model(plan, calibration);
  const costmodel::TimedProgram timed = time_program(program, model, plan.cluster, plan.device_of_rank, request.input);
  return simulate(timed, plan.cluster, request.input, request.fidelities);
}

}  // namespace

int worker_main(std::istream& in, std::ostream& out, std::ostream& errors) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody would read the answer
  return exit_code_of([&] { write_trace(out, answer(read_request(in))); }, errors);
}

}  // namespace orrery::sim
