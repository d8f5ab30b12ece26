// SPDX-License-Identifier: Apache-2.0
#include "costmodel/expert_passes.h"

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
  return expert_traffic(key, shape, kLoad, kernels).in(unit::byte);
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
    EXPECT_EQ(expert_kernels({.pass = Pass::fwd, .op = OpCode::moe_fc2}, kExperts, kernels), 0.0);
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

const KernelParameters kSorting{.sorts_arrivals = true};
/// Those of before, without biases, behind a flat exchange.
const GroupedGemmShape kFromRanks = [] {
  GroupedGemmShape experts = kExperts;
  experts.bias = false;
  experts.by_sender = true;
  return experts;
}();

TEST(SortedArrivals, AreReadAndWrittenOnceEachWay) {
  for (const Pass pass : {Pass::fwd, Pass::rec, Pass::igrad}) {
    EXPECT_DOUBLE_EQ(traffic(OpCode::moe_fc1, pass, kFromRanks, kSorting), 500.0 * 200 * 4);
    EXPECT_DOUBLE_EQ(traffic(OpCode::moe_fc2, pass, kFromRanks, kSorting), 500.0 * 300 * 4);
    EXPECT_EQ(expert_kernels({.pass = pass, .op = OpCode::moe_fc1}, kFromRanks, kSorting), 2.0);
  }
  for (const OpCode op : {OpCode::moe_fc1, OpCode::moe_fc2}) {
    EXPECT_EQ(traffic(op, Pass::wgrad, kFromRanks, kSorting), 0.0);
    EXPECT_EQ(expert_kernels({.pass = Pass::wgrad, .op = op}, kFromRanks, kSorting), 0.0);
  }
}

TEST(SortedArrivals, CostNothingWhereRowsComeSortedOrARankHasOneExpert) {
  GroupedGemmShape alone = kFromRanks, at_home = kFromRanks;
  alone.num_experts = 1;
  at_home.by_sender = false;
  EXPECT_EQ(traffic(OpCode::moe_fc1, Pass::fwd, alone, kSorting), 0.0);
  EXPECT_EQ(traffic(OpCode::moe_fc1, Pass::fwd, at_home, kSorting), 0.0);
  EXPECT_EQ(traffic(OpCode::moe_fc1, Pass::fwd, kFromRanks, {}), 0.0);
}

TEST(SortedArrivals, AddToTheBiasesOfTheSameExperts) {
  GroupedGemmShape both = kFromRanks;
  both.bias = true;
  const KernelParameters megatrons{.separate_biases = true, .sorts_arrivals = true};
  EXPECT_DOUBLE_EQ(traffic(OpCode::moe_fc2, Pass::fwd, both, megatrons), 500.0 * 300 * (28 + 4));
  EXPECT_EQ(expert_kernels({.pass = Pass::fwd, .op = OpCode::moe_fc2}, both, megatrons), 2.0 + 2 * 2 + 2.0);
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

TEST(ExpertPasses, AreSeparateInMegatron) {
  for (const Framework& framework : {megatron(), megatron_bridge()}) {
    const KernelParameters numbers = with_kernels_of(framework, {});
    EXPECT_TRUE(numbers.separate_biases && numbers.sorts_arrivals) << framework.name;
  }
  const KernelParameters plain = with_kernels_of(Framework{}, {});
  EXPECT_FALSE(plain.separate_biases || plain.sorts_arrivals);
}

}  // namespace
}  // namespace orrery::costmodel
