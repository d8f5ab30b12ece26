// SPDX-License-Identifier: Apache-2.0
#include "sim/worker_interpreter.h"

#include "base/errors.h"
#include "program/fingerprint.h"
#include "program/legality.h"
#include "program/rank_devices.h"
#include "sim/worker_answer.h"
#include "sim/worker_request.h"

#include <csignal>
#include <exception>
#include <sstream>
#include <utility>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

/// What a part of the answer reads as.
template <class Read>
auto read_whole(Read read) {
  try {
    return read();
  } catch (const ConfigError& error) {
    throw BackendError(fmt::format("the simulation worker wrote no whole trace: {}", error.what()));
  }
}

}  // namespace

Simulation::Result Simulation::read(const StepProgram& program, const SpanUse& use) {
  AnswerReader reader = read_whole([&] { return AnswerReader(worker_->output()); });
  const Trace& record = reader.answer().trace;
  if (reader.answer().fingerprint != fingerprint_of(program) ||
      (says_program_ && record.header.program_hash != hash_of(program))) {
    throw BackendError(built_by_hand(plan_));
  }
  while (true) {
    const Spans spans = read_whole([&] { return reader.next(); });
    if (spans.size() == 0) break;
    use(record, spans);
  }
  Answer answer = reader.take();
  return {.trace = std::move(answer.trace), .use = std::move(answer.use)};
}

Simulation::Result Simulation::finish(const StepProgram& program, const SpanUse& use) {
  Result result;
  std::exception_ptr failure;
  try {
    result = read(program, use);
  } catch (...) {
    failure = std::current_exception();
  }
  const Finished worker = worker_->wait();
  // A worker that failed says why; one whose answer was not read to its end is ended by SIGPIPE.
  if (!failure || worker.signal != SIGPIPE) throw_if_failed(worker, "simulation");
  if (failure) std::rethrow_exception(failure);
  return result;
}

WorkerInterpreter::WorkerInterpreter(Plan plan, std::filesystem::path calibration, std::string executable)
    : plan_(std::move(plan)), calibration_(std::move(calibration)), executable_(std::move(executable)) {}

Plan WorkerInterpreter::plan_of(const StepProgram& program) const {
  Plan plan = plan_;
  plan.strategy = program.strategy;
  plan.batch = program.batch;
  plan.experts = program.experts;
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

Simulation WorkerInterpreter::start(Plan plan, const RunInput& input, bool use_of_links) const {
  plan.predictions.clear();
  plan.certificate.reset();
  std::ostringstream request;
  write_request(request, {.plan = plan,
                          .calibration = calibration_,
                          .input = input,
                          .others = others_,
                          .seed = seed_,
                          .use_of_links = use_of_links});
  auto worker =
      std::make_unique<Child>(executable_, std::vector<std::string>{"orrery", "simulate-worker"}, request.str());
  return {std::move(worker), std::move(plan), input.complete && !input.steps_only};
}

Trace WorkerInterpreter::run(const StepProgram& program, const RunInput& input) const {
  Spans all;
  const auto keep = [&](const Trace&, const Spans& spans) {
    for (std::size_t i = 0; i < spans.size(); ++i) all.push_back(spans.at(i));
  };
  Trace trace = start(plan_of(program), input, false).finish(program, keep).trace;
  trace.spans = std::move(all);
  return trace;
}

}  // namespace orrery::sim
