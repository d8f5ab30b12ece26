// SPDX-License-Identifier: Apache-2.0
// A plan put to the test: predicted by both interpreters before it runs, then trained, then compared op by op.
#pragma once

#include "cli/inputs.h"
#include "cli/report.h"
#include "executor/runtime/settings.h"
#include "program/plan.h"
#include "traces/trace.h"

#include <filesystem>
#include <string>

namespace orrery::cli {

struct Trial {
  std::string title;
  Plan plan;
  Trace analytic, simulated, measured;
  Trace afterwards;  // analytic again, with the routing that the execution recorded; no steps where it was balanced
};

/// Predicts and trains `plan`, the file at `path`; leaves the three traces beside it. With balanced routing the run
/// makes the assumption of the prediction true; without, the model's own router decides.
/// Throws: what the interpreters throw; BackendError if a trace cannot be written.
Trial run_trial(const std::string& title, const Plan& plan, const Loaded<costmodel::Calibration>& calibration,
                const std::filesystem::path& path, const executor::TrainingSettings& settings);

/// Predicted beside measured: step time, rate, utilisation, memory, energy, loss.
Report trial_report(const Trial& trial);

/// Error of each op class, the classes that take longest first.
Report op_errors_report(const Trial& trial);

}  // namespace orrery::cli
