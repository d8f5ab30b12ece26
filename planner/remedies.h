// SPDX-License-Identifier: Apache-2.0
// What would make a plan fit: single changes of its strategy, tried one by one. It says nothing about their price in
// time; `orrery plan` does.
#pragma once

#include "base/units.h"
#include "program/plan.h"

#include <string>
#include <vector>

namespace orrery::planner {

struct Remedy {
  std::string change;  // "ep 16 instead of 8"
  Bytes memory;        // of the fullest rank then
};

/// The changes of one dimension that are legal and fit, the one that needs least memory first; of each dimension the
/// smallest change only. Layouts change only where the pipeline does, and become even then.
/// Requires: the plan is legal and the memory of its device known.
std::vector<Remedy> remedies(const Plan& plan);

}  // namespace orrery::planner
