// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/shard_layout.h"

#include "base/check.h"

#include <algorithm>

namespace orrery::executor {

ShardLayout::ShardLayout(std::span<const std::int64_t> sizes, std::int64_t num_ranks)
    : by_rank_(static_cast<std::size_t>(num_ranks)) {
  CHECK(num_ranks >= 1, num_ranks);
  std::vector<std::int64_t> used(by_rank_.size());
  std::int64_t turn = 0;  // the rank that is next to get an element more
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::int64_t rest = sizes[i] % num_ranks;
    std::int64_t begin = 0;
    for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
      const bool has_more = (rank - turn + num_ranks) % num_ranks < rest;
      const std::int64_t count = sizes[i] / num_ranks + (has_more ? 1 : 0);
      std::int64_t& slot = used[static_cast<std::size_t>(rank)];
      by_rank_[static_cast<std::size_t>(rank)].push_back(
          {.parameter = static_cast<std::int64_t>(i), .begin = begin, .count = count, .slot = slot});
      begin += count;
      slot += count;
    }
    turn = (turn + rest) % num_ranks;
  }
  shard_ = *std::max_element(used.begin(), used.end());
}

}  // namespace orrery::executor
