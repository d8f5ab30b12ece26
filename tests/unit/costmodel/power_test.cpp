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

/// Of a device of 700 W.
constexpr PowerModel kPower{.products = 1000.0 * unit::watt,
                            .streaming = 400.0 * unit::watt,
                            .communication = 200.0 * unit::watt,
                            .waiting = 100.0 * unit::watt,
                            .limit = 700.0 * unit::watt};

TEST(PowerOf, TakesSharesOfTheLimitAndSaysSo) {
  const auto power = power_of(limited_to(1000.0), {});
  ASSERT_TRUE(power);
  EXPECT_NEAR(power->products.in(unit::watt), 1370.0, 1e-9);
  EXPECT_NEAR(power->streaming.in(unit::watt), 620.0, 1e-9);
  EXPECT_NEAR(power->communication.in(unit::watt), 310.0, 1e-9);
  EXPECT_NEAR(power->waiting.in(unit::watt), 200.0, 1e-9);
  EXPECT_EQ(power->limit, 1000.0 * unit::watt);
  EXPECT_TRUE(power->assumed);
}

TEST(PowerOf, PrefersWhatWasMeasured) {
  Calibration calibration;
  const auto meter = [](double watts) { return Sourced<Watts>{.value = watts * unit::watt, .source = "a meter"}; };
  calibration.products_power = meter(950.0);
  calibration.streaming_power = meter(410.0);
  calibration.communication_power = meter(210.0);
  EXPECT_TRUE(power_of(limited_to(700.0), calibration)->assumed);
  calibration.waiting_power = meter(140.0);
  const auto power = power_of(limited_to(700.0), calibration);
  EXPECT_EQ(power->products, 950.0 * unit::watt);
  EXPECT_EQ(power->waiting, 140.0 * unit::watt);
  EXPECT_EQ(power->limit, 700.0 * unit::watt);
  EXPECT_FALSE(power->assumed);
  calibration.power_limit = meter(400.0);
  const auto capped = power_of(limited_to(700.0), calibration);
  EXPECT_EQ(capped->limit, 400.0 * unit::watt);
  EXPECT_EQ(capped->streaming, 400.0 * unit::watt);  // only products go beyond it
}

TEST(PowerOf, IsUnknownWithoutALimit) { EXPECT_FALSE(power_of(Device{}, {})); }

TEST(EnergyOfDevice, AddsUpWhatItDoesBelowTheLimit) {
  const EnergyParts parts = energy_of_device(
      kPower, seconds(20), {.products = seconds(5), .streaming = seconds(6), .communication = seconds(4)});
  EXPECT_EQ(parts.products, 5000.0 * unit::joule);
  EXPECT_EQ(parts.streaming, 2400.0 * unit::joule);
  EXPECT_EQ(parts.communication, 800.0 * unit::joule);
  EXPECT_EQ(parts.waiting, 500.0 * unit::joule);
  EXPECT_EQ(parts.all(), 8700.0 * unit::joule);
}

// The clock of products falls until the mean is the limit; who waits saves nothing up for them.
TEST(EnergyOfDevice, IsAtTheLimitWhileItWorksWhereProductsWouldDrawMore) {
  const Activities active{.products = seconds(8), .streaming = seconds(1), .communication = seconds(1)};
  const EnergyParts parts = energy_of_device(kPower, seconds(12), active);
  EXPECT_EQ(parts.products, (7000.0 - 400.0 - 200.0) * unit::joule);
  EXPECT_EQ(parts.waiting, 200.0 * unit::joule);
  EXPECT_EQ(parts.all(), 7200.0 * unit::joule);
  EXPECT_EQ(energy_of_device(kPower, seconds(3), {.products = seconds(3)}).all(), 2100.0 * unit::joule);
}

TEST(CostOfStep, CountsDevicesAndTheSite) {
  Cluster cluster = cluster_of(limited_to(700.0));
  cluster.pue = 1.25;
  cluster.kg_co2_per_kwh = 0.4;
  cluster.usd_per_device_hour = 2.0;
  const StepCost cost =
      cost_of_step(cluster, kPower, seconds(10), {.products = seconds(2), .streaming = seconds(4)}, 4);
  EXPECT_NEAR(cost.energy->products.in(unit::joule), 2000.0 * 4.0 * 1.25, 1e-9);
  EXPECT_NEAR(cost.energy->streaming.in(unit::joule), 1600.0 * 4.0 * 1.25, 1e-9);
  EXPECT_NEAR(cost.energy->waiting.in(unit::joule), 400.0 * 4.0 * 1.25, 1e-9);
  EXPECT_NEAR(*cost.kg_co2e, 0.4 * 4000.0 * 5.0 / 3.6e6, 1e-12);
  EXPECT_NEAR(*cost.usd, 2.0 * 4.0 * 10.0 / 3600.0, 1e-12);
}

TEST(CostOfStep, TakesThePriceOfTheDeviceWhereTheClusterStatesNone) {
  Device device = limited_to(700.0);
  device.usd_per_hour = 3.6;
  const StepCost cost = cost_of_step(cluster_of(device), std::nullopt, 1000.0 * unit::second, {}, 1);
  EXPECT_NEAR(*cost.usd, 1.0, 1e-12);
  EXPECT_FALSE(cost.energy);
  EXPECT_FALSE(cost.kg_co2e);
}

}  // namespace
}  // namespace orrery::costmodel
