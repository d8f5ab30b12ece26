// SPDX-License-Identifier: Apache-2.0
// The part of orrery validate that is about kernels: a calibration's own points.
#pragma once

#include "cli/report.h"
#include "costmodel/calibration.h"
#include "costmodel/validation/run_plan.h"

namespace orrery::cli {

/// Throws: ConfigError if the calibration states no `kernels`, has no points, or names a device of which we do not know
/// the peaks.
Report kernel_report(const costmodel::Calibration& calibration, const costmodel::DeviceLookup& device_of);

}  // namespace orrery::cli
