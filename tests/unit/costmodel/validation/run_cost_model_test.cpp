// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/run_cost_model.h"

#include "tests/unit/costmodel/unit_cost_model.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

/// Ten microseconds of the host for an op; an exchange lasts a second for each byte of a row.
class Asked : public testing::UnitCostModel {
 public:
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

  RunPlan plan_;
  Asked asked_;
};

constexpr std::int64_t kFp8Row = 1024 + 1024 / 32, kBf16Row = 2 * 1024;

TEST_F(RunCostModelTest, SendsRowsToExpertsInBf16WhereTheFrameworkCastsThere) {
  EXPECT_EQ(row(kFp8Row + 4, true), kBf16Row + 4);  // four bytes go with each row
  EXPECT_EQ(row(kBf16Row, false), kBf16Row);        // back they are in bf16 anyway
  EXPECT_EQ(row(kBf16Row + 4, true), kBf16Row + 4);
  plan_.framework.dispatches_fp8 = true;
  EXPECT_EQ(row(kFp8Row + 4, true), kFp8Row + 4);
  plan_.framework.dispatches_fp8 = false;
  plan_.strategy.precision = DType::bf16;
  EXPECT_EQ(row(kFp8Row, true), kFp8Row);
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
