// SPDX-License-Identifier: Apache-2.0
// The part of orrery validate that is about measured curves of collectives.
#pragma once

#include "base/json_reader.h"
#include "cli/report.h"
#include "costmodel/validation/run_plan.h"

#include <filesystem>
#include <string>

namespace orrery::cli {

/// Scores the curves; `points_out`, unless empty, gets one JSON line for each point. Throws: ConfigError.
Report collective_report(const JsonDocument& document, const costmodel::DeviceLookup& device_of,
                         const std::filesystem::path& catalog, const std::string& points_out);

}  // namespace orrery::cli
