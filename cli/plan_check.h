// SPDX-License-Identifier: Apache-2.0
// orrery plan --check: every rule that a strategy breaks, what would obey it, and whether it fits.
#pragma once

#include "cli/prediction.h"
#include "program/legality.h"

#include <filesystem>
#include <string>
#include <vector>

namespace orrery::cli {

/// Checks the strategy of the file `path` in place of that of `base`, prints the report and returns the exit code.
/// `catalog`: where intervals of memory are.
/// Throws: ConfigError if the file cannot be read as strategy/1; a broken rule is no such error here.
int check_strategy(Plan base, const std::string& path, const std::filesystem::path& catalog, bool json);

/// The same for a plan that breaks rules, whoever wrote it. `notes`: on how it was read.
int report_broken_rules(const Plan& plan, const std::vector<Violation>& broken, bool json,
                        const std::vector<std::string>& notes = {});

}  // namespace orrery::cli
