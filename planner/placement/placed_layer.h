// SPDX-License-Identifier: Apache-2.0
// A layer with its experts somewhere: how full its ranks are and how many pairs leave their node. Pairs go to copies
// of their expert on their own node, evenly if there are several; where there is none, evenly to all copies.
#pragma once

#include "planner/placement/layer_load.h"
#include "planner/placement/shape.h"

#include <cstdint>
#include <vector>

namespace orrery::planner {

class PlacedLayer {
 public:
  /// `experts`: at each position. `load` must outlive it. Requires: every expert is somewhere; nodes as in `load`.
  PlacedLayer(const LayerLoad& load, const PlacementShape& shape, std::vector<std::int32_t> experts);

  const std::vector<std::int32_t>& experts() const { return experts_; }
  const PlacementShape& shape() const { return shape_; }
  /// Pairs that each rank computes.
  const std::vector<double>& rank_loads() const { return rank_loads_; }
  /// The fullest rank over the mean: at least 1.
  double fullest() const;
  std::int64_t fullest_rank() const;
  /// Share of the pairs whose expert is not on their node.
  double crossing() const { return crossing_ / total_; }
  /// Nodes that a token reaches at most when it may use `num_allowed` of `num_groups` groups and has `top_k` experts.
  std::int64_t most_nodes(std::int64_t num_groups, std::int64_t num_allowed, std::int64_t top_k) const;

  std::int64_t num_copies(std::int32_t expert) const {
    return static_cast<std::int64_t>(positions_[static_cast<std::size_t>(expert)].size());
  }
  bool is_on(std::int32_t expert, std::int64_t rank) const;
  /// Experts at two positions change places. Complexity: nodes and copies of the two.
  void swap(std::int64_t a, std::int64_t b);
  /// What crossing() would change by, of experts without copies.
  double crossing_change(std::int64_t a, std::int64_t b) const;

 private:
  /// Adds `sign` times the pairs of an expert to the ranks that have it.
  void deal(std::int32_t expert, double sign);

  const LayerLoad& load_;
  PlacementShape shape_;
  double total_ = 0.0, crossing_ = 0.0;
  std::vector<std::int32_t> experts_;
  std::vector<std::vector<std::int64_t>> positions_;  // of each expert
  std::vector<double> rank_loads_;
  std::vector<std::int64_t> copies_on_node_;  // scratch of deal()
};

}  // namespace orrery::planner
