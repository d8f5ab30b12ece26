// SPDX-License-Identifier: Apache-2.0
// What a step takes in energy, money and carbon. A device draws by what it does (traces/activities.h): each kind of
// work at the full clock, and all of them together no more than the limit, to which the clock of products gives way.
// Formulas, sources and how near it comes: docs/design/power.md.
#pragma once

#include "base/units.h"
#include "costmodel/calibration.h"
#include "program/cluster.h"
#include "traces/activities.h"

#include <cstdint>
#include <optional>

namespace orrery::costmodel {

/// What a device draws. Only products may draw more than the limit, for a moment.
struct PowerModel {
  Watts products, streaming, communication, waiting, limit;
  bool assumed = false;  // a share of the device's limit stands in for what was not measured
};

/// Of the limit, where nothing was measured: means of what an H100 and an H200 draw (docs/design/power.md).
inline constexpr double kProductsOfLimit = 1.37, kStreamingOfLimit = 0.62, kCommunicationOfLimit = 0.31,
                        kWaitingOfLimit = 0.20;

/// From the calibration, else from shares of the device's power limit; nothing if that is unknown, too.
std::optional<PowerModel> power_of(const Device& device, const Calibration& calibration);

/// Joules of a device in a step, by what it does.
struct EnergyParts {
  Joules products, streaming, communication, waiting;

  Joules all() const { return products + streaming + communication + waiting; }
};

/// Of a device that does `active` in a step of `step` and waits for the rest.
EnergyParts energy_of_device(const PowerModel& power, Seconds step, const Activities& active);

/// Of one step on all its devices. Hosts, switches and NICs are not in it.
struct StepCost {
  std::optional<EnergyParts> energy;  // times the cluster's PUE, where it is stated
  std::optional<double> usd;
  std::optional<double> kg_co2e;
  bool assumed_power = false;
};

/// Prices are by device and hour, of the cluster, else of its devices; carbon is the cluster's constant intensity.
/// `active`: of the mean device.
StepCost cost_of_step(const Cluster& cluster, const std::optional<PowerModel>& power, Seconds step,
                      const Activities& active, std::int64_t num_devices);

}  // namespace orrery::costmodel
