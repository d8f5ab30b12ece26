// SPDX-License-Identifier: Apache-2.0
// What is known of the routers of one layer before experts are placed: how many (token, choice) pairs of each expert
// start on each node of an EP group. Nodes count because a pair whose expert is on its own node leaves it alone.
#pragma once

#include "program/load_model.h"

#include <cstdint>
#include <span>
#include <vector>

namespace orrery::planner {

struct LayerLoad {
  std::int64_t num_nodes = 1, num_experts = 0;
  std::vector<double> pairs;  // row-major: pairs[node * num_experts + expert]

  double at(std::int64_t node, std::int64_t expert) const {
    return pairs[static_cast<std::size_t>(node * num_experts + expert)];
  }
  double of(std::int64_t expert) const;
  double total() const;
};

/// The pairs of `layer` under `load`, in any unit; of a recorded one all micro-batches and EP groups together.
/// `node_of_rank`: of each rank of an EP group, counted from 0.
/// Requires: matrices that were recorded are of as many ranks. Throws: ConfigError as routing() does, and if a recorded
/// load lacks the layer.
LayerLoad layer_load(const LoadModel& load, std::int64_t layer, std::int64_t num_experts,
                     std::span<const std::int64_t> node_of_rank);

}  // namespace orrery::planner
