// SPDX-License-Identifier: Apache-2.0
// The tables of `orrery explain`: where a step goes, what binds it, what each number of the machine is worth, what
// tells two plans apart, and what a single change gains. Every number is defined in docs/metrics.md.
#pragma once

#include "cli/intervals.h"
#include "cli/report.h"
#include "planner/explain/difference.h"
#include "planner/explain/single_changes.h"
#include "planner/explain/step_timer.h"
#include "program/plan.h"

#include <filesystem>
#include <string>
#include <vector>

namespace orrery::cli {

/// Parts of the step in both accounts.
void add_time_parts(Report& report, const Trace& trace);

/// Memory of the two fullest ranks, and how many are over the limit. `catalog`: what it knows of errors of memory.
void add_memory_limit(Report& report, const Plan& plan, const std::filesystem::path& catalog);

/// Change of the step time for 10 % more of each resource, and the one of which the step depends most.
void add_sensitivity(Report& report, const Plan& plan, const planner::StepTimer& timer, Seconds step);

/// What each choice in which `other` differs is worth; combinations one by one, in a text (not `json`) where they are
/// few.
void add_difference(Report& report, const Plan& plan, const Strategy& other, const planner::StepTimer& timer,
                    const Intervals& intervals, bool json);

/// The `num_rows` best of `changes` of a plan, the fastest first. `intervals`: with the ops that the plan extrapolates,
/// for machines.
void add_single_changes(Report& report, const std::vector<planner::SingleChange>& changes, Seconds step,
                        std::size_t num_rows, const Intervals& intervals, const std::vector<std::string>& extrapolated);

}  // namespace orrery::cli
