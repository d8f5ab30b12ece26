// SPDX-License-Identifier: Apache-2.0
// A plan run on CPU ranks, and what is reported of it; for `execute` and `demo`.
#pragma once

#include "cli/report.h"
#include "executor/bootstrap/job.h"
#include "executor/runtime/settings.h"
#include "program/plan.h"
#include "traces/trace.h"

#include <string>

namespace orrery::cli {

/// Trains on the ranks of `plan`, or, with a job, on the share of this process; then the trace is at process 0, and
/// elsewhere it has no steps.
/// Throws: BackendError if orrery-rank is missing, cannot run this plan, or a rank fails.
Trace execute_plan(const Plan& plan, const executor::TrainingSettings& settings, const std::string& plan_name,
                   executor::Job* job = nullptr);

/// Loss of each step, then the median step.
Report execution_report(const Plan& plan, const Trace& trace);

}  // namespace orrery::cli
