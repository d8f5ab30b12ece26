// SPDX-License-Identifier: Apache-2.0
#include "planner/objective.h"

#include "base/enum_names.h"
#include "base/errors.h"

#include <algorithm>

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

Objective objective_of(std::string_view text, std::string_view option) {
  for (const auto& [name, objective] : kNames) {
    if (name == text) return objective;
  }
  throw ConfigError(fmt::format("{}: expected one of time, energy, cost, carbon, memory, got \"{}\"", option, text));
}

Seconds StepWeights::of_work(const Activities& active) const {
  return std::min(active.products * products + active.streaming * streaming + active.communication * communication,
                  active.all() * limit);
}

StepWeights weights_of(Objective objective, const std::optional<costmodel::PowerModel>& power) {
  if (objective == Objective::time || objective == Objective::cost) return {};
  if (!power) {
    throw ConfigError(
        fmt::format("{}: expected the power of a device, in the calibration or as its limit", name_of(objective)));
  }
  const Watts least = std::min({power->products, power->streaming, power->communication, power->limit});
  if (least < power->waiting) {
    throw ConfigError(
        fmt::format("{}: expected a device to draw at least as much while it works as while it waits, got "
                    "{} W and {} W",
                    name_of(objective), least.in(unit::watt), power->waiting.in(unit::watt)));
  }
  const auto on_top = [&](Watts watts) { return (watts - power->waiting) / power->limit; };
  return {.time = power->waiting / power->limit,
          .products = on_top(power->products),
          .streaming = on_top(power->streaming),
          .communication = on_top(power->communication),
          .limit = on_top(power->limit)};
}

}  // namespace orrery::planner
