// SPDX-License-Identifier: Apache-2.0
#include "sim/worker.h"

#include "base/check.h"
#include "costmodel/calibrated_cost_model.h"
#include "costmodel/calibration.h"
#include "program/fingerprint.h"
#include "program/lower.h"
#include "program/lower_order.h"
#include "sim/child_process.h"
#include "sim/link_use.h"
#include "sim/memory_need.h"
#include "sim/simulate.h"
#include "sim/worker_answer.h"
#include "sim/worker_request.h"

#include <csignal>
#include <deque>
#include <filesystem>
#include <utility>
#include <vector>

#include <sys/prctl.h>

namespace orrery::sim {
namespace {

/// A plan with its program, and what that takes.
class TimedPlan {
 public:
  TimedPlan(const Plan& plan, const std::filesystem::path& calibration, bool with_tensors)
      : plan_(plan),
        program_(with_tensors ? lower(plan) : lower_order(plan)),
        model_(plan, costmodel::read_calibration(calibration)) {}

  const StepProgram& program() const { return program_; }
  Bytes memory(const RunInput& input, bool hashed) const {
    return memory_needed(program_, plan_.cluster, plan_.device_of_rank, input, plan_.fidelity, hashed);
  }
  costmodel::TimedProgram timed(const RunInput& input) const {
    return time_program(program_, model_, plan_.cluster, plan_.device_of_rank, input);
  }

 private:
  const Plan& plan_;
  StepProgram program_;
  costmodel::CalibratedCostModel model_;
};

void answer(const WorkerRequest& request, std::ostream& out) {
  const TimedPlan own(request.plan, request.calibration, request.input.complete);
  std::deque<TimedPlan> others;
  std::deque<costmodel::TimedProgram> timed_others;
  std::vector<OtherJob> jobs;
  Bytes memory = own.memory(request.input, request.seed.has_value());
  const auto input_of = [](const Plan& plan) {
    return RunInput{.load = plan.load, .sequences = plan.sequences, .all_ranks = true};
  };
  for (const OtherPlan& other : request.others) {
    others.emplace_back(other.plan, other.calibration, false);
    memory += others.back().memory(input_of(other.plan), request.seed.has_value());
  }
  require_memory(memory, memory_available());
  for (std::size_t i = 0; i < others.size(); ++i) {
    const OtherPlan& other = request.others[i];
    timed_others.push_back(others[i].timed(input_of(other.plan)));
    jobs.push_back({.name = other.name, .timed = &timed_others.back(), .fidelities = other.plan.fidelity});
  }
  CHECK(jobs.empty() || request.input.all_ranks, jobs.size());
  const costmodel::TimedProgram timed = own.timed(request.input);
  Simulated step =
      simulate_dates(timed, request.plan.cluster, request.input, request.plan.fidelity, jobs, request.seed);
  Answer answer{.fingerprint = fingerprint_of(own.program()), .trace = std::move(step.trace), .use = {}};
  if (request.use_of_links) {
    answer.use = use_of_links(timed, request.plan.cluster, request.plan.fidelity, step.dates, request.seed);
  }
  std::size_t num_spans = 0;
  for (const StepDates::Rank& rank : step.dates.ranks) num_spans += rank.end.size();
  AnswerWriter writer(out, answer, num_spans * static_cast<std::size_t>(request.input.num_steps));
  for (std::int32_t number = 0; number < request.input.num_steps; ++number) {
    for (std::size_t rank = 0; rank < step.dates.ranks.size(); ++rank) {
      Spans spans;
      spans.reserve(step.dates.ranks[rank].end.size());
      append_spans(timed, times_of(timed, step.dates, rank), rank, number, spans);
      if (spans.size() > 0) writer.write(spans);
    }
  }
}

}  // namespace

int worker_main(std::istream& in, std::ostream& out, std::ostream& errors) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody would read the answer
  return exit_code_of([&] { answer(read_request(in), out); }, errors);
}

}  // namespace orrery::sim
