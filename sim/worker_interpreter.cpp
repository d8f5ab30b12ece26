// SPDX-License-Identifier: Apache-2.0
#include "sim/worker_interpreter.h"

#include "base/errors.h"
#include "program/legality.h"
#include "program/lower.h"
#include "sim/child_process.h"
#include "sim/worker_request.h"
#include "traces/trace_io.h"

#include <cstring>
#include <sstream>
#include <utility>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

std::string without_last_newline(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

/// Passes on the failure of a worker as the exception that ended it.
void throw_if_failed(const Finished& worker) {
  const std::string reason = without_last_newline(worker.errors);
  if (worker.signal != 0) {
    throw BackendError(fmt::format("the simulation worker was ended by signal {} ({}){}", worker.signal,
                                   strsignal(worker.signal), reason.empty() ? "" : ": " + reason));
  }
  switch (worker.exit_code) {
    case 0:
      return;
    case 1:
      throw InternalError(reason);
    case 2:
      throw ConfigError(reason);
    case 4:
      throw BackendError(reason);
    default:
      throw BackendError(fmt::format("the simulation worker ended with exit code {}, expected 0, 1, 2 or 4: {}",
                                     worker.exit_code, reason));
  }
}

Trace read_answer(const std::string& text) {
  try {
    return read_trace_text(text, "answer");
  } catch (const ConfigError& error) {
    throw BackendError(fmt::format("the simulation worker wrote no whole trace: {}", error.what()));
  }
}

}  // namespace

WorkerInterpreter::WorkerInterpreter(Plan plan, std::filesystem::path calibration, Fidelity fidelity,
                                     std::string executable)
    : plan_(std::move(plan)),
      calibration_(std::move(calibration)),
      fidelity_(fidelity),
      executable_(std::move(executable)) {}

Plan WorkerInterpreter::plan_of(const StepProgram& program) const {
  Plan plan = plan_;
  plan.strategy = program.strategy;
  plan.batch = program.batch;
  plan.predictions.clear();
  plan.certificate.reset();
  if (plan.device_of_rank.empty() && program.mesh.world() < plan.cluster.num_devices()) {
    for (std::int32_t rank = 0; rank < program.mesh.world(); ++rank) plan.device_of_rank.emplace_back(rank);
  }
  return plan;
}

std::vector<Unsupported> WorkerInterpreter::unsupported(const StepProgram& program) const {
  const Plan plan = plan_of(program);
  if (plan.num_ranks() != program.mesh.world()) {
    return {{fmt::format("simgrid: expected a program of {} ranks, as the plan has, got one of {}", plan.num_ranks(),
                         program.mesh.world())}};
  }
  const bool legal = violations(plan.model, plan.strategy, plan.batch, plan.num_ranks()).empty();
  if (legal && hash_of(lower(plan.model, plan.strategy, plan.batch, plan.num_ranks())) == hash_of(program)) return {};
  return {
      {fmt::format("simgrid: expected a program that was lowered from {}, got one that was built by hand: the "
                   "worker process lowers the plan again and cannot know it",
                   plan.model.name)}};
}

Trace WorkerInterpreter::run(const StepProgram& program, const RunInput& input) const {
  std::ostringstream request;
  const std::string hash = hash_of(program);
  write_request(request, {.plan = plan_of(program),
                          .calibration = calibration_,
                          .fidelity = fidelity_,
                          .input = input,
                          .program_hash = hash});
  const Finished worker = run_child(executable_, {"orrery", "simulate-worker"}, request.str());
  throw_if_failed(worker);
  Trace trace = read_answer(worker.output);
  if (trace.header.program_hash != hash) {
    throw BackendError(
        fmt::format("the simulation worker ran program {}, expected {}", trace.header.program_hash, hash));
  }
  return trace;
}

}  // namespace orrery::sim
