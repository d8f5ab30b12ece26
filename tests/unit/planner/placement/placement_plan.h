// SPDX-License-Identifier: Apache-2.0
// A plan with experts over four ranks on two nodes, and routers that prefer some of them.
#pragma once

#include "tests/unit/planner/problem.h"

#include <memory>

namespace orrery::planner::testing {

/// Two pipeline ranks, so that layers 0 and 1 are on nodes 0 and 1, and layers 2 and 3 on nodes 2 and 3: four nodes of
/// two devices, EP 4.
inline Plan placement_plan() {
  Plan plan;
  plan.model = orrery::testing::small_moe();
  plan.cluster = orrery::testing::small_cluster(4, 2);
  plan.batch = {.seq = 64, .global_batch = 16};
  plan.strategy = orrery::testing::small_strategy(plan.model, 2, 4);
  plan.strategy.zero_dense = plan.strategy.zero_expert = 1;
  return plan;
}

/// The first two experts, which are on one rank, are preferred in every layer.
inline LoadModel skewed_load() {
  PopularityLoad load;
  for (const std::int64_t layer : {1, 2, 3}) load.layers[layer] = {9, 7, 1, 2, 2, 1, 1, 1};
  return std::make_shared<const PopularityLoad>(std::move(load));
}

}  // namespace orrery::planner::testing
