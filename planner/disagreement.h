// SPDX-License-Identifier: Apache-2.0
// How far the tiers of a search are apart on the plans that two of them have seen: what the cheaper one is worth where
// the other was not asked.
#pragma once

#include "planner/search.h"

#include <cstdint>
#include <string>
#include <vector>

namespace orrery::planner {

struct Disagreement {
  std::string first, second;       // tiers
  std::int64_t num_plans = 0;      // that both have seen
  double median = 0, largest = 0;  // distance of their step times, of the first one's
  std::int64_t num_swaps = 0;      // pairs of plans of which one tier says that this is faster, the other that
  std::int64_t num_pairs = 0;
};

/// Of each two tiers that have seen two plans or more, the closed form first.
std::vector<Disagreement> disagreements(const std::vector<RankedPlan>& plans);

}  // namespace orrery::planner
