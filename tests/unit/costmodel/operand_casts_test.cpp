// SPDX-License-Identifier: Apache-2.0
#include "costmodel/operand_casts.h"

#include "costmodel/operator_curves.h"
#include "tests/unit/costmodel/small_gpu.h"

#include <memory>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

constexpr GemmShape kProduct{.m = 1000, .n = 300, .k = 200, .dtype = DType::fp8};
const GroupedGemmShape kExperts{
    .rows = {.kind = Rows::Kind::received, .count = 1000}, .num_experts = 2, .n = 300, .k = 200, .dtype = DType::fp8};
const ResolvedLoad kLoad{.rows_per_expert = {400.0, 100.0}, .received = 500.0};

CastTraffic casts(OpCode op, Pass pass, const OpShape& shape, const KernelParameters& kernels = {}) {
  const OpKey key{.pass = pass, .op = op};
  return cast_traffic(key, shape, work_of(key, shape, kLoad), kernels);
}

void expect(const CastTraffic& traffic, double bytes, bool own_kernel) {
  EXPECT_DOUBLE_EQ(traffic.bytes.in(unit::byte), bytes);
  EXPECT_EQ(traffic.own_kernel, own_kernel);
}

TEST(OperandCasts, WriteWhatTheForwardMultipliesOnceMoreTransposed) {
  expect(casts(OpCode::mlp_fc1, Pass::fwd, kProduct), 1000.0 * 200, false);
  expect(casts(OpCode::mlp_fc1, Pass::rec, kProduct), 1000.0 * 200, false);
  expect(casts(OpCode::moe_fc2, Pass::fwd, kExperts), 500.0 * 200, false);
}

TEST(OperandCasts, ReadTheInputOfSharedExpertsInBf16) {
  expect(casts(OpCode::shared_fc1, Pass::fwd, kProduct), 4 * 1000.0 * 200, true);
  expect(casts(OpCode::shared_fc2, Pass::fwd, kProduct), 1000.0 * 200, false);
}

TEST(OperandCasts, ReadGradientsInBf16AndWriteThemTwice) {
  expect(casts(OpCode::mlp_fc1, Pass::igrad, kProduct), 4 * 1000.0 * 300, true);
  expect(casts(OpCode::moe_fc1, Pass::igrad, kExperts), 4 * 500.0 * 300, true);
  // Those that come back over the network were cast before.
  expect(casts(OpCode::moe_fc2, Pass::igrad, kExperts), 2 * 500.0 * 300, true);
}

TEST(OperandCasts, LeaveWeightGradientsWhatTheOtherPassesWrote) {
  expect(casts(OpCode::mlp_fc1, Pass::wgrad, kProduct), 0.0, false);
  expect(casts(OpCode::moe_fc1, Pass::wgrad, kExperts), 0.0, false);
}

TEST(OperandCasts, AreOfFp8Alone) {
  GemmShape in_bf16 = kProduct;
  in_bf16.dtype = DType::bf16;
  for (const Pass pass : {Pass::fwd, Pass::igrad}) {
    expect(casts(OpCode::mlp_fc1, pass, in_bf16), 0.0, false);
    expect(casts(OpCode::attn_norm, pass, MemoryShape{.rows = {.count = 10}, .read_per_row = 2}), 0.0, false);
  }
}

TEST(OperandCasts, TransposeNothingForWeightsThatAreFrozen) {
  KernelParameters frozen;
  frozen.weight_gradients = false;
  expect(casts(OpCode::mlp_fc1, Pass::fwd, kProduct, frozen), 0.0, false);
  expect(casts(OpCode::shared_fc1, Pass::fwd, kProduct, frozen), 3 * 1000.0 * 200, true);
  expect(casts(OpCode::mlp_fc1, Pass::igrad, kProduct, frozen), 3 * 1000.0 * 300, true);
  expect(casts(OpCode::moe_fc2, Pass::igrad, kExperts, frozen), 0.0, false);
}

TEST(OperandCasts, AreDoneByTheKernelThatActivatesForAllExperts) {
  KernelParameters fused;
  fused.fused_experts = true;
  expect(casts(OpCode::moe_fc2, Pass::fwd, kExperts, fused), 0.0, false);
  expect(casts(OpCode::moe_fc1, Pass::igrad, kExperts, fused), 0.0, false);
  expect(casts(OpCode::moe_fc1, Pass::fwd, kExperts, fused), 500.0 * 200, false);
  expect(casts(OpCode::moe_fc2, Pass::igrad, kExperts, fused), 2 * 500.0 * 300, true);
}

TEST(OperandCasts, TakeTheTimeOfStreamingKernels) {
  Calibration calibration;
  calibration.kernels = easy_numbers();
  const Device device = gpu();
  const OperatorCurves curves(calibration, std::make_shared<MeasuredKernels>(calibration, device),
                              Fp8Recipe::tensorwise);
  const auto us = [&](Pass pass, const OpShape& shape) {
    return curves.time_of({.pass = pass, .op = OpCode::mlp_fc1}, shape, {}, device).time.in(unit::microsecond);
  };
  const auto product = [&](Pass pass) {
    const double rows[] = {1000.0};
    return in_us(KernelModel(device, *calibration.kernels).product(pass, rows, 300, 200, DType::fp8, DType::f32));
  };
  const double rate = kBandwidth * 0.5;
  EXPECT_DOUBLE_EQ(us(Pass::fwd, kProduct), product(Pass::fwd) + 1000.0 * 200 / rate * 1e6);
  EXPECT_DOUBLE_EQ(us(Pass::igrad, kProduct), product(Pass::igrad) + 4 * 1000.0 * 300 / rate * 1e6 + 3.0);
  EXPECT_DOUBLE_EQ(us(Pass::wgrad, kProduct), product(Pass::wgrad));
}

}  // namespace
}  // namespace orrery::costmodel
