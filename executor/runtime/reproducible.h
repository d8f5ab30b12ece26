// SPDX-License-Identifier: Apache-2.0
// Training whose bits do not depend on the layout: gradients as whole numbers, one term for each sequence of the step
// (docs/design/reproducible.md). The type of gradients is part of the strategy, so that the program says what they take
// in memory and on the wire; here is what a layout must not do besides.
#pragma once

#include "program/plan.h"

#include <string>
#include <vector>

namespace orrery::executor {

/// What of a strategy changes the terms themselves, in sentences; nothing: sums in whole numbers are the same as on one
/// rank.
std::vector<std::string> why_not_reproducible(const Strategy& strategy);

/// The plan with gradients that are added up, and travel, as whole numbers, whatever type they had.
/// Throws: ConfigError with all reasons why that would not make it reproducible.
Plan reproducible(Plan plan);

}  // namespace orrery::executor
