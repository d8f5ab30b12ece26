// SPDX-License-Identifier: Apache-2.0
// Fits the numbers of kernels and of the network to published step times: few numbers, each with a cause, and each held
// to what tables of kernels say by a prior, so that a handful of runs moves little. A number of a run is the product of
// the table's and of three factors: of the chip's family, of the device, of the training framework; a release of the
// software has one factor of its own on the whole step. Factors are fitted together over all runs, as logarithms, by
// least squares with a robust loss (docs/design/time-fit.md).
#pragma once

#include "costmodel/calibration.h"
#include "costmodel/validation/time_factors.h"
#include "costmodel/validation/time_run.h"

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace orrery::costmodel {

/// What is known of a run's device before any fit.
using DeviceOfRun = std::function<const KnownDevice&(const TimedRun& run)>;

Seconds predict(const TimedRun& run, const KnownDevice& device, const TimeFactors& factors);

/// What is held out together: one model on one GPU, whatever the release and the number of devices.
std::string cell_of(const TimedRun& run);

/// Predictions of all runs. Uses all cores; the result does not depend on their number.
std::vector<Seconds> predict_all(std::span<const TimedRun> runs, const DeviceOfRun& device_of,
                                 const TimeFactors& factors);

struct FittedTimes {
  TimeFactors factors;                   // of all runs, without intervals
  std::vector<Seconds> cross_validated;  // by run: with factors fitted without its cell
};

/// Complexity: a few times runs x knobs predictions.
FittedTimes fit_times(std::span<const TimedRun> runs, const DeviceOfRun& device_of);

}  // namespace orrery::costmodel
