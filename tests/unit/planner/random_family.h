// SPDX-License-Identifier: Apache-2.0
// What tests of bounds make of a random strategy: the strategy without what a family chooses itself, and the space of
// these choices around it.
#pragma once

#include "planner/domains.h"
#include "program/strategy.h"

#include <limits>
#include <vector>

namespace orrery::testing {

constexpr Seconds kNoCutoff = Seconds::from_si(std::numeric_limits<double>::infinity());

/// The drawn strategy, without sharding, offload, buckets and recomputation.
inline Strategy bare(Strategy s) {
  for (StageLayout& stage : s.stages) {
    stage.recompute.clear();
    stage.num_recompute_layers.reset();
  }
  s.zero_dense = s.zero_expert = 0;
  s.num_optimizer_instances = 1;
  s.offload_activations = s.offload_optimizer = s.overlap.dp_buckets = false;
  return s;
}

/// Every sharding, by up to four instances, offload and use of buckets; recomputation is left to the test.
inline planner::Domains shardings_around(const Model& model, const Strategy& strategy) {
  planner::Domains d;
  d.zero_dense = strategy.optimizer == OptimizerKind::muon ? std::vector<int>{0, 1} : std::vector<int>{0, 1, 2, 3};
  d.zero_expert = model.moe ? d.zero_dense : std::vector<int>{0};
  d.offload_optimizer = d.offload_activations = d.dp_buckets = {0, 1};
  d.num_optimizer_instances = {1, 2, 4};
  return d;
}

}  // namespace orrery::testing
