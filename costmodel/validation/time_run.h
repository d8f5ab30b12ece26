// SPDX-License-Identifier: Apache-2.0
// A published run made ready to be timed: its program is lowered once and can then be asked for its step time under any
// calibration, which is what a fit does many times.
#pragma once

#include "costmodel/calibration.h"
#include "costmodel/measured_kernels.h"
#include "costmodel/validation/run_plan.h"
#include "program/step_program.h"

#include <memory>
#include <optional>
#include <string>
#include <variant>

namespace orrery::costmodel {

struct TimedRun {
  const PublishedRun* run = nullptr;
  RunPlan plan;
  Cluster cluster;
  std::shared_ptr<const StepProgram> program;
  Seconds measured;
  /// Collectives whose rate was measured inside the same job: they take the place of a calibration's.
  std::vector<CollectiveFit> links;
};

/// Why not: what plan_of says, no measured step, a device that is not in the catalog, or a plan that breaks a rule.
std::variant<TimedRun, NotModelled> timed_run(const RunsFile& file, const PublishedRun& run,
                                              const DeviceLookup& device_of);

/// What is known of a device before any fit, made ready for many predictions.
struct KnownDevice {
  /// Takes the points out of `calibration`: they are kept as curves.
  KnownDevice(Calibration calibration, const Device& device);

  Calibration numbers;
  std::shared_ptr<const MeasuredKernels> measured;
  bool has_unknown_kernels = false;  // no point of products, or none of attention
};

/// Predicted step time, with factors on the device's numbers; by the analytic interpreter with a balanced router.
Seconds predict(const TimedRun& run, const KnownDevice& device, const Knobs& knobs);

}  // namespace orrery::costmodel
