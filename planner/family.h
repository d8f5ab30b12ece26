// SPDX-License-Identifier: Apache-2.0
// A family: strategies that differ in nothing but how states are sharded, exchanged and offloaded and what is
// recomputed. Its stages, its schedule and its operators are given, so that times of slots and activations of ranks are
// looked up once and each member costs a few sums: memory of every rank and a lower bound of the step.
#pragma once

#include "base/units.h"
#include "costmodel/memory.h"
#include "planner/domains.h"
#include "planner/operator_table.h"
#include "program/arrivals.h"
#include "program/mesh.h"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace orrery::planner {

/// What all families of a search share.
struct FamilyContext {
  const Model& model;
  const Domains& domains;
  const BatchShape& batch;
  std::int64_t num_devices = 1;
  costmodel::MemoryModel memory_model;  // all but rho, which follows from the strategy
  const FullestShare& fullest_share;
  Bytes limit;  // of a device
  /// Where bounds take ranks to be: no placement may be more compact. Empty: rank r is on device r.
  std::span<const DeviceIndex> densest = {};
};

/// A member that fits.
struct Member {
  Strategy strategy;
  Seconds bound;            // of what is made least
  Bytes memory;             // of the fullest rank
  Seconds work_bound = {};  // of the bound, what is for time at work
};

struct FamilyCounts {
  std::int64_t pruned = 0;     // families with a bound above the cutoff, whose members are not looked at
  std::int64_t evaluated = 0;  // members that were looked at
  std::int64_t too_large = 0;  // of them, those that do not fit whatever they recompute
  Bytes smallest;              // what the smallest of those that do not fit needs at least; zero: all fit
  Strategy smallest_member;    // and itself

  FamilyCounts& operator+=(const FamilyCounts& other);
  void add_smallest(const FamilyCounts& other);
};

/// What of a sharding does nothing: that over one rank is none, and gradients of one rank go nowhere, in buckets or
/// not. There the first value of the domain stands for all.
struct IdleSharding {
  bool dense = false, expert = false, buckets = false;
};
IdleSharding idle_sharding(const Mesh& mesh);

/// Calls `keep` with each member of the family of `strategy` that fits and whose bound is below `cutoff`. Of each rank
/// the choice of recomputation is the fastest that fits, of those that leave the bound below `cutoff`.
/// Requires: violations(model, strategy, batch, num_devices) is empty.
FamilyCounts scan_family(const FamilyContext& context, const Strategy& strategy, OperatorTable& table,
                         const costmodel::CostModel& cost, Seconds cutoff, const std::function<void(Member)>& keep);

}  // namespace orrery::planner
