// SPDX-License-Identifier: Apache-2.0
#include "planner/placement/layer_load.h"

#include "base/check.h"
#include "base/errors.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

void add(LayerLoad& sum, const RoutingMatrix& routing, std::span<const std::int64_t> node_of_rank) {
  CHECK(std::cmp_equal(node_of_rank.size(), routing.group) && routing.num_experts == sum.num_experts, routing.group,
        routing.num_experts);
  for (std::int64_t source = 0; source < routing.group; ++source) {
    const std::int64_t node = node_of_rank[static_cast<std::size_t>(source)];
    for (std::int64_t expert = 0; expert < sum.num_experts; ++expert) {
      sum.pairs[static_cast<std::size_t>(node * sum.num_experts + expert)] += routing.at(source, expert);
    }
  }
}

}  // namespace

double LayerLoad::of(std::int64_t expert) const {
  double sum = 0.0;
  for (std::int64_t node = 0; node < num_nodes; ++node) sum += at(node, expert);
  return sum;
}

double LayerLoad::total() const { return std::accumulate(pairs.begin(), pairs.end(), 0.0); }

LayerLoad layer_load(const LoadModel& load, std::int64_t layer, std::int64_t num_experts,
                     std::span<const std::int64_t> node_of_rank) {
  constexpr std::int64_t kPairs = std::int64_t{1} << 30;  // so many that whole pairs round nothing
  LayerLoad out{.num_nodes = *std::max_element(node_of_rank.begin(), node_of_rank.end()) + 1,
                .num_experts = num_experts};
  out.pairs.assign(static_cast<std::size_t>(out.num_nodes * num_experts), 0.0);
  const auto* recorded = std::get_if<std::shared_ptr<const RecordedLoad>>(&load);
  if (recorded == nullptr) {
    add(out,
        routing(load, {.layer = layer,
                       .group = static_cast<std::int64_t>(node_of_rank.size()),
                       .num_experts = num_experts,
                       .pairs_per_rank = kPairs}),
        node_of_rank);
    return out;
  }
  for (const auto& [place, matrix] : (*recorded)->matrices) {
    if (std::get<0>(place) == layer) add(out, matrix, node_of_rank);
  }
  if (out.total() == 0.0) throw ConfigError(fmt::format("recorded load: layer {}: expected pairs, got none", layer));
  return out;
}

}  // namespace orrery::planner
