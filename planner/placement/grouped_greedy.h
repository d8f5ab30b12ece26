// SPDX-License-Identifier: Apache-2.0
// The greedy placement of DeepSeek's expert-parallel load balancer (EPLB), written from its description: whole groups
// of experts go to nodes, on each node the expert with the most load for each of its copies gets another one until all
// positions are taken, and copies go to ranks. "Go to" means: heaviest first, each to the least loaded that has room.
// Source: https://github.com/deepseek-ai/EPLB (README.md at d52c72d5).
#pragma once

#include "planner/placement/shape.h"

#include <cstdint>
#include <span>
#include <vector>

namespace orrery::planner {

/// The bin of each item: heaviest first, each to the least loaded bin that has room, all bins with as many items. Of
/// equal items and bins the first. Requires: num_bins divides the number of items.
std::vector<std::int64_t> pack(std::span<const double> loads, std::int64_t num_bins);

/// Copies of each expert, `num_positions` in all: one after the other to the expert whose copies have most load each.
/// No other numbers make the heaviest copy lighter. Requires: at least one position for each expert.
std::vector<std::int64_t> copies_of(std::span<const double> loads, std::int64_t num_positions);

/// The expert at each position. `loads`: of each expert. Requires: nodes divide ranks, ranks positions and, with more
/// than one group, nodes divide groups and groups experts.
/// Complexity: positions times experts of a node.
std::vector<std::int32_t> grouped_greedy(std::span<const double> loads, const PlacementShape& shape);

}  // namespace orrery::planner
