// SPDX-License-Identifier: Apache-2.0
// Plans whose devices hold a given part of what they need.
#pragma once

#include "costmodel/memory.h"
#include "program/mesh.h"
#include "program/plan.h"
#include "tests/conformance/programs.h"
#include "tests/unit/program/small_models.h"

namespace orrery::testing {

inline Bytes memory_of(const Plan& plan, const Strategy& strategy) {
  return costmodel::fullest(costmodel::memory_per_stage(plan.model, strategy, plan.batch,
                                                        Mesh(strategy, plan.num_ranks()),
                                                        costmodel::MemoryModel::of(plan.cluster.groups[0].device)));
}

/// GPipe over two stages with micro-batches of 4 on four CPU ranks, which have no reserve: all memory is the plan's.
/// They hold `fraction` of what it needs.
inline Plan plan_that_needs(double fraction, std::int64_t num_nodes = 1) {
  Plan plan;
  plan.model = small_moe();
  plan.cluster = small_cluster(num_nodes, 4);
  plan.cluster.groups[0].device.kind = DeviceKind::cpu;
  plan.batch = {.seq = 256, .global_batch = 64};
  plan.strategy = small_strategy(plan.model, 2);
  plan.strategy.micro_batch = 4;
  plan.strategy.schedule = Schedule::gpipe;
  plan.cluster.groups[0].device.memory = memory_of(plan, plan.strategy) * fraction;
  return plan;
}

}  // namespace orrery::testing
