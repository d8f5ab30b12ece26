// SPDX-License-Identifier: Apache-2.0
// Kernels that more than one measurement launches.
#pragma once

#include "measurements.h"

namespace gpu_points {

/// Keeps the timer's stream waiting for about so long, on one thread.
void pause_for(Bench& bench, double seconds);

/// Copies `bytes` of bf16 operands to results on the timer's stream, so that twice as many move.
void copy_between(Bench& bench, std::int64_t bytes);

}  // namespace gpu_points
