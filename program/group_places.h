// SPDX-License-Identifier: Apache-2.0
// Where the groups of each dimension of a plan lie: within a scale-up domain, below one leaf, or across leaves, and on
// how many rails. These are the path classes by which communications are priced (docs/formats/cluster.md), so this
// says what the order of ranks decided. It takes part in no prediction.
#pragma once

#include "program/op.h"
#include "program/plan.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace orrery {

/// All groups of one dimension. Of a pipeline: pairs of ranks of neighbouring stages.
struct GroupPlaces {
  std::string_view dimension;                           // "tp", "edp"
  std::int64_t num_ranks = 0;                           // of a group
  std::int64_t on_node = 0, on_rail = 0, on_spine = 0;  // groups whose widest path is of that class
  std::int64_t num_domains = 0;                         // that a group spans, at most
  std::int64_t num_rails = 0;                           // of the NICs of a group, at most; 0 where it needs none
};

/// Of the dimensions that have more than one rank, the innermost of the default order first.
std::vector<GroupPlaces> group_places(const Plan& plan);

}  // namespace orrery
