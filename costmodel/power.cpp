// SPDX-License-Identifier: Apache-2.0
#include "costmodel/power.h"

namespace orrery::costmodel {
namespace {

constexpr Seconds kHour = 3600.0 * unit::second;

}  // namespace

std::optional<PowerModel> power_of(const Device& device, const Calibration& calibration) {
  const auto share = [&](const std::optional<Sourced<Watts>>& measured, double of_limit) -> std::optional<Watts> {
    if (measured) return measured->value;
    if (calibration.power_limit) return calibration.power_limit->value * of_limit;
    if (device.power_limit) return *device.power_limit * of_limit;
    return std::nullopt;
  };
  const auto busy = share(calibration.busy_power, kBusyShareOfLimit);
  const auto waiting = share(calibration.waiting_power, kWaitingShareOfLimit);
  if (!busy || !waiting) return std::nullopt;
  return PowerModel{
      .busy = *busy, .waiting = *waiting, .assumed = !calibration.busy_power || !calibration.waiting_power};
}

StepCost cost_of_step(const Cluster& cluster, const std::optional<PowerModel>& power, Seconds step, double utilisation,
                      std::int64_t num_devices) {
  StepCost out;
  const auto devices = static_cast<double>(num_devices);
  if (power) {
    const Watts mean = power->busy * utilisation + power->waiting * (1.0 - utilisation);
    out.energy = mean * step * devices * cluster.pue.value_or(1.0);
    out.assumed_power = power->assumed;
    if (cluster.kg_co2_per_kwh) out.kg_co2e = *cluster.kg_co2_per_kwh * (*out.energy / unit::kilowatt_hour);
  }
  std::optional<double> price = cluster.usd_per_device_hour;
  if (!price && cluster.groups.size() == 1) price = cluster.groups.front().device.usd_per_hour;
  if (price) out.usd = *price * devices * (step / kHour);
  return out;
}

}  // namespace orrery::costmodel
