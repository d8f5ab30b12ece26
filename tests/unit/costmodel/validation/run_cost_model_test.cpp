// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/run_cost_model.h"

#include "tests/unit/costmodel/unit_cost_model.h"

#include <cstdint>
#include <span>
#include <variant>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

/// Ten microseconds of the host for an op; an exchange lasts a second for each byte of a row, a streaming op one second
/// and one for each, and a product one.
class Asked : public testing::UnitCostModel {
 public:
  OpTime compute(const OpKey& /*key*/, const OpShape& shape, const ResolvedLoad& /*load*/,
                 DeviceIndex /*device*/) const override {
    const auto* memory = std::get_if<MemoryShape>(&shape);
    const std::int64_t bytes = memory == nullptr ? 0 : memory->read_per_row + memory->written_per_row;
    return {.time = seconds(1.0 + static_cast<double>(bytes))};
  }
  Seconds dispatch(const OpKey& /*key*/, const OpShape& /*shape*/) const override { return microseconds(10); }
  CommTime exchange(const ExchangeShape& shape, const RoutingMatrix& /*routing*/,
                    std::span<const DeviceIndex> /*members*/) const override {
    CommTime time;
    time.latency = seconds(static_cast<double>(shape.row_bytes));
    return time;
  }
};

class RunCostModelTest : public ::testing::Test {
 protected:
  RunCostModelTest() {
    plan_.model.hidden = 1024;
    plan_.strategy.precision = DType::fp8;
    plan_.strategy.fp8_recipe = Fp8Recipe::mxfp8;
    plan_.framework = megatron();
  }

  double host_us(OpCode op, Pass pass = Pass::fwd) const {
    return RunCostModel(asked_, plan_).dispatch({.pass = pass, .op = op}, MemoryShape{}).in(unit::microsecond);
  }
  double row(std::int64_t bytes, bool to_experts) const {
    const ExchangeShape shape{.row_bytes = bytes, .to_experts = to_experts};
    return RunCostModel(asked_, plan_).exchange(shape, {}, {}).latency.in(unit::second);
  }

  double compute(OpCode op, Pass pass, const OpShape& shape) const {
    return RunCostModel(asked_, plan_)
        .compute({.pass = pass, .op = op}, shape, {}, DeviceIndex(0))
        .time.in(unit::second);
  }

  RunPlan plan_;
  Asked asked_;
};

constexpr std::int64_t kFp8Row = 1024 + 1024 / 32, kBf16Row = 2 * 1024;

TEST_F(RunCostModelTest, SendsRowsToExpertsInBf16WhereTheFrameworkCastsThere) {
  EXPECT_EQ(row(kFp8Row + 4, true), kBf16Row + 4);  // four bytes go with each row
  EXPECT_EQ(row(kBf16Row, false), kBf16Row);        // back they are in bf16 anyway
  EXPECT_EQ(row(kBf16Row + 4, true), kBf16Row + 4);
  plan_.framework.fuses_casts = true;
  EXPECT_EQ(row(kFp8Row + 4, true), kFp8Row + 4);
  plan_.framework.fuses_casts = false;
  plan_.strategy.precision = DType::bf16;
  EXPECT_EQ(row(kFp8Row, true), kFp8Row);
}

TEST_F(RunCostModelTest, MovesRowsOnTheirWayToExpertsInBf16WhereTheFrameworkCastsThere) {
  const MemoryShape copy{.rows = {.count = 1}, .read_per_row = kFp8Row, .written_per_row = kFp8Row};
  EXPECT_EQ(compute(OpCode::moe_permute, Pass::fwd, copy), 1 + 2 * kBf16Row);
  EXPECT_EQ(compute(OpCode::moe_permute, Pass::rec, copy), 1 + 2 * kBf16Row);
  EXPECT_EQ(compute(OpCode::moe_unpermute, Pass::igrad, copy), 1 + 2 * kBf16Row);
  EXPECT_EQ(compute(OpCode::moe_permute, Pass::igrad, copy), 1 + 2 * kFp8Row);  // sums, as the shape says
  EXPECT_EQ(compute(OpCode::moe_unpermute, Pass::fwd, copy), 1 + 2 * kFp8Row);
  plan_.framework.fuses_casts = true;
  EXPECT_EQ(compute(OpCode::moe_permute, Pass::fwd, copy), 1 + 2 * kFp8Row);
}

TEST_F(RunCostModelTest, CastsWhatArrivesInFrontOfTheProductsOfExperts) {
  const GroupedGemmShape product{.rows = {.count = 1}, .num_experts = 1, .n = 1, .k = 1024, .dtype = DType::fp8};
  const double with_cast = 1 + 1 + kBf16Row + kFp8Row;
  EXPECT_EQ(compute(OpCode::moe_fc1, Pass::fwd, product), with_cast);
  EXPECT_EQ(compute(OpCode::moe_fc1, Pass::rec, product), with_cast);
  EXPECT_EQ(compute(OpCode::moe_fc2, Pass::igrad, product), with_cast);
  EXPECT_EQ(compute(OpCode::moe_fc2, Pass::fwd, product), 1);
  EXPECT_EQ(compute(OpCode::moe_fc1, Pass::igrad, product), 1);
  EXPECT_EQ(compute(OpCode::moe_fc1, Pass::wgrad, product), 1);
  plan_.strategy.precision = DType::bf16;
  EXPECT_EQ(compute(OpCode::moe_fc1, Pass::fwd, product), 1);
}

TEST_F(RunCostModelTest, WritesActivationsInBf16AndReadsThemOnceMore) {
  const MemoryShape activation{.rows = {.count = 1}, .read_per_row = 400, .written_per_row = 100};
  for (const OpCode op : {OpCode::mlp_act, OpCode::moe_act, OpCode::shared_act}) {
    EXPECT_EQ(compute(op, Pass::fwd, activation), 1 + 500 + 100 + 200);
    EXPECT_EQ(compute(op, Pass::igrad, activation), 1 + 500);
  }
  plan_.framework.fuses_casts = true;
  EXPECT_EQ(compute(OpCode::mlp_act, Pass::fwd, activation), 1 + 500);
}

TEST_F(RunCostModelTest, ComputesNoGradientsOfFrozenWeights) {
  plan_.trains_adapters = true;
  const RunCostModel cost(asked_, plan_);
  for (const Pass pass : {Pass::wgrad, Pass::sync, Pass::update}) {
    EXPECT_EQ(cost.compute({.pass = pass, .op = OpCode::mlp_fc1}, MemoryShape{}, {}, DeviceIndex(0)).time,
              Seconds::zero());
    EXPECT_EQ(host_us(OpCode::mlp_fc1, pass), 0.0);
  }
  EXPECT_EQ(cost.compute({.pass = Pass::igrad, .op = OpCode::mlp_fc1}, MemoryShape{}, {}, DeviceIndex(0)).time,
            seconds(1));
  EXPECT_EQ(host_us(OpCode::mlp_fc1, Pass::igrad), 10.0);
  EXPECT_EQ(cost.collective({.group = Group::dp}, {}).latency, Seconds::zero());
  EXPECT_EQ(cost.collective({.group = Group::tp}, {}).latency, seconds(2));
}

}  // namespace
}  // namespace orrery::costmodel
