// SPDX-License-Identifier: Apache-2.0
// orrery plan --pareto: the plans among which two objectives leave a choice.
#pragma once

#include "cli/plan_search.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace orrery::cli {

/// Searches the front of two objectives ("time,memory") and prints it; returns the exit code. `most`: points.
/// Throws: ConfigError: objectives that are unknown, or the same on given devices.
int print_front(const Plan& base, const Loaded<costmodel::Calibration>& calibration, const SearchWishes& wishes,
                const std::string& objectives, std::int64_t most, const std::filesystem::path& catalog, bool json);

}  // namespace orrery::cli
