// SPDX-License-Identifier: Apache-2.0
#include "costmodel/power.h"

#include <algorithm>

namespace orrery::costmodel {
namespace {

constexpr Seconds kHour = 3600.0 * unit::second;

}  // namespace

std::optional<PowerModel> power_of(const Device& device, const Calibration& calibration) {
  const std::optional<Watts> limit =
      calibration.power_limit ? std::optional(calibration.power_limit->value) : device.power_limit;
  if (!limit) return std::nullopt;
  PowerModel out{.limit = *limit};
  const auto take = [&](const std::optional<Sourced<Watts>>& measured, double of_limit) {
    out.assumed = out.assumed || !measured;
    return measured ? measured->value : *limit * of_limit;
  };
  out.products = take(calibration.products_power, kProductsOfLimit);
  out.streaming = std::min(take(calibration.streaming_power, kStreamingOfLimit), *limit);
  out.communication = std::min(take(calibration.communication_power, kCommunicationOfLimit), *limit);
  out.waiting = take(calibration.waiting_power, kWaitingOfLimit);
  return out;
}

EnergyParts energy_of_device(const PowerModel& power, Seconds step, const Activities& active) {
  EnergyParts out{.streaming = power.streaming * active.streaming,
                  .communication = power.communication * active.communication,
                  .waiting = power.waiting * (step - active.all())};
  // What the limit leaves: never less than its own share of the time, since the others draw no more than the limit.
  out.products =
      std::min(power.products * active.products, power.limit * active.all() - out.streaming - out.communication);
  return out;
}

StepCost cost_of_step(const Cluster& cluster, const std::optional<PowerModel>& power, Seconds step,
                      const Activities& active, std::int64_t num_devices) {
  StepCost out;
  const auto devices = static_cast<double>(num_devices);
  if (power) {
    const double times = devices * cluster.pue.value_or(1.0);
    const EnergyParts of_device = energy_of_device(*power, step, active);
    out.energy = {.products = of_device.products * times,
                  .streaming = of_device.streaming * times,
                  .communication = of_device.communication * times,
                  .waiting = of_device.waiting * times};
    out.assumed_power = power->assumed;
    if (cluster.kg_co2_per_kwh) out.kg_co2e = *cluster.kg_co2_per_kwh * (out.energy->all() / unit::kilowatt_hour);
  }
  std::optional<double> price = cluster.usd_per_device_hour;
  if (!price && cluster.groups.size() == 1) price = cluster.groups.front().device.usd_per_hour;
  if (price) out.usd = *price * devices * (step / kHour);
  return out;
}

}  // namespace orrery::costmodel
