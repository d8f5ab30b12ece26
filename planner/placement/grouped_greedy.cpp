// SPDX-License-Identifier: Apache-2.0
#include "planner/placement/grouped_greedy.h"

#include "base/check.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace orrery::planner {
namespace {

std::vector<std::size_t> heaviest_first(std::span<const double> loads) {
  std::vector<std::size_t> order(loads.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return loads[a] > loads[b]; });
  return order;
}

/// Items bin by bin, in the order in which they went there.
std::vector<std::vector<std::size_t>> filled_bins(std::span<const double> loads, std::int64_t num_bins) {
  CHECK(num_bins >= 1 && loads.size() % static_cast<std::size_t>(num_bins) == 0, loads.size(), num_bins);
  const std::size_t room = loads.size() / static_cast<std::size_t>(num_bins);
  std::vector<std::vector<std::size_t>> bins(static_cast<std::size_t>(num_bins));
  if (room == 1) {  // each its own: nothing to balance
    for (std::size_t i = 0; i < loads.size(); ++i) bins[i] = {i};
    return bins;
  }
  std::vector<double> load(bins.size(), 0.0);
  for (const std::size_t item : heaviest_first(loads)) {
    std::size_t least = bins.size();
    for (std::size_t bin = 0; bin < bins.size(); ++bin) {
      if (bins[bin].size() < room && (least == bins.size() || load[bin] < load[least])) least = bin;
    }
    bins[least].push_back(item);
    load[least] += loads[item];
  }
  return bins;
}

/// The experts of a node, group by group as the groups came there.
std::vector<std::int32_t> experts_of_groups(std::span<const std::size_t> groups, std::int64_t size) {
  std::vector<std::int32_t> experts;
  for (const std::size_t group : groups) {
    for (std::int64_t i = 0; i < size; ++i) {
      experts.push_back(static_cast<std::int32_t>(static_cast<std::int64_t>(group) * size + i));
    }
  }
  return experts;
}

}  // namespace

std::vector<std::int64_t> pack(std::span<const double> loads, std::int64_t num_bins) {
  std::vector<std::int64_t> bin_of(loads.size());
  const auto bins = filled_bins(loads, num_bins);
  for (std::size_t bin = 0; bin < bins.size(); ++bin) {
    for (const std::size_t item : bins[bin]) bin_of[item] = static_cast<std::int64_t>(bin);
  }
  return bin_of;
}

std::vector<std::int64_t> copies_of(std::span<const double> loads, std::int64_t num_positions) {
  CHECK(std::cmp_greater_equal(num_positions, loads.size()), num_positions, loads.size());
  std::vector<std::int64_t> copies(loads.size(), 1);
  for (auto taken = static_cast<std::int64_t>(loads.size()); taken < num_positions; ++taken) {
    std::size_t most = 0;
    const auto each = [&](std::size_t expert) { return loads[expert] / static_cast<double>(copies[expert]); };
    for (std::size_t expert = 1; expert < loads.size(); ++expert) {
      if (each(expert) > each(most)) most = expert;
    }
    ++copies[most];
  }
  return copies;
}

std::vector<std::int32_t> grouped_greedy(std::span<const double> loads, const PlacementShape& shape) {
  CHECK(std::cmp_equal(loads.size(), shape.num_experts), loads.size(), shape.num_experts);
  CHECK(shape.num_ranks % shape.num_nodes == 0 && shape.num_positions % shape.num_ranks == 0, shape.num_ranks,
        shape.num_nodes, shape.num_positions);
  // Without groups there is one node for all: balancing ranks balances nodes.
  const std::int64_t num_nodes = shape.num_groups > 1 ? shape.num_nodes : 1;
  CHECK(shape.num_experts % shape.num_groups == 0 && shape.num_groups % num_nodes == 0, shape.num_experts,
        shape.num_groups, num_nodes);
  const std::int64_t group_size = shape.num_experts / shape.num_groups;
  std::vector<double> of_group(static_cast<std::size_t>(shape.num_groups), 0.0);
  for (std::size_t e = 0; e < loads.size(); ++e) of_group[e / static_cast<std::size_t>(group_size)] += loads[e];

  std::vector<std::int32_t> out;
  for (const std::vector<std::size_t>& groups : filled_bins(of_group, num_nodes)) {
    const std::vector<std::int32_t> experts = experts_of_groups(groups, group_size);
    std::vector<double> on_node;
    for (const std::int32_t expert : experts) on_node.push_back(loads[static_cast<std::size_t>(expert)]);
    const std::vector<std::int64_t> copies = copies_of(on_node, shape.num_positions / num_nodes);
    // First copies in the order of experts, then the others: of equal loads the first goes first.
    std::vector<std::size_t> replicas(experts.size());
    std::iota(replicas.begin(), replicas.end(), std::size_t{0});
    for (std::size_t e = 0; e < copies.size(); ++e)
      replicas.insert(replicas.end(), static_cast<std::size_t>(copies[e] - 1), e);
    std::vector<double> each;
    for (const std::size_t e : replicas) each.push_back(on_node[e] / static_cast<double>(copies[e]));
    for (const std::vector<std::size_t>& rank : filled_bins(each, shape.num_ranks / num_nodes)) {
      for (const std::size_t replica : rank) out.push_back(experts[replicas[replica]]);
    }
  }
  return out;
}

}  // namespace orrery::planner
