// SPDX-License-Identifier: Apache-2.0
#include "costmodel/expert_biases.h"

#include "costmodel/framework.h"
#include "costmodel/host_time.h"
#include "costmodel/operator_curves.h"
#include "tests/unit/costmodel/small_gpu.h"

#include <memory>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

const KernelParameters kSeparate{.separate_biases = true};
const GroupedGemmShape kExperts{.rows = {.kind = Rows::Kind::received, .count = 1000},
                                .num_experts = 2,
                                .n = 300,
                                .k = 200,
                                .dtype = DType::bf16,
                                .bias = true};
// 100 elements into 50, in bf16, and a probability in f32.
const MemoryShape kActivation{.rows = {.kind = Rows::Kind::received, .count = 1000},
                              .read_per_row = 204,
                              .written_per_row = 100,
                              .clamped_per_row = 100};
const ResolvedLoad kLoad{.rows_per_expert = {400.0, 100.0}, .received = 500.0};

double traffic(OpCode op, Pass pass, const OpShape& shape, const KernelParameters& kernels = kSeparate) {
  const OpKey key{.pass = pass, .op = op};
  return bias_traffic(key, shape, kLoad, kernels).in(unit::byte);
}

TEST(ExpertBiases, AreAddedToTheOutputsInF32) {
  EXPECT_DOUBLE_EQ(traffic(OpCode::moe_fc2, Pass::fwd, kExperts), 500.0 * 300 * 28);
  EXPECT_DOUBLE_EQ(traffic(OpCode::moe_fc2, Pass::rec, kExperts), 500.0 * 300 * 28);
  EXPECT_DOUBLE_EQ(traffic(OpCode::moe_fc2, Pass::igrad, kExperts), 500.0 * 300 * 40);
}

TEST(ExpertBiases, AreTheProductsOwnInTheFirstAndNoneOfWeightGradients) {
  for (const Pass pass : {Pass::fwd, Pass::igrad, Pass::wgrad}) {
    EXPECT_EQ(traffic(OpCode::moe_fc1, pass, kExperts), 0.0);
  }
  EXPECT_EQ(traffic(OpCode::moe_fc2, Pass::wgrad, kExperts), 0.0);
}

TEST(ExpertBiases, CutInputsOffBeforeTheActivation) {
  EXPECT_DOUBLE_EQ(traffic(OpCode::moe_act, Pass::fwd, kActivation), 500.0 * 100 * 8);
  EXPECT_DOUBLE_EQ(traffic(OpCode::moe_act, Pass::igrad, kActivation), 500.0 * 100 * 10);
}

TEST(ExpertBiases, CostNothingWhereTheModelHasNoneOrOneKernelDoesAll) {
  GroupedGemmShape plain = kExperts;
  plain.bias = false;
  MemoryShape unlimited = kActivation;
  unlimited.clamped_per_row = 0;
  EXPECT_EQ(traffic(OpCode::moe_fc2, Pass::fwd, plain), 0.0);
  EXPECT_EQ(traffic(OpCode::moe_act, Pass::fwd, unlimited), 0.0);
  for (const KernelParameters& kernels :
       {KernelParameters{}, KernelParameters{.fused_experts = true, .separate_biases = true}}) {
    EXPECT_EQ(traffic(OpCode::moe_fc2, Pass::fwd, kExperts, kernels), 0.0);
    EXPECT_EQ(traffic(OpCode::moe_act, Pass::igrad, kActivation, kernels), 0.0);
    EXPECT_EQ(bias_kernels({.pass = Pass::fwd, .op = OpCode::moe_fc2}, kExperts, kernels), 0.0);
  }
}

TEST(ExpertBiases, AreKernelsForEachExpert) {
  const auto more = [](OpCode op, Pass pass, const OpShape& shape) {
    const OpKey key{.pass = pass, .op = op};
    return num_kernels(key, shape, kSeparate) - num_kernels(key, shape, {});
  };
  EXPECT_EQ(more(OpCode::moe_fc2, Pass::fwd, kExperts), 2.0 + 2 * 2);
  EXPECT_EQ(more(OpCode::moe_fc2, Pass::igrad, kExperts), 2.0 + 6 * 2);
  EXPECT_EQ(more(OpCode::moe_act, Pass::fwd, kActivation), 3.0);
}

TEST(ExpertBiases, TakeTheTimeOfTheirBytes) {
  Calibration calibration;
  calibration.kernels = kSeparate;
  calibration.kernels->memory = 0.5;
  const Device device = gpu();
  const OpKey key{.pass = Pass::fwd, .op = OpCode::moe_act};
  const auto time = [&] {
    const auto measured = std::make_shared<const MeasuredKernels>(calibration, device);
    return OperatorCurves(calibration, measured, Fp8Recipe::tensorwise).time_of(key, kActivation, kLoad, device).time;
  };
  const Seconds with = time();
  calibration.kernels->separate_biases = false;
  const double expected = 500.0 * 100 * 8 / (0.5 * kBandwidth);
  EXPECT_NEAR((with - time()).in(unit::second), expected, 1e-12);
}

TEST(ExpertBiases, AreSeparateInMegatron) {
  EXPECT_TRUE(with_kernels_of(megatron(), {}).separate_biases);
  EXPECT_TRUE(with_kernels_of(megatron_bridge(), {}).separate_biases);
  EXPECT_FALSE(with_kernels_of(Framework{}, {}).separate_biases);
}

}  // namespace
}  // namespace orrery::costmodel
