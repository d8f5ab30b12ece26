// SPDX-License-Identifier: Apache-2.0
// The step time of a plan and of what one changes of it, all by the analytic interpreter.
#pragma once

#include "costmodel/calibration.h"
#include "costmodel/cost_model.h"
#include "planner/explain/resource.h"
#include "program/plan.h"
#include "traces/trace.h"

#include <memory>
#include <string>
#include <vector>

namespace orrery::planner {

class StepTimer {
 public:
  /// Requires: both outlive this.
  StepTimer(const Plan& plan, const costmodel::Calibration& calibration) : plan_(plan), calibration_(calibration) {}

  /// For all: the strategy is legal on the plan's ranks, fits or not. Throws: ConfigError if an op is not calibrated.
  /// May be called by several threads.
  Seconds time(const Strategy& strategy) const;
  /// With `factor` times as much of one resource.
  Seconds time(const Strategy& strategy, Resource resource, double factor) const;
  /// Names of the ops whose time is extrapolated.
  std::vector<std::string> extrapolated(const Strategy& strategy) const;
  /// With the spans of one rank of each set of equal ranks.
  Trace trace(const Strategy& strategy) const;

 private:
  Trace run(const Strategy& strategy, std::shared_ptr<const costmodel::CostModel> model, bool steps_only) const;
  std::shared_ptr<const costmodel::CostModel> model_of(const Strategy& strategy) const;

  const Plan& plan_;
  const costmodel::Calibration& calibration_;
};

}  // namespace orrery::planner
