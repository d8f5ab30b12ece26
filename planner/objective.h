// SPDX-License-Identifier: Apache-2.0
// What a search makes least. On given devices, price is time, and carbon is energy; energy is, by device and but for
// factors that every plan shares (docs/design/power.md),
//     waiting power x step time + (busy power - waiting power) x time at work,
// so that each of them is a sum of the step time and the mean time at work of a compute queue, with weights. Both have
// lower bounds, and the weights are not negative, so the weighted sum of the bounds is one of the sum.
#pragma once

#include "base/units.h"
#include "costmodel/power.h"

#include <optional>
#include <string_view>

namespace orrery::planner {

enum class Objective : std::uint8_t { time, energy, cost, carbon, memory };

/// Throws: ConfigError that names the objectives.
Objective objective_of(std::string_view text);
std::string_view name_of(Objective objective);

/// What a second of a step and a second at work count. Requires: neither is negative, and their sum is above 0.
struct StepWeights {
  double time = 1.0, work = 0.0;

  bool counts_work() const { return work > 0.0; }
  Seconds of(Seconds step, Seconds at_work) const { return step * time + at_work * work; }
  bool operator==(const StepWeights&) const = default;
};

/// Of an objective but memory, in seconds of a busy device. `power`: none where nobody states it.
/// Throws: ConfigError: it is needed and not known, or more while it waits than while it works.
StepWeights weights_of(Objective objective, const std::optional<costmodel::PowerModel>& power);

}  // namespace orrery::planner
