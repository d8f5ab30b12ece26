// SPDX-License-Identifier: Apache-2.0
#include "costmodel/measured_kernels.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

Device gpu() {
  Device device;
  device.name = "a gpu";
  device.kind = DeviceKind::cuda;
  device.peak = {{DType::bf16, 1000.0 * unit::teraflops_per_second}};
  device.memory_bandwidth = bytes_per_second(1e12);
  return device;
}

OpPoint product(std::int64_t m, Seconds time, DType dtype = DType::bf16) {
  return {.op = "gemm",
          .pass = Pass::fwd,
          .dtype = dtype,
          .shape = GemmShape{.m = m, .n = 4096, .k = 4096, .dtype = dtype},
          .time = time,
          .source = "test"};
}

Calibration stated(std::vector<OpPoint> points) {
  Calibration out;
  out.points = std::move(points);
  out.kernels = KernelParameters{};
  return out;
}

double form_us(std::int64_t m) {
  const Device device = gpu();
  const KernelParameters numbers;
  const double rows[] = {static_cast<double>(m)};
  return KernelModel(device, numbers)
      .product(Pass::fwd, rows, 4096, 4096, DType::bf16, DType::bf16)
      ->in(unit::microsecond);
}

TEST(MeasuredKernels, HoldWhatWasMeasuredOverTheForm) {
  const MeasuredKernels measured(stated({product(4096, microseconds(2.0 * form_us(4096)))}), gpu());
  EXPECT_TRUE(measured.over_form());
  const auto value = measured.gemm("gemm", Pass::fwd, DType::bf16, 4096, 4096, 4096);
  ASSERT_TRUE(value.has_value());
  EXPECT_DOUBLE_EQ(value->value, 2.0);
  EXPECT_TRUE(value->inside && value->exact);
}

TEST(MeasuredKernels, GoOnBeyondTheirBorderAsAtIt) {
  const MeasuredKernels measured(
      stated({product(2048, microseconds(3.0 * form_us(2048))), product(4096, microseconds(2.0 * form_us(4096)))}),
      gpu());
  const auto at = [&](double m) { return *measured.gemm("gemm", Pass::fwd, DType::bf16, m, 4096, 4096); };
  EXPECT_DOUBLE_EQ(at(65536).value, 2.0);
  EXPECT_DOUBLE_EQ(at(1).value, 3.0);
  EXPECT_FALSE(at(65536).inside);
  EXPECT_GT(at(3000).value, 2.0);
  EXPECT_LT(at(3000).value, 3.0);
}

TEST(MeasuredKernels, HoldTimeForEachOperationWhereNoFormIsStatedOrItKnowsNoPeak) {
  Calibration without = stated({product(4096, microseconds(100))});
  without.kernels.reset();
  const double per_flop = 100e-6 / (2.0 * 4096 * 4096 * 4096);
  const MeasuredKernels of_cpu(without, gpu());
  EXPECT_FALSE(of_cpu.over_form());
  EXPECT_DOUBLE_EQ(of_cpu.gemm("gemm", Pass::fwd, DType::bf16, 4096, 4096, 4096)->value, per_flop);
  const MeasuredKernels of_unknown(stated({product(4096, microseconds(100), DType::fp8)}), gpu());
  EXPECT_FALSE(of_unknown.over_form());
  EXPECT_DOUBLE_EQ(of_unknown.gemm("gemm", Pass::fwd, DType::fp8, 4096, 4096, 4096)->value, per_flop);
}

TEST(MeasuredKernels, SayWhereNothingWasMeasured) {
  const MeasuredKernels nothing(stated({}), gpu());
  EXPECT_FALSE(nothing.gemm("gemm", Pass::fwd, DType::bf16, 1, 1, 1));
  EXPECT_FALSE(nothing.grouped_gemm(Pass::fwd, GroupedGemmShape{.num_experts = 2, .n = 1, .k = 1}, 1.0));
  EXPECT_FALSE(nothing.attention(Pass::fwd, AttentionShape{}));
  EXPECT_FALSE(nothing.memory_bound("memory", Pass::fwd, bytes(1)));
}

TEST(MeasuredKernels, LetTheForwardStandInForAnotherPassAndSaySo) {
  const MeasuredKernels measured(stated({product(4096, microseconds(100))}), gpu());
  const auto value = measured.gemm("gemm", Pass::wgrad, DType::bf16, 4096, 4096, 4096);
  ASSERT_TRUE(value.has_value());
  EXPECT_FALSE(value->exact);
}

}  // namespace
}  // namespace orrery::costmodel
