// SPDX-License-Identifier: Apache-2.0
// Plans that a search has kept, with stages laid by dynamic programming as well. Layouts of families do not know
// memory, and what a rank may take depends on how states are sharded; so plans are laid one by one, and only those
// that came far enough.
#pragma once

#include "planner/family.h"
#include "planner/worker_costs.h"

#include <cstdint>
#include <span>
#include <vector>

namespace orrery::planner {

struct LaidMembers {
  std::vector<Member> members;       // of those laid anew, in the order of the plans; without bounds of the step
  std::int64_t num_laid = 0;         // plans with a pipeline that differ in more than their stages
  std::int64_t num_approximate = 0;  // of them, those with several stages on a rank
};

/// Of `plans` that differ in their stages alone, one with the stages of least bottleneck, unless one of them is as
/// good: its longest stage takes as little, and all together. The same with any number of threads. `costs`:
/// what each of num_workers() threads asks.
LaidMembers lay_anew(const FamilyContext& context, std::span<const Member* const> plans, std::span<WorkerCosts> costs);

}  // namespace orrery::planner
