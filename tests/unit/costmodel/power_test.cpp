// SPDX-License-Identifier: Apache-2.0
#include "costmodel/power.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

Device limited_to(double watts) {
  Device device;
  device.power_limit = watts * unit::watt;
  return device;
}

Cluster cluster_of(Device device) {
  Cluster cluster;
  cluster.groups.push_back({.name = "g", .device = std::move(device)});
  return cluster;
}

TEST(PowerOf, TakesSharesOfTheLimitAndSaysSo) {
  const auto power = power_of(limited_to(700.0), {});
  ASSERT_TRUE(power);
  EXPECT_NEAR(power->busy.in(unit::watt), 532.0, 1e-9);
  EXPECT_NEAR(power->waiting.in(unit::watt), 0.31 * 700.0, 1e-9);
  EXPECT_TRUE(power->assumed);
}

TEST(PowerOf, PrefersWhatWasMeasured) {
  Calibration calibration;
  calibration.busy_power = {.value = 600.0 * unit::watt, .source = "a meter"};
  calibration.waiting_power = {.value = 300.0 * unit::watt, .source = "a meter"};
  const auto power = power_of(limited_to(700.0), calibration);
  EXPECT_EQ(power->busy, 600.0 * unit::watt);
  EXPECT_FALSE(power->assumed);
}

TEST(PowerOf, IsUnknownWithoutALimit) { EXPECT_FALSE(power_of(Device{}, {})); }

TEST(CostOfStep, IntegratesWorkAndWaiting) {
  Cluster cluster = cluster_of(limited_to(700.0));
  cluster.pue = 1.25;
  cluster.kg_co2_per_kwh = 0.4;
  cluster.usd_per_device_hour = 2.0;
  const PowerModel power{.busy = 600.0 * unit::watt, .waiting = 200.0 * unit::watt};
  const StepCost cost = cost_of_step(cluster, power, 10.0 * unit::second, 0.75, 4);
  // (0.75 * 600 + 0.25 * 200) W * 10 s * 4 * 1.25
  EXPECT_NEAR(cost.energy->in(unit::joule), 500.0 * 10.0 * 4.0 * 1.25, 1e-9);
  EXPECT_NEAR(*cost.kg_co2e, 0.4 * 25000.0 / 3.6e6, 1e-12);
  EXPECT_NEAR(*cost.usd, 2.0 * 4.0 * 10.0 / 3600.0, 1e-12);
}

TEST(CostOfStep, TakesThePriceOfTheDeviceWhereTheClusterStatesNone) {
  Device device = limited_to(700.0);
  device.usd_per_hour = 3.6;
  const StepCost cost = cost_of_step(cluster_of(device), std::nullopt, 1000.0 * unit::second, 1.0, 1);
  EXPECT_NEAR(*cost.usd, 1.0, 1e-12);
  EXPECT_FALSE(cost.energy);
  EXPECT_FALSE(cost.kg_co2e);
}

}  // namespace
}  // namespace orrery::costmodel
