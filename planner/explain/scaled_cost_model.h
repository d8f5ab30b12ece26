// SPDX-License-Identifier: Apache-2.0
// The cost model of a plan on a machine of which one number is another: `factor` times as high. Rates of compute and
// its launches are changed where the cost model gets them from, the cluster and the calibration; communication is
// changed in the answers, which say for every leg where it travels. What was measured stays measured: a point keeps its
// ratio to the form of its kernel, and where a calibration has points alone, their times are divided by the factor.
#pragma once

#include "costmodel/calibration.h"
#include "costmodel/cost_model.h"
#include "planner/explain/resource.h"
#include "program/plan.h"

#include <memory>

namespace orrery::planner {

/// Requires: factor above 0. `recipe`: how fp8 operands are scaled.
std::shared_ptr<const costmodel::CostModel> scaled_cost_model(const Plan& plan,
                                                              const costmodel::Calibration& calibration,
                                                              Fp8Recipe recipe, Resource resource, double factor);

}  // namespace orrery::planner
