// SPDX-License-Identifier: Apache-2.0
// What a user demands of a plan beside that it runs, and which of it has to go where nothing is left: each demand is
// given up in turn, and the space that is left is searched.
#pragma once

#include "planner/search.h"

#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace orrery::planner {

struct Demands {
  std::vector<std::string> conditions;  // planner/conditions.h
  std::optional<Bytes> memory_limit;    // of a device, less than it has

  bool empty() const { return conditions.empty() && !memory_limit; }
};

/// A search of some domains under a limit of memory; of several plans any will do.
using SearchDomains =
    std::function<std::variant<SearchResult, Infeasible>(const Domains& domains, std::optional<Bytes> memory_limit)>;

/// `infeasible`, what a search of `all` under `demands` said, with a hint that names each demand without which
/// something can run, and what would be enough; where no single one helps, the demands that have to go together. As it
/// is if nothing can run even without demands.
/// Complexity: a search for each demand.
Infeasible blame_demands(Infeasible infeasible, const Domains& all, const Demands& demands,
                         const SearchDomains& search);

}  // namespace orrery::planner
