// SPDX-License-Identifier: Apache-2.0
// How well the form of kernel_model.h and the table of a calibration tell the time of a kernel: each point by the form
// alone, and by the form corrected by all other points (docs/design/operators.md). And the form's numbers, fitted to
// the points by least squares (docs/design/kernels.md).
#pragma once

#include "costmodel/calibration.h"
#include "costmodel/kernel_model.h"
#include "program/cluster.h"

#include <cstddef>
#include <string>
#include <vector>

namespace orrery::costmodel {

/// Errors of predicted over measured times.
struct KernelErrors {
  double median = 0.0, ninth_decile = 0.0;  // absolute
  double bias = 0.0;                        // median of signed errors
  double worst = 0.0;                       // signed
};

/// The points of one op, pass and type.
struct KernelScore {
  std::string op;
  Pass pass = Pass::fwd;
  DType dtype = DType::bf16;
  std::size_t num_points = 0;
  KernelErrors form, left_out;  // left_out: each point with all others in the table
};

/// Requires: the calibration states `kernels` and the device knows the peaks of the points' types.
/// Complexity: the square of the points of one op, pass and type.
std::vector<KernelScore> score_kernels(const Calibration& calibration, const Device& device);

/// The same as a calibration keeps it.
std::vector<KernelResidual> residuals_of(const std::vector<KernelScore>& scores);

/// The calibration's numbers, moved to where the form is nearest to the points: Gauss-Newton on log(form / measured)
/// with Huber weights above 15 %. Numbers that no point tells stay. Requires: as above.
KernelParameters fit_kernels(const Calibration& calibration, const Device& device);

}  // namespace orrery::costmodel
