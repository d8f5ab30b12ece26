// SPDX-License-Identifier: Apache-2.0
// Why a search ends empty-handed: which constraint left nothing over, and what is nearest to possible.
#pragma once

#include "planner/search.h"

namespace orrery::planner {

/// No strategy of the space obeys the rules. Names the rule that most of its degrees break, with one of its messages.
/// Requires: so it is.
Infeasible nothing_is_legal(const Domains& domains, const SearchProblem& problem);

/// Legal strategies exist, and none that was tried fits into `limit`; `smallest` needs least of them, at least
/// `memory`. `everything`: whether that is all that there are.
Infeasible nothing_fits(const Strategy& smallest, Bytes memory, const SearchProblem& problem, Bytes limit,
                        bool everything);

}  // namespace orrery::planner
