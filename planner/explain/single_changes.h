// SPDX-License-Identifier: Apache-2.0
// What one change of a plan gains: every key of its strategy that leaves the training itself as it is, turned alone to
// the nearest values that are legal and fit, each timed. What several changes together gain is for the search to say.
#pragma once

#include "base/units.h"
#include "planner/explain/step_timer.h"
#include "program/plan.h"

#include <string>
#include <vector>

namespace orrery::planner {

struct SingleChange {
  std::string text;  // "ep 16 instead of 8"
  Strategy strategy;
  Seconds time;
  Bytes memory;  // of the fullest rank
};

/// All of them, the fastest first. Of a degree the two nearest values on either side; of recomputation nothing, each
/// module and all, in every stage. Precision, optimizer, prediction modules and dropped tokens are no changes.
/// Requires: a legal plan; it need not fit. Complexity: some tens of steps of the analytic interpreter, on all cores.
std::vector<SingleChange> single_changes(const Plan& plan, const StepTimer& timer);

}  // namespace orrery::planner
