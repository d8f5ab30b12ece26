// SPDX-License-Identifier: Apache-2.0
// What a step takes in energy, money and carbon, in the simple form: a device draws one power while it computes and
// another while it waits for peers, whose kernels spin at high clocks. Formulas and sources: docs/design/power.md.
#pragma once

#include "base/units.h"
#include "costmodel/calibration.h"
#include "program/cluster.h"

#include <cstdint>
#include <optional>

namespace orrery::costmodel {

/// Of the limit, where nothing was measured: the mean of intensive workloads on eight H100 (arXiv 2506.14551), and what
/// an H100 draws while 20 of its multiprocessors copy as a communication's do (docs/design/power.md).
inline constexpr double kBusyShareOfLimit = 0.76, kWaitingShareOfLimit = 0.31;

struct PowerModel {
  Watts busy, waiting;
  bool assumed = false;  // a share of the device's limit stands in for what was not measured
};

/// From the calibration, else from shares of the device's power limit; nothing if that is unknown, too.
std::optional<PowerModel> power_of(const Device& device, const Calibration& calibration);

/// Of one step on all its devices. Hosts, switches and NICs are not in it.
struct StepCost {
  std::optional<Joules> energy;  // times the cluster's PUE, where it is stated
  std::optional<double> usd;
  std::optional<double> kg_co2e;
  bool assumed_power = false;
};

/// `utilisation`: share of the step in which a device's compute queue works. Prices are by device and hour, of the
/// cluster, else of its devices; carbon is the cluster's constant intensity.
StepCost cost_of_step(const Cluster& cluster, const std::optional<PowerModel>& power, Seconds step, double utilisation,
                      std::int64_t num_devices);

}  // namespace orrery::costmodel
