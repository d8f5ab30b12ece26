// SPDX-License-Identifier: Apache-2.0
// orrery plan --place-experts: which rank of its EP groups shall hold which experts of a plan, under a load that is not
// balanced.
#pragma once

#include "cli/options.h"

#include <cstdint>
#include <string>

namespace orrery::cli {

struct PlanPlaceOptions {
  CommonOptions common;
  std::string plan, calibration, out, placement;
  std::string load;  // as --load takes it; empty: the plan's
  std::int64_t num_copies = 0;
};

/// Places, prints the report, and returns the exit code. Throws: ConfigError.
int place_experts(const PlanPlaceOptions& options);

}  // namespace orrery::cli
