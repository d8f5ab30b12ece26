// SPDX-License-Identifier: Apache-2.0
#include "costmodel/analytic_interpreter.h"

#include "costmodel/op_times.h"
#include "costmodel/timed_program.h"

#include <string>
#include <utility>

#include <fmt/format.h>

namespace orrery::costmodel {

AnalyticInterpreter::AnalyticInterpreter(std::shared_ptr<const CostModel> model, Cluster cluster,
                                         std::vector<DeviceIndex> device_of_rank)
    : model_(std::move(model)), cluster_(std::move(cluster)), device_of_rank_(std::move(device_of_rank)) {}

std::vector<Unsupported> AnalyticInterpreter::unsupported(const StepProgram& program) const {
  const std::int64_t num_devices =
      device_of_rank_.empty() ? cluster_.num_devices() : static_cast<std::int64_t>(device_of_rank_.size());
  if (program.mesh.world() <= num_devices) return {};
  return {
      {fmt::format("analytic: expected a cluster of at least {} devices, got {}", program.mesh.world(), num_devices)}};
}

Trace AnalyticInterpreter::run(const StepProgram& program, const RunInput& input) const {
  const TimedProgram timed = time_program(program, *model_, cluster_, device_of_rank_, input);
  return trace_of(timed, run_step(timed, !input.steps_only), input, std::string(name()));
}

}  // namespace orrery::costmodel
