// SPDX-License-Identifier: Apache-2.0
// Times collectives by themselves, over a range of sizes that no single model has, and messages between two ranks,
// which training overlaps with everything else.
#pragma once

#include "base/units.h"
#include "executor/calibration/rank_samples.h"
#include "executor/comm/clock.h"
#include "executor/comm/endpoint.h"

#include <functional>
#include <vector>

namespace orrery::executor {

/// How the groups of one kind lie: every `stride`-th rank, `size` of them. A mesh has groups of neighbours (TP) and of
/// ranks that are as far apart as the dimensions inside are large (CP, EP, DP, copies of a head).
struct GroupShape {
  int size = 2, stride = 1;
  friend bool operator==(const GroupShape&, const GroupShape&) = default;
};

/// Every shape that a layout can have: size times stride divides the ranks. Sizes ascend, then strides.
std::vector<GroupShape> group_shapes(int num_ranks);

/// The ranks of the group of `rank`, in ascending order.
std::vector<int> members_of(const GroupShape& shape, int rank);

/// What says how much of the time is spent; collectives themselves are timed by the clock of all ranks.
using BudgetClock = std::function<Instant()>;

/// All group shapes, in groups that all work at the same time; sizes from 32 bytes up to 64 MiB, each four times the
/// one before, the large ones only while there is time: for as long as the next one would end within `max_time` by the
/// clock of rank 0 if it took four times as long as the last one. Requires: all ranks of the endpoint's segment call
/// it, and no other groups were made.
RankSamples time_collectives(Endpoint& endpoint, Seconds max_time, const BudgetClock& clock = now);

}  // namespace orrery::executor
