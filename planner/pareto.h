// SPDX-License-Identifier: Apache-2.0
// Fronts of two objectives, and the least memory, by many searches. With memory it is the method of falling limits: the
// best plan by the other objective, then the best that needs less memory than that, and so on. Of step time and energy,
// which both are sums of step time and time at work, it is the method of weights: between two points the sum is made
// least for which both are equal, as long as that finds a point (Aneja and Nair, "Bicriteria transportation problem",
// 1979); points that no weights make least are not found.
#pragma once

#include "costmodel/cost_model.h"
#include "planner/search.h"

#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

namespace orrery::planner {

/// Searches with a limit of memory and weights; it gives and takes everything else itself.
using SearchWith = std::function<std::variant<SearchResult, Infeasible>(std::optional<Bytes>, const StepWeights&)>;

/// The fastest of the plans that need least memory, to a thousandth of what searches find. The certificate's gap is
/// that of memory: nothing in the domain fits into less by more. Without one no search looked at everything. `limit`:
/// of a device; none: all that it has. Complexity: about ten searches. Throws: what `search` does.
std::variant<SearchResult, Infeasible> search_least_memory(const SearchWith& search, std::optional<Bytes> limit);

struct FrontPoint {
  RankedPlan plan;
  Certificate certificate;  // of the search that found it, whose gap is that of what it made least
};

struct Front {
  std::vector<FrontPoint> points;  // no one beats another in both; the fastest first
  std::string claim;               // how exhaustive it is
};

/// The front of an objective, by its weights, and memory. Each limit is less than the memory of the last point by at
/// least the `num_steps`-th part of that of the first; once nothing is found, the least memory for which something is
/// ends the front. 0: limits fall by a byte, so that nothing of the domain is left out.
std::variant<Front, Infeasible> memory_front(const SearchWith& search, const StepWeights& weights,
                                             std::optional<Bytes> limit, std::int64_t num_steps);

/// The front of step time and of what `weights` make least, at most `most` points.
std::variant<Front, Infeasible> time_front(const SearchWith& search, const StepWeights& weights,
                                           std::optional<Bytes> limit, std::int64_t most);

}  // namespace orrery::planner
