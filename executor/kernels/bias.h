// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/matrix.h"

#include <cstdint>
#include <span>

// Biases of linear layers: a vector over the outputs is added to each row of a product; of the experts' layers, each
// expert's own to its rows, scaled by the row's probability where the bias stands behind that factor.

namespace orrery::executor {

/// y += bias, row by row, rounded once. bias: (1, y.cols).
void add_bias(ConstMatrix bias, Matrix y);
/// dbias += the sum of dy over its rows, ascending.
void bias_backward(ConstMatrix dy, std::span<float> dbias);

/// Rows offsets[i] .. offsets[i + 1] of y get row i of `biases` times the row's factor (empty: 1).
void add_grouped_bias(ConstMatrix biases, std::span<const std::int64_t> offsets, std::span<const float> factors,
                      Matrix y);
/// Adds to row i of dbiases the sum of factor * dy over the rows of expert i.
void grouped_bias_backward(ConstMatrix dy, std::span<const std::int64_t> offsets, std::span<const float> factors,
                           Matrix dbiases);

}  // namespace orrery::executor
