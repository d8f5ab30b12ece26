// SPDX-License-Identifier: Apache-2.0
#include "planner/placement/place_layer.h"

#include "planner/placement/grouped_greedy.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <span>
#include <tuple>
#include <utility>

namespace orrery::planner {
namespace {

/// Exchanges that are better by less are rounding.
constexpr double kLeastGain = 1e-9;
/// What has to be gained for experts to be dealt anew, and not from where they are.
constexpr double kWorthMoving = 1e-3;
/// Exchanges between nodes are sought over all pairs of positions; with more positions only on the fullest rank.
constexpr std::int64_t kMostPositions = 1024;

bool may_swap(const PlacedLayer& layer, std::int64_t a, std::int64_t b) {
  const PlacementShape& shape = layer.shape();
  const std::int64_t from = shape.rank_of(a), to = shape.rank_of(b);
  if (from == to || (shape.num_groups > 1 && shape.node_of(a) != shape.node_of(b))) return false;
  // Two copies on one rank are one too many.
  const std::int32_t x = layer.experts()[static_cast<std::size_t>(a)], y = layer.experts()[static_cast<std::size_t>(b)];
  return !layer.is_on(x, to) && !layer.is_on(y, from);
}

/// What judged() would be after an exchange.
double judged_after(PlacedLayer& layer, double crossing_weight, std::int64_t a, std::int64_t b) {
  layer.swap(a, b);
  const double value = judged(layer, crossing_weight);
  layer.swap(a, b);
  return value;
}

/// The best exchange of an expert of the fullest rank, if any helps.
bool relieve_fullest(PlacedLayer& layer, double crossing_weight) {
  const PlacementShape& shape = layer.shape();
  const std::int64_t first = layer.fullest_rank() * shape.per_rank();
  double best = judged(layer, crossing_weight) - kLeastGain;
  std::pair<std::int64_t, std::int64_t> exchange{-1, -1};
  for (std::int64_t a = first; a < first + shape.per_rank(); ++a) {
    for (std::int64_t b = 0; b < shape.num_positions; ++b) {
      if (!may_swap(layer, a, b)) continue;
      const double value = judged_after(layer, crossing_weight, a, b);
      if (value < best) best = value, exchange = {a, b};
    }
  }
  if (exchange.first >= 0) layer.swap(exchange.first, exchange.second);
  return exchange.first >= 0;
}

/// Every exchange between nodes that helps, once over all pairs of positions.
bool keep_pairs_inside(PlacedLayer& layer, double crossing_weight) {
  const PlacementShape& shape = layer.shape();
  if (crossing_weight == 0.0 || shape.num_nodes == 1 || shape.num_groups > 1) return false;
  if (shape.num_positions > kMostPositions) return false;
  bool helped = false;
  double now = judged(layer, crossing_weight);
  for (std::int64_t a = 0; a < shape.num_positions; ++a) {
    for (std::int64_t b = (shape.node_of(a) + 1) * shape.per_node(); b < shape.num_positions; ++b) {
      const std::int32_t x = layer.experts()[static_cast<std::size_t>(a)];
      const std::int32_t y = layer.experts()[static_cast<std::size_t>(b)];
      const bool have_copies = layer.num_copies(x) > 1 || layer.num_copies(y) > 1;
      if (!have_copies && layer.crossing_change(a, b) > -kLeastGain) continue;
      if (!may_swap(layer, a, b)) continue;
      const double value = judged_after(layer, crossing_weight, a, b);
      if (value > now - kLeastGain) continue;
      layer.swap(a, b);
      now = judged(layer, crossing_weight);
      helped = true;
    }
  }
  return helped;
}

/// Whom the positions `now` have no place for: copies, given to the experts of a node that has groups whole, else of
/// all, heaviest first to the least loaded rank with room that has none yet. Everybody else stays on the rank where
/// they are.
std::vector<std::int32_t> with_copies_added(const std::vector<std::int32_t>& now, std::span<const double> loads,
                                            const PlacementShape& shape) {
  const std::int64_t num_nodes = shape.num_groups > 1 ? shape.num_nodes : 1;
  const auto of_node = static_cast<std::int64_t>(now.size()) / num_nodes, held = std::ssize(now) / shape.num_ranks;
  const std::int64_t ranks_of_node = shape.num_ranks / num_nodes;
  std::vector<std::vector<std::int32_t>> ranks(static_cast<std::size_t>(shape.num_ranks));
  for (std::size_t at = 0; at < now.size(); ++at) ranks[at / static_cast<std::size_t>(held)].push_back(now[at]);
  for (std::int64_t node = 0; node < num_nodes; ++node) {
    const std::span experts =
        std::span(now).subspan(static_cast<std::size_t>(node * of_node), static_cast<std::size_t>(of_node));
    std::vector<double> of_experts;
    for (const std::int32_t expert : experts) of_experts.push_back(loads[static_cast<std::size_t>(expert)]);
    const std::vector<std::int64_t> copies = copies_of(of_experts, shape.num_positions / num_nodes);
    std::vector<double> each(loads.size(), 0.0);
    std::vector<std::int32_t> more;
    for (std::size_t i = 0; i < copies.size(); ++i) {
      each[static_cast<std::size_t>(experts[i])] = of_experts[i] / static_cast<double>(copies[i]);
      more.insert(more.end(), static_cast<std::size_t>(copies[i] - 1), experts[i]);
    }
    const auto of = [&](std::int32_t expert) { return each[static_cast<std::size_t>(expert)]; };
    std::stable_sort(more.begin(), more.end(), [&](std::int32_t a, std::int32_t b) { return of(a) > of(b); });
    const auto own = std::span(ranks).subspan(static_cast<std::size_t>(node * ranks_of_node),
                                              static_cast<std::size_t>(ranks_of_node));
    for (const std::int32_t expert : more) {
      const auto rated = [&](const std::vector<std::int32_t>& rank) {
        double load = 0.0;
        for (const std::int32_t held_there : rank) load += of(held_there);
        return std::tuple(std::ssize(rank) >= shape.per_rank(),
                          std::find(rank.begin(), rank.end(), expert) != rank.end(), load);
      };
      const auto least =
          std::min_element(own.begin(), own.end(), [&](const auto& a, const auto& b) { return rated(a) < rated(b); });
      least->push_back(expert);
    }
  }
  std::vector<std::int32_t> out;
  for (const std::vector<std::int32_t>& rank : ranks) out.insert(out.end(), rank.begin(), rank.end());
  return out;
}

}  // namespace

double judged(const PlacedLayer& layer, double crossing_weight) {
  return layer.fullest() + crossing_weight * layer.crossing();
}

void improve(PlacedLayer& layer, double crossing_weight) {
  do {
    while (relieve_fullest(layer, crossing_weight)) {
    }
  } while (keep_pairs_inside(layer, crossing_weight));
}

std::vector<std::int32_t> place_layer(const LayerLoad& load, const PlacementShape& shape, double crossing_weight,
                                      std::vector<std::int32_t> now) {
  std::vector<double> loads;
  for (std::int64_t expert = 0; expert < shape.num_experts; ++expert) loads.push_back(load.of(expert));
  if (now.empty()) {
    now.resize(static_cast<std::size_t>(shape.num_experts));
    std::iota(now.begin(), now.end(), 0);
  }
  PlacedLayer anew(load, shape, grouped_greedy(loads, shape));
  improve(anew, crossing_weight);
  const bool has_copies = shape.num_positions > shape.num_experts;
  PlacedLayer near(load, shape, has_copies ? with_copies_added(now, loads, shape) : now);
  const bool has_groups = shape.num_groups > 1;
  if (has_groups && near.most_nodes(shape.num_groups, 1, shape.num_experts) > 1) return anew.experts();
  const double unmoved = judged(near, crossing_weight);
  improve(near, crossing_weight);
  // Another start, another end. Of two that are as good the near one moves less.
  const bool is_near = judged(near, crossing_weight) <= judged(anew, crossing_weight) * (1.0 + kWorthMoving);
  const PlacedLayer& best = is_near ? near : anew;
  const bool helps = has_copies || judged(best, crossing_weight) < unmoved - kLeastGain;
  return helps ? best.experts() : now;
}

}  // namespace orrery::planner
