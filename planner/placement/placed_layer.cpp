// SPDX-License-Identifier: Apache-2.0
#include "planner/placement/placed_layer.h"

#include "base/check.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

namespace orrery::planner {

PlacedLayer::PlacedLayer(const LayerLoad& load, const PlacementShape& shape, std::vector<std::int32_t> experts)
    : load_(load),
      shape_(shape),
      total_(load.total()),
      experts_(std::move(experts)),
      positions_(static_cast<std::size_t>(shape.num_experts)),
      rank_loads_(static_cast<std::size_t>(shape.num_ranks), 0.0),
      copies_on_node_(static_cast<std::size_t>(shape.num_nodes), 0) {
  CHECK(std::cmp_equal(experts_.size(), shape.num_positions) && load.num_nodes == shape.num_nodes, experts_.size(),
        shape.num_positions, load.num_nodes, shape.num_nodes);
  for (std::int64_t position = 0; position < shape.num_positions; ++position) {
    positions_.at(static_cast<std::size_t>(experts_[static_cast<std::size_t>(position)])).push_back(position);
  }
  for (std::int32_t expert = 0; expert < shape.num_experts; ++expert) {
    CHECK(num_copies(expert) > 0, expert);
    deal(expert, 1.0);
  }
}

void PlacedLayer::deal(std::int32_t expert, double sign) {
  const std::vector<std::int64_t>& at = positions_[static_cast<std::size_t>(expert)];
  for (const std::int64_t position : at) ++copies_on_node_[static_cast<std::size_t>(shape_.node_of(position))];
  double from_elsewhere = 0.0;
  for (std::int64_t node = 0; node < shape_.num_nodes; ++node) {
    if (copies_on_node_[static_cast<std::size_t>(node)] == 0) from_elsewhere += load_.at(node, expert);
  }
  crossing_ += sign * from_elsewhere;
  const double of_each = from_elsewhere / static_cast<double>(at.size());
  for (const std::int64_t position : at) {
    const std::int64_t node = shape_.node_of(position);
    const double own = load_.at(node, expert) / static_cast<double>(copies_on_node_[static_cast<std::size_t>(node)]);
    rank_loads_[static_cast<std::size_t>(shape_.rank_of(position))] += sign * (own + of_each);
  }
  for (const std::int64_t position : at) copies_on_node_[static_cast<std::size_t>(shape_.node_of(position))] = 0;
}

double PlacedLayer::fullest() const {
  return *std::max_element(rank_loads_.begin(), rank_loads_.end()) * static_cast<double>(shape_.num_ranks) / total_;
}

std::int64_t PlacedLayer::fullest_rank() const {
  return std::max_element(rank_loads_.begin(), rank_loads_.end()) - rank_loads_.begin();
}

bool PlacedLayer::is_on(std::int32_t expert, std::int64_t rank) const {
  const std::vector<std::int64_t>& at = positions_[static_cast<std::size_t>(expert)];
  return std::any_of(at.begin(), at.end(), [&](std::int64_t position) { return shape_.rank_of(position) == rank; });
}

void PlacedLayer::swap(std::int64_t a, std::int64_t b) {
  std::int32_t& x = experts_[static_cast<std::size_t>(a)];
  std::int32_t& y = experts_[static_cast<std::size_t>(b)];
  if (x == y) return;
  deal(x, -1.0), deal(y, -1.0);
  std::replace(positions_[static_cast<std::size_t>(x)].begin(), positions_[static_cast<std::size_t>(x)].end(), a, b);
  std::replace(positions_[static_cast<std::size_t>(y)].begin(), positions_[static_cast<std::size_t>(y)].end(), b, a);
  std::swap(x, y);
  deal(x, 1.0), deal(y, 1.0);
}

double PlacedLayer::crossing_change(std::int64_t a, std::int64_t b) const {
  const std::int32_t x = experts_[static_cast<std::size_t>(a)], y = experts_[static_cast<std::size_t>(b)];
  const std::int64_t from = shape_.node_of(a), to = shape_.node_of(b);
  return (load_.at(from, x) + load_.at(to, y) - load_.at(to, x) - load_.at(from, y)) / total_;
}

std::int64_t PlacedLayer::most_nodes(std::int64_t num_groups, std::int64_t num_allowed, std::int64_t top_k) const {
  std::vector<std::vector<bool>> reaches(static_cast<std::size_t>(num_groups),
                                         std::vector<bool>(static_cast<std::size_t>(shape_.num_nodes), false));
  const std::int64_t group_size = shape_.num_experts / num_groups;
  for (std::int64_t position = 0; position < shape_.num_positions; ++position) {
    const auto group = static_cast<std::size_t>(experts_[static_cast<std::size_t>(position)] / group_size);
    reaches[group][static_cast<std::size_t>(shape_.node_of(position))] = true;
  }
  std::vector<std::int64_t> nodes;
  for (const std::vector<bool>& of : reaches) nodes.push_back(std::count(of.begin(), of.end(), true));
  std::sort(nodes.begin(), nodes.end(), std::greater<>());
  const std::int64_t most =
      std::accumulate(nodes.begin(), nodes.begin() + std::min(num_allowed, num_groups), std::int64_t{0});
  return std::min({most, top_k, shape_.num_nodes});
}

}  // namespace orrery::planner
