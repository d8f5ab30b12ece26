// SPDX-License-Identifier: Apache-2.0
// A plan run on CPU ranks, and what is reported of it; for `execute` and `demo`.
#pragma once

#include "cli/report.h"
#include "executor/bootstrap/job.h"
#include "executor/runtime/run_log.h"
#include "executor/runtime/settings.h"
#include "program/plan.h"
#include "traces/trace.h"

#include <span>
#include <string>

namespace orrery::cli {

/// Trains on the ranks of `plan`, or, with a job, on the share of this process; then the trace is at process 0, and
/// elsewhere it has no steps. Not `complete`: with as much as a report needs. `log`, if any, is filled while it goes
/// on. Requires: check_executable. Throws: BackendError if orrery-rank is missing; RanksFailed if a rank dies or fails.
Trace execute_plan(const Plan& plan, const executor::TrainingSettings& settings, const std::string& plan_name,
                   bool complete, executor::Job* job = nullptr, executor::RunLog* log = nullptr);

/// Loss of each step, then the median step. `steps`: those of the trace, behind any that were trained before it.
Report execution_report(const Plan& plan, const Trace& trace, std::span<const StepRecord> steps);

}  // namespace orrery::cli
