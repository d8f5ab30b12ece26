// SPDX-License-Identifier: Apache-2.0
// orrery plan --from: a plan for what is left of another one's devices, and the way there.
#pragma once

#include "cli/options.h"
#include "planner/replan/replan.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace orrery::cli {

struct PlanFromOptions {
  CommonOptions common;
  std::string from, lost, calibration, out;
  std::int64_t global_batch = 0;  // 0: as in the plan
  bool whole_space = false;
  std::int64_t num_worlds = 3;
  std::optional<std::int64_t> steps_left;
  std::optional<Seconds> horizon;  // instead of steps; neither: an hour
  std::vector<std::string> where;
  std::optional<Bytes> memory_limit;
};

/// `from` with what an option of `result` changes.
Plan plan_of(const Plan& from, const planner::ReplanOption& option, const planner::Replanned& result,
             Source calibration);

/// Plans, prints the report, and returns the exit code. Throws: ConfigError.
int plan_from(const PlanFromOptions& options);

}  // namespace orrery::cli
