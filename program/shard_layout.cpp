// SPDX-License-Identifier: Apache-2.0
#include "program/shard_layout.h"

#include "base/check.h"

#include <algorithm>
#include <numeric>

namespace orrery {
namespace {

/// The owner of each weight that stays whole.
std::vector<std::size_t> owners_of(std::span<const CutWeight> weights, std::size_t num_ranks) {
  std::vector<std::size_t> order(weights.size()), owners(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return weights[a].size > weights[b].size; });
  std::vector<std::int64_t> dealt(num_ranks);
  for (const std::size_t i : order) {
    if (!weights[i].whole) continue;
    const auto least = std::min_element(dealt.begin(), dealt.end());
    owners[i] = static_cast<std::size_t>(least - dealt.begin());
    *least += weights[i].size;
  }
  return owners;
}

/// First what two stages hold, then norms that heads share, then what all TP ranks hold.
int cut_class(const LocalParameter& p) {
  if (p.shared_by_stages) return 0;
  if (p.whole.split != Split::none) return 3;
  return p.whole.role == WeightRole::q_norm || p.whole.role == WeightRole::k_norm ? 1 : 2;
}

}  // namespace

std::vector<std::int64_t> cut_order(std::span<const LocalParameter> parameters) {
  std::vector<std::int64_t> order(parameters.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return cut_class(parameters[static_cast<std::size_t>(a)]) < cut_class(parameters[static_cast<std::size_t>(b)]);
  });
  return order;
}

std::vector<CutWeight> cut_weights(std::span<const std::int64_t> order, std::span<const LocalParameter> parameters) {
  std::vector<CutWeight> weights;
  for (const std::int64_t i : order) {
    const LocalParameter& p = parameters[static_cast<std::size_t>(i)];
    weights.push_back({.size = p.size(), .whole = p.orthogonalised});
  }
  return weights;
}

ShardLayout::ShardLayout(std::span<const CutWeight> weights, std::int64_t num_ranks)
    : by_rank_(static_cast<std::size_t>(num_ranks)) {
  CHECK(num_ranks >= 1, num_ranks);
  const std::vector<std::size_t> owners = owners_of(weights, by_rank_.size());
  std::vector<std::int64_t> used(by_rank_.size());
  std::int64_t turn = 0;  // the rank that is next to get an element more
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::int64_t size = weights[i].size, rest = weights[i].whole ? 0 : size % num_ranks;
    std::int64_t begin = 0;
    for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
      const auto r = static_cast<std::size_t>(rank);
      const bool has_more = (rank - turn + num_ranks) % num_ranks < rest;
      std::int64_t count = size / num_ranks + (has_more ? 1 : 0);
      if (weights[i].whole) count = owners[i] == r ? size : 0;
      by_rank_[r].push_back(
          {.parameter = static_cast<std::int64_t>(i), .begin = begin, .count = count, .slot = used[r]});
      begin += count;
      used[r] += count;
    }
    turn = (turn + rest) % num_ranks;
  }
  const bool is_even = std::none_of(weights.begin(), weights.end(), [](const CutWeight& w) { return w.whole; });
  const std::int64_t largest = *std::max_element(used.begin(), used.end());
  sizes_ = is_even ? std::vector<std::int64_t>(used.size(), largest) : used;
  // All shards together are the padded buffer.
  const std::int64_t total = std::accumulate(sizes_.begin(), sizes_.end(), std::int64_t{0});
  sizes_.back() += (num_ranks - total % num_ranks) % num_ranks;
}

}  // namespace orrery
