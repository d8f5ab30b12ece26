// SPDX-License-Identifier: Apache-2.0
#include "sim/worker_interpreter.h"

#include "base/errors.h"
#include "program/fingerprint.h"
#include "program/legality.h"
#include "program/rank_devices.h"
#include "sim/child_process.h"
#include "sim/worker_answer.h"
#include "sim/worker_request.h"

#include <fstream>
#include <sstream>
#include <utility>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

Trace whole_answer(const MemoryFile& file) {
  try {
    std::ifstream in(file.path(), std::ios::binary);
    return read_answer(in);
  } catch (const ConfigError& error) {
    throw BackendError(fmt::format("the simulation worker wrote no whole trace: {}", error.what()));
  }
}

}  // namespace

WorkerInterpreter::WorkerInterpreter(Plan plan, std::filesystem::path calibration, std::string executable)
    : plan_(std::move(plan)), calibration_(std::move(calibration)), executable_(std::move(executable)) {}

Plan WorkerInterpreter::plan_of(const StepProgram& program) const {
  Plan plan = plan_;
  plan.strategy = program.strategy;
  plan.batch = program.batch;
  plan.experts = program.experts;
  plan.predictions.clear();
  plan.certificate.reset();
  if (plan.device_of_rank.empty() && program.mesh.world() < plan.cluster.num_devices()) {
    const RankDevices devices(program.strategy, program.mesh.world());
    for (std::int32_t rank = 0; rank < program.mesh.world(); ++rank) {
      plan.device_of_rank.push_back(devices.of(RankId(rank)));
    }
  }
  return plan;
}

std::vector<Unsupported> WorkerInterpreter::unsupported(const StepProgram& program) const {
  const Plan plan = plan_of(program);
  if (plan.num_ranks() != program.mesh.world()) {
    return {{fmt::format("simgrid: expected a program of {} ranks, as the plan has, got one of {}", plan.num_ranks(),
                         program.mesh.world())}};
  }
  if (violations(plan.model, plan.strategy, plan.batch, plan.num_ranks()).empty()) return {};
  return {{built_by_hand(plan)}};
}

Trace WorkerInterpreter::run(const StepProgram& program, const RunInput& input) const {
  std::ostringstream request;
  write_request(request, {.plan = plan_of(program),
                          .calibration = calibration_,
                          .input = input,
                          .others = others_,
                          .seed = seed_,
                          .fingerprint = fingerprint_of(program)});
  const MemoryFile answer("answer");
  const Finished worker = run_child(executable_, {"orrery", "simulate-worker"}, request.str(), answer);
  throw_if_failed(worker, "simulation");
  Trace trace = whole_answer(answer);
  const bool says_program = input.complete && !input.steps_only;
  if (says_program && trace.header.program_hash != hash_of(program)) throw BackendError(built_by_hand(plan_));
  return trace;
}

}  // namespace orrery::sim
