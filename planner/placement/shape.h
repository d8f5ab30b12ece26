// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace orrery::planner {

/// Where the experts of a layer can be: positions in order along an EP group, as many on each rank, as many ranks on
/// each node. More positions than experts make room for copies.
struct PlacementShape {
  std::int64_t num_experts = 1, num_positions = 1;
  std::int64_t num_ranks = 1, num_nodes = 1;
  /// Groups of experts that stay whole on a node, 1: experts go where they like. Of node-limited routing: a token that
  /// may use two groups then reaches two nodes.
  std::int64_t num_groups = 1;

  std::int64_t per_rank() const { return num_positions / num_ranks; }
  std::int64_t per_node() const { return num_positions / num_nodes; }
  std::int64_t rank_of(std::int64_t position) const { return position / per_rank(); }
  std::int64_t node_of(std::int64_t position) const { return position / per_node(); }
};

}  // namespace orrery::planner
