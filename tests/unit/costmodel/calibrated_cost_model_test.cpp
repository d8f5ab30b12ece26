// SPDX-License-Identifier: Apache-2.0
#include "costmodel/calibrated_cost_model.h"

#include "tests/conformance/programs.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

Cluster cluster_of(DeviceKind kind) {
  Cluster cluster = testing::small_cluster(1, 2);
  cluster.groups[0].device.kind = kind;
  cluster.groups[0].device.peak = {{DType::bf16, 1.0 * unit::teraflops_per_second}};
  return cluster;
}

Calibration with_one_gemm(std::int64_t active_ranks) {
  Calibration calibration;
  calibration.conditions.active_ranks = active_ranks;
  calibration.points = {
      {.op = "gemm", .shape = GemmShape{.m = 8, .n = 8, .k = 8}, .time = microseconds(1), .source = "test"}};
  return calibration;
}

OpTime gemm_time(const Cluster& cluster, const Calibration& calibration) {
  return CalibratedCostModel(cluster, calibration)
      .compute({.op = OpCode::mlp_fc1}, GemmShape{.m = 8, .n = 8, .k = 8}, {}, DeviceIndex(1));
}

TEST(CalibratedCostModel, TakesTimesOfTheCalibration) {
  EXPECT_EQ(gemm_time(cluster_of(DeviceKind::cuda), with_one_gemm(1)).time, microseconds(1));
  EXPECT_FALSE(gemm_time(cluster_of(DeviceKind::cuda), with_one_gemm(1)).extrapolated);
}

TEST(CalibratedCostModel, MarksEverythingWhenAnotherNumberOfCpuRanksIsBusy) {
  EXPECT_FALSE(gemm_time(cluster_of(DeviceKind::cpu), with_one_gemm(2)).extrapolated);
  EXPECT_TRUE(gemm_time(cluster_of(DeviceKind::cpu), with_one_gemm(4)).extrapolated);
}

TEST(CalibratedCostModel, MarksEverythingOfAnotherDevice) {
  const Cluster cluster = cluster_of(DeviceKind::cuda);
  Calibration calibration = with_one_gemm(1);
  calibration.device = cluster.groups[0].device;
  EXPECT_FALSE(gemm_time(cluster, calibration).extrapolated);
  Device other = cluster.groups[0].device;
  other.name = "another";
  calibration.device = other;
  EXPECT_TRUE(gemm_time(cluster, calibration).extrapolated);
  calibration.device = "a name alone, which says nothing";
  EXPECT_FALSE(gemm_time(cluster, calibration).extrapolated);
}

TEST(CalibratedCostModel, MarksWhatComputesUnderAnotherPowerLimit) {
  Cluster cluster = cluster_of(DeviceKind::cuda);
  Calibration calibration = with_one_gemm(1);
  calibration.conditions.power_limit = 700.0 * unit::watt;
  EXPECT_FALSE(gemm_time(cluster, calibration).extrapolated);  // of the device it is not known
  cluster.groups[0].device.power_limit = 699.0 * unit::watt;
  EXPECT_FALSE(gemm_time(cluster, calibration).extrapolated);
  cluster.groups[0].device.power_limit = 500.0 * unit::watt;
  EXPECT_TRUE(gemm_time(cluster, calibration).extrapolated);
  calibration.conditions.power_limit.reset();
  EXPECT_FALSE(gemm_time(cluster, calibration).extrapolated);
}

TEST(CalibratedCostModel, OfAPlanScalesFp8AsItsStrategyDoes) {
  Plan plan;
  plan.cluster = cluster_of(DeviceKind::cuda);
  plan.cluster.groups[0].device.peak[DType::fp8] = 2.0 * unit::teraflops_per_second;
  Calibration calibration;
  calibration.kernels.emplace().fp8_blocks = 0.25;
  const auto time = [&](Fp8Recipe recipe) {
    plan.strategy.fp8_recipe = recipe;
    const GemmShape shape{.m = 4096, .n = 4096, .k = 4096, .dtype = DType::fp8};
    return CalibratedCostModel(plan, calibration).compute({.op = OpCode::mlp_fc1}, shape, {}, DeviceIndex(0)).time;
  };
  EXPECT_GT(time(Fp8Recipe::blockwise), 3.9 * time(Fp8Recipe::tensorwise));
}

TEST(CalibratedCostModel, OverlapsByTheKindOfDevice) {
  const OverlapRule gpu = CalibratedCostModel(cluster_of(DeviceKind::cuda), {}).overlap(DeviceIndex(0));
  EXPECT_EQ(gpu.compute_slowdown, 0.19);
  EXPECT_EQ(gpu.comm_slowdown, 0.0);
  const OverlapRule cpu = CalibratedCostModel(cluster_of(DeviceKind::cpu), {}).overlap(DeviceIndex(0));
  EXPECT_EQ(cpu.compute_slowdown, 1.0);
  EXPECT_EQ(cpu.comm_slowdown, 1.0);
}

}  // namespace
}  // namespace orrery::costmodel
