// SPDX-License-Identifier: Apache-2.0
// Which numbers of kernels are shares of what the hardware gives: a factor of training may lower them or raise them up
// to all of it, and a file that says more is wrong.
#pragma once

#include "costmodel/kernel_factors.h"

#include <array>

namespace orrery::costmodel {

struct FactoredShare {
  Knob knob;
  double KernelParameters::* share;
};

inline constexpr std::array<FactoredShare, 7> kFactoredShares = {
    {{Knob::matmul, &KernelParameters::matmul},
     {Knob::matmul_fp8, &KernelParameters::matmul_fp8},
     {Knob::grouped, &KernelParameters::grouped},
     {Knob::attention, &KernelParameters::attention_forward},
     {Knob::attention, &KernelParameters::attention_backward},
     {Knob::memory, &KernelParameters::memory},
     {Knob::network, &KernelParameters::network}}};

/// `knobs` without what with_knobs drops, because it would take a share of `numbers` above one.
Knobs without_excess(const KernelParameters& numbers, Knobs knobs);

}  // namespace orrery::costmodel
