// SPDX-License-Identifier: Apache-2.0
#include "planner/objective.h"

#include "base/enum_names.h"
#include "base/errors.h"

#include <fmt/format.h>

namespace orrery::planner {
namespace {

constexpr Named<Objective> kNames[] = {{"time", Objective::time},
                                       {"energy", Objective::energy},
                                       {"cost", Objective::cost},
                                       {"carbon", Objective::carbon},
                                       {"memory", Objective::memory}};

}  // namespace

std::string_view name_of(Objective objective) { return name_of(kNames, objective); }

Objective objective_of(std::string_view text) {
  for (const auto& [name, objective] : kNames) {
    if (name == text) return objective;
  }
  throw ConfigError(fmt::format("--objective: expected one of time, energy, cost, carbon, memory, got \"{}\"", text));
}

StepWeights weights_of(Objective objective, const std::optional<costmodel::PowerModel>& power) {
  if (objective == Objective::time || objective == Objective::cost) return {};
  if (!power) {
    throw ConfigError(
        fmt::format("{}: expected the power of a device, in the calibration or as its limit", name_of(objective)));
  }
  if (power->busy < power->waiting) {
    throw ConfigError(
        fmt::format("{}: expected a device to draw at least as much while it works as while it waits, got "
                    "{} W and {} W",
                    name_of(objective), power->busy.in(unit::watt), power->waiting.in(unit::watt)));
  }
  const double waiting = power->waiting / power->busy;
  return {.time = waiting, .work = 1.0 - waiting};
}

}  // namespace orrery::planner
