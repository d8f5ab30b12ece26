// SPDX-License-Identifier: Apache-2.0
// What the order of a schedule alone decides is found once for each pipeline and kept: a search asks of few pipelines,
// thousands of times.
#pragma once

#include "costmodel/pipeline_moments.h"

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

namespace orrery::costmodel {

/// `find(strategy, num_micro_batches, rank)`, for all ranks of a pipeline at the first question of a thread for its
/// (schedule, pairs, ranks, chunks, micro-batches). Long steps are cut. The reference holds until the thread ends.
template <auto find>
const auto& once_per_pipeline(const Strategy& strategy, std::int64_t num_micro_batches, std::int64_t rank) {
  using Key = std::tuple<Schedule, bool, std::int64_t, std::int64_t, std::int64_t>;
  thread_local std::map<Key, std::vector<decltype(find(strategy, num_micro_batches, rank))>> known;
  const std::int64_t short_step = shortened_micro_batches(strategy, num_micro_batches);
  const auto [found, is_new] =
      known.try_emplace({strategy.schedule, strategy.overlap.ep_batch_level, strategy.pp, strategy.vpp, short_step});
  if (is_new) {
    for (std::int64_t r = 0; r < strategy.pp; ++r) found->second.push_back(find(strategy, short_step, r));
  }
  return found->second[static_cast<std::size_t>(rank)];
}

}  // namespace orrery::costmodel
