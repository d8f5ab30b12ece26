// SPDX-License-Identifier: Apache-2.0
// The glue of calibration: the executor measures, the cost model fits, and neither knows the other. For `calibrate`
// and `demo`.
#pragma once

#include "base/units.h"
#include "cli/report.h"
#include "costmodel/calibration.h"
#include "executor/bootstrap/job.h"
#include "executor/calibration/probe.h"
#include "program/plan.h"
#include "traces/measurements.h"

#include <cstdint>
#include <filesystem>
#include <vector>

namespace orrery::cli {

struct MachineCalibration {
  costmodel::Calibration calibration;
  Cluster cluster;
};

/// The interval of predicted steps, by runs of probes that the points have not seen (`steps` of the measurements, by
/// number in `probes`), beside these residuals. Steps of balanced routers: that of uneven ones is known to who gives a
/// load.
void add_step_residuals(MachineCalibration& machine, const std::vector<executor::Probe>& probes,
                        const std::vector<StepMeasurement>& steps);

/// Measures this machine with `num_ranks` CPU ranks for about `max_time`: the shapes that plans of `model` have, then
/// general ones. Progress goes to stderr. Throws: BackendError if ranks cannot be started or fail.
/// `job`: of the processes that share the ranks; its probes run on the ranks of this host, and only process 0 gets
/// measurements.
MachineCalibration calibrate_this_machine(const Source& source, const Model& model, const BatchShape& batch,
                                          DType precision, std::int64_t num_ranks, Seconds max_time,
                                          executor::Job* job = nullptr);

/// What was measured, and under which conditions.
Report calibration_report(const MachineCalibration& machine);

/// Writes calibration/1 and cluster/1. Throws: BackendError if one cannot be written.
void write_calibration(const MachineCalibration& machine, const std::filesystem::path& calibration,
                       const std::filesystem::path& cluster);

}  // namespace orrery::cli
