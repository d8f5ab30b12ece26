// SPDX-License-Identifier: Apache-2.0
// What a search makes least. On given devices, price is time, and carbon is energy; energy is, by device and but for
// factors that every plan shares (docs/design/power.md), with powers above that of waiting,
//     waiting power x step time + least of (sum over kinds of work: power x time) and (limit x time of all of them).
// It never falls when the step time or the time of some work grows. These have lower bounds, so that the same
// expression of the bounds is one of the energy.
#pragma once

#include "base/units.h"
#include "costmodel/power.h"
#include "traces/activities.h"

#include <optional>
#include <string_view>

namespace orrery::planner {

enum class Objective : std::uint8_t { time, energy, cost, carbon, memory };

/// Throws: ConfigError that names the objectives, and `option`, where the text stands.
Objective objective_of(std::string_view text, std::string_view option = "--objective");
std::string_view name_of(Objective objective);

/// What a second of a step counts, and what a second of each kind of work in it counts on top; of all work together, at
/// most `limit` a second. Requires: none is negative, and one of those of time and work is above 0.
struct StepWeights {
  double time = 1.0, products = 0.0, streaming = 0.0, communication = 0.0, limit = 0.0;

  bool counts_work() const { return products > 0.0 || streaming > 0.0 || communication > 0.0; }
  Seconds of_work(const Activities& active) const;
  Seconds of(Seconds step, const Activities& active) const { return step * time + of_work(active); }
  bool operator==(const StepWeights&) const = default;
};

/// Of an objective but memory, in seconds of a device at its limit. `power`: none where nobody states it.
/// Throws: ConfigError: it is needed and not known, or more while it waits than while it works.
StepWeights weights_of(Objective objective, const std::optional<costmodel::PowerModel>& power);

}  // namespace orrery::planner
