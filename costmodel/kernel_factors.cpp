// SPDX-License-Identifier: Apache-2.0
#include "costmodel/kernel_factors.h"

#include "costmodel/factored_shares.h"

#include <algorithm>
#include <cmath>

namespace orrery::costmodel {

KernelParameters with_knobs(KernelParameters numbers, const Knobs& knobs) {
  const auto factor = [&](Knob knob) { return std::exp(knobs[static_cast<std::size_t>(knob)]); };
  for (const auto& [knob, share] : kFactoredShares) numbers.*share = std::min(1.0, numbers.*share * factor(knob));
  numbers.kernel = numbers.kernel * factor(Knob::kernel);
  numbers.dispatch = numbers.dispatch * factor(Knob::dispatch);
  return numbers;
}

Knobs without_excess(const KernelParameters& numbers, Knobs knobs) {
  Knobs most;
  most.fill(0.0);  // of attention the share that can be raised more: with_knobs stops the other one
  for (const auto& [knob, share] : kFactoredShares) {
    double& log = most[static_cast<std::size_t>(knob)];
    log = std::max(log, -std::log(numbers.*share));
  }
  for (const auto& [knob, share] : kFactoredShares) {
    double& log = knobs[static_cast<std::size_t>(knob)];
    log = std::min(log, most[static_cast<std::size_t>(knob)]);
  }
  return knobs;
}

}  // namespace orrery::costmodel
