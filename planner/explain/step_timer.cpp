// SPDX-License-Identifier: Apache-2.0
#include "planner/explain/step_timer.h"

#include "costmodel/analytic_interpreter.h"
#include "costmodel/calibrated_cost_model.h"
#include "planner/explain/scaled_cost_model.h"
#include "program/lower.h"

#include <utility>

namespace orrery::planner {

Trace StepTimer::run(const Strategy& strategy, std::shared_ptr<const costmodel::CostModel> model,
                     bool steps_only) const {
  const costmodel::AnalyticInterpreter interpreter(std::move(model), plan_.cluster, plan_.device_of_rank);
  StepProgram program = lower(plan_.model, strategy, plan_.batch, plan_.num_ranks());
  program.experts = plan_.experts;
  return interpreter.run(program, {.load = plan_.load, .sequences = plan_.sequences, .steps_only = steps_only});
}

std::shared_ptr<const costmodel::CostModel> StepTimer::model_of(const Strategy& strategy) const {
  return std::make_shared<costmodel::CalibratedCostModel>(plan_.cluster, calibration_, strategy.fp8_recipe);
}

Seconds StepTimer::time(const Strategy& strategy) const {
  return run(strategy, model_of(strategy), true).steps.front().time;
}

Seconds StepTimer::time(const Strategy& strategy, Resource resource, double factor) const {
  return run(strategy, scaled_cost_model(plan_, calibration_, strategy.fp8_recipe, resource, factor), true)
      .steps.front()
      .time;
}

std::vector<std::string> StepTimer::extrapolated(const Strategy& strategy) const {
  return run(strategy, model_of(strategy), true).header.extrapolated;
}

Trace StepTimer::trace(const Strategy& strategy) const { return run(strategy, model_of(strategy), false); }

}  // namespace orrery::planner
