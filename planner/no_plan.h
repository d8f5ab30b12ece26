// SPDX-License-Identifier: Apache-2.0
// Why a search ends empty-handed: which constraint left nothing over, and what is nearest to possible.
#pragma once

#include "planner/search.h"

namespace orrery::planner {

/// No strategy of the space is searched. Choices are made in turn: degrees, the pipeline, operators, sharding; of the
/// first of them that leaves nothing legal, those that break fewest rules say which rule it is, with one of its
/// messages. Where none is broken, the reason is that the search knows a strategy of the same order of work, such as
/// 1F1B for every schedule of a pipeline of one rank.
Infeasible nothing_is_legal(const Domains& domains, const SearchProblem& problem);

/// Legal strategies exist, and none that was tried fits into `limit`; `smallest` needs least of them, at least
/// `memory`. `everything`: whether that is all that there are.
Infeasible nothing_fits(const Strategy& smallest, Bytes memory, const SearchProblem& problem, Bytes limit,
                        bool everything);

}  // namespace orrery::planner
