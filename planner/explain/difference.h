// SPDX-License-Identifier: Apache-2.0
// Two plans of one job, and what each choice in which they differ is worth. Every differing dimension is a player; a
// coalition is the first plan with the dimensions of its members taken from the second. Dimensions that are not legal
// without each other (pipeline ranks and the layout of stages) are one player, and where there are more than eight
// players, dimensions of one kind are. A coalition that needs more memory than there is takes its time all the same,
// and is marked.
#pragma once

#include "base/units.h"
#include "planner/explain/shapley.h"
#include "planner/explain/step_timer.h"
#include "planner/fit_check.h"
#include "program/plan.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace orrery::planner {

struct Coalition {
  Seconds time;
  Bytes memory;  // of the fullest rank
  bool fits = false;
};

struct Difference {
  /// "ep 8 -> 64", joined by ", " where several dimensions are one player.
  std::vector<std::string> players;
  std::vector<Coalition> coalitions;  // by their bits, as in shapley.h
  /// Of the second time minus the first, in nanoseconds, to which the times of coalitions are rounded.
  Attribution worth;

  std::int64_t num_too_large() const;
};

/// What turns `plan` into one with strategy `other`.
/// Requires: both are legal on the plan's ranks. `on_progress`: coalitions timed so far, and all; never called by two
/// threads at once. Complexity: 2^players steps of the analytic interpreter, on all cores.
Difference difference(const Plan& plan, const Strategy& other, const StepTimer& timer,
                      const std::function<void(std::int64_t, std::int64_t)>& on_progress = {});

}  // namespace orrery::planner
