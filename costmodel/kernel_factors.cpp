// SPDX-License-Identifier: Apache-2.0
#include "costmodel/kernel_factors.h"

#include <algorithm>
#include <cmath>

namespace orrery::costmodel {

KernelParameters with_knobs(KernelParameters numbers, const Knobs& knobs) {
  const auto factor = [&](Knob knob) { return std::exp(knobs[static_cast<std::size_t>(knob)]); };
  const auto multiply = [&](double& fraction, Knob knob) { fraction = std::min(1.0, fraction * factor(knob)); };
  multiply(numbers.matmul, Knob::matmul);
  multiply(numbers.matmul_fp8, Knob::matmul_fp8);
  multiply(numbers.grouped, Knob::grouped);
  multiply(numbers.attention_forward, Knob::attention);
  multiply(numbers.attention_backward, Knob::attention);
  multiply(numbers.memory, Knob::memory);
  multiply(numbers.network, Knob::network);
  numbers.kernel = numbers.kernel * factor(Knob::kernel);
  numbers.dispatch = numbers.dispatch * factor(Knob::dispatch);
  return numbers;
}

}  // namespace orrery::costmodel
