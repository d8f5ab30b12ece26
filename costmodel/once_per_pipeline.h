// SPDX-License-Identifier: Apache-2.0
// What the order of a schedule alone decides is found once for each pipeline and kept: a search asks of few pipelines,
// thousands of times.
#pragma once

#include "costmodel/pipeline_moments.h"

#include <cstdint>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <tuple>
#include <utility>
#include <vector>

namespace orrery::costmodel {

/// `find(strategy, num_micro_batches, rank)`, for all ranks of a pipeline at the first question for its (schedule,
/// pairs, ranks, chunks, micro-batches), by whichever thread. Long steps are cut. The reference holds as long as the
/// program.
template <auto find>
const auto& once_per_pipeline(const Strategy& strategy, std::int64_t num_micro_batches, std::int64_t rank) {
  using Key = std::tuple<Schedule, bool, std::int64_t, std::int64_t, std::int64_t>;
  using OfRanks = std::vector<decltype(find(strategy, num_micro_batches, rank))>;
  static std::map<Key, OfRanks> known;
  static std::shared_mutex mutex;
  const auto index = static_cast<std::size_t>(rank);
  const std::int64_t short_step = shortened_micro_batches(strategy, num_micro_batches);
  const Key key{strategy.schedule, strategy.overlap.ep_batch_level, strategy.pp, strategy.vpp, short_step};
  {
    const std::shared_lock lock(mutex);
    if (const auto found = known.find(key); found != known.end()) return found->second[index];
  }
  OfRanks of_ranks;
  for (std::int64_t r = 0; r < strategy.pp; ++r) of_ranks.push_back(find(strategy, short_step, r));
  const std::unique_lock lock(mutex);
  return known.try_emplace(key, std::move(of_ranks)).first->second[index];
}

}  // namespace orrery::costmodel
