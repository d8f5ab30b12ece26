// SPDX-License-Identifier: Apache-2.0
// The first half of a search: from domains to the strategies that may be the fastest, with what could not be looked at.
#pragma once

#include "planner/pipeline_scan.h"
#include "planner/search.h"
#include "planner/worker_costs.h"

#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace orrery::planner {

struct Candidates {
  std::vector<Member> members;  // by bound, then in the order of the space
  std::vector<Member> plain;    // the best of a small part of the space, whose bounds are near the truth
  FamilyCounts counts;
  std::int64_t num_operators = 0, num_illegal_operators = 0, num_pruned_operators = 0;
  std::int64_t num_families = 0, num_illegal_families = 0;
  std::int64_t num_unreached_operators = 0;  // for which there was no room or time
  std::optional<Seconds> least_unseen;       // smallest bound of those, and of members that there was no room for
};

/// Measures members: the time of a step, or what else is made least, which others must be able to beat; nothing for
/// those behind the first that there is no time for. Whoever measures keeps them.
using Measure = std::function<std::vector<std::optional<Seconds>>(std::span<const Member* const>)>;

/// How far a scan goes.
struct ScanLimits {
  /// Members with bounds up to so much above the least time are kept as well, relative; for searches whose bounds prove
  /// nothing.
  double slack = 0.0;
  std::size_t room = 0;            // members that are kept
  std::int64_t most_families = 0;  // no further choices are scanned once members of so many were looked at
  std::int64_t num_seeds = 0;      // members of the plain part that are measured first
  std::optional<Seconds> to_beat = {};
  StepWeights weights = {};  // of what is made least: all bounds are of that
};

/// Scans the choices of operators from the smallest bound on, and stops when no bound is below the least time that
/// `measure` has found, or the one to beat. `costs`: what each of num_workers() threads asks.
Candidates find_candidates(const FamilyContext& context, std::span<WorkerCosts> costs, const Measure& measure,
                           const ScanLimits& limits, const std::function<bool()>& out_of_time,
                           const std::function<void(const Progress&)>& on_progress);

}  // namespace orrery::planner
