// SPDX-License-Identifier: Apache-2.0
// A strategy of which nobody knows yet whether it obeys the rules: it is read as far as it can be, and what it breaks
// is a list of violations, where other readers throw.
#pragma once

#include "program/legality.h"

#include <cstdint>
#include <filesystem>
#include <vector>

namespace orrery {

struct StrategyCheck {
  Strategy strategy;              // of more stages than can be laid, as many as can
  std::vector<Violation> broken;  // those of violations(), and a stated "dp" that does not follow from the rest
};

/// Reads strategy/1 and checks it on `num_devices` devices.
/// Throws: ConfigError with all problems of the file that are none of those rules.
StrategyCheck check_strategy(const std::filesystem::path& path, const Model& model, const BatchShape& batch,
                             std::int64_t num_devices);

}  // namespace orrery
