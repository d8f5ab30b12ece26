// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/matrix.h"

#include <span>

// RMSNorm: y = x / sqrt(mean(x^2) + epsilon) * gamma, row by row, statistics in f32.
// Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019), eq. 4. The backward computes the row
// statistic again from x, so the forward saves nothing.

namespace orrery::executor {

/// x, y: (rows, hidden); gamma: (1, hidden), same element type.
void rms_norm_forward(ConstMatrix x, ConstMatrix gamma, float epsilon, Matrix y);

/// Writes dx and adds to dgamma (f32, hidden), rows in ascending order.
void rms_norm_backward(ConstMatrix x, ConstMatrix gamma, float epsilon, ConstMatrix dy, Matrix dx,
                       std::span<float> dgamma);

}  // namespace orrery::executor
