// SPDX-License-Identifier: Apache-2.0
// Why a search ends empty-handed: which constraint left nothing over, and what is nearest to possible.
#pragma once

#include "planner/search.h"

namespace orrery::planner {

/// No candidate obeys the rules. Names the rule that most of them break, with one of its messages.
/// Requires: every candidate of `space` has a violation.
Infeasible nothing_is_legal(const SearchSpace& space, const SearchProblem& problem);

/// Legal candidates exist and none fits. `smallest` needs least memory of them.
Infeasible nothing_fits(const Strategy& smallest, Bytes memory, const SearchProblem& problem);

}  // namespace orrery::planner
