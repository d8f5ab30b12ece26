// SPDX-License-Identifier: Apache-2.0
// The half of orrery validate that is about step times.
#pragma once

#include "cli/report.h"
#include "costmodel/validation/run_plan.h"
#include "costmodel/validation/runs.h"

#include <filesystem>
#include <string>

namespace orrery::cli {

struct TimeOptions {
  std::string plot, factors_out;  // empty: not wanted
  bool all_families = false;      // else the largest ones
};

/// Scores the runs, and writes the files that were asked for; adds each run to `lines`, as JSON. Throws: ConfigError if
/// the catalog's factors or calibrations are broken, or if factors are to be written without a fit.
Report time_report(const costmodel::RunsFile& file, const costmodel::DeviceLookup& device_of,
                   const std::filesystem::path& catalog, const TimeOptions& options, bool cross_validate,
                   std::string& lines);

}  // namespace orrery::cli
