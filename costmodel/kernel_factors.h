// SPDX-License-Identifier: Apache-2.0
// Factors on the numbers of kernels: what a training step on this device with this framework makes of what tables of
// kernels say. They hold for measured points too. Found by validation/time_fit.h on published runs, or stated by a
// calibration.
#pragma once

#include "costmodel/kernel_model.h"

#include <array>
#include <cstddef>
#include <string_view>

namespace orrery::costmodel {

/// What has a factor.
enum class Knob : std::size_t { matmul, matmul_fp8, grouped, attention, memory, kernel, dispatch, network };
inline constexpr std::size_t kNumKnobs = static_cast<std::size_t>(Knob::network) + 1;
inline constexpr std::array<std::string_view, kNumKnobs> kKnobNames = {"matmul", "matmul_fp8", "grouped",  "attention",
                                                                       "memory", "kernel",     "dispatch", "network"};

/// Logarithms of factors.
using Knobs = std::array<double, kNumKnobs>;

/// `numbers` multiplied; fractions stay at most one.
KernelParameters with_knobs(KernelParameters numbers, const Knobs& knobs);

}  // namespace orrery::costmodel
