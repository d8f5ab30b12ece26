// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/run_cost_model.h"

#include "tests/unit/costmodel/unit_cost_model.h"

#include <variant>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

/// Ten microseconds of the host for an op; an exchange lasts a second for each byte of a row. Compute lasts a second;
/// of attention for each key that a query sees, of a product in bf16 twice as long as in fp8, of a streaming op for
/// each byte.
class Asked : public testing::UnitCostModel {
 public:
  OpTime compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load, DeviceIndex device) const override {
    OpTime time = UnitCostModel::compute(key, shape, load, device);
    if (const auto* attention = std::get_if<AttentionShape>(&shape)) {
      time.time = seconds(static_cast<double>(attention->window == 0 ? attention->kv_seq : attention->window));
    } else if (const auto* gemm = std::get_if<GemmShape>(&shape)) {
      time.time = seconds(gemm->dtype == DType::fp8 ? 1.0 : 2.0);
    } else if (const auto* memory = std::get_if<MemoryShape>(&shape); memory != nullptr && memory->rows.count > 0) {
      time.time = seconds(static_cast<double>(memory->rows.count * (memory->read_per_row + memory->written_per_row)));
    }
    return time;
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

  double compute_s(OpCode op, Pass pass, const OpShape& shape) const {
    return RunCostModel(asked_, plan_)
        .compute({.pass = pass, .op = op}, shape, {}, DeviceIndex(0))
        .time.in(unit::second);
  }

  RunPlan plan_;
  Asked asked_;
};

constexpr std::int64_t kFp8Row = 1024 + 1024 / 32, kBf16Row = 2048;

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

constexpr AttentionShape kAttention{
    .batch = 2, .heads = 64, .kv_heads = 8, .seq = 4096, .kv_seq = 4096, .d_qk = 128, .d_v = 128};
// Elements of a token that are cast: read in bf16, written twice with a scale for each 32.
constexpr double kTokens = 2 * 4096, kBytes = 2.0 + 2.0 * 33.0 / 32.0;
constexpr double kCastForward = kTokens * (64 + 8 + 8) * 128 * kBytes, kCastBackward = kTokens * 64 * 128 * kBytes;

TEST_F(RunCostModelTest, AttendsInFp8AfterItsOperandsAreCast) {
  EXPECT_EQ(compute_s(OpCode::attn_core, Pass::fwd, kAttention), 4096.0);
  plan_.attends_in_fp8 = true;
  plan_.device = "gb200";
  EXPECT_DOUBLE_EQ(compute_s(OpCode::attn_core, Pass::fwd, kAttention), kCastForward + 4096.0 * 0.326 / 0.391);
  EXPECT_DOUBLE_EQ(compute_s(OpCode::attn_core, Pass::igrad, kAttention), kCastBackward + 4096.0 * 1.305 / 1.198);
  plan_.device = "b300";
  EXPECT_DOUBLE_EQ(compute_s(OpCode::attn_core, Pass::rec, kAttention), kCastForward + 4096.0 * 0.242 / 0.323);
  EXPECT_EQ(compute_s(OpCode::attn_qkv, Pass::fwd, GemmShape{}), 2.0);  // no product is changed
}

TEST_F(RunCostModelTest, VisitsAllPairsInTheBackwardOfAWindowInFp8) {
  AttentionShape windowed = kAttention;
  windowed.window = 128;
  EXPECT_EQ(compute_s(OpCode::attn_core, Pass::igrad, windowed), 128.0);
  plan_.attends_in_fp8 = true;
  plan_.device = "gb200";
  EXPECT_DOUBLE_EQ(compute_s(OpCode::attn_core, Pass::fwd, windowed), kCastForward + 128.0);
  EXPECT_EQ(compute_s(OpCode::attn_core, Pass::igrad, windowed), compute_s(OpCode::attn_core, Pass::igrad, kAttention));
}

TEST_F(RunCostModelTest, MultipliesTheHeadInFp8WhereTheRecipeDoes) {
  for (const Pass pass : {Pass::fwd, Pass::igrad, Pass::wgrad}) {
    EXPECT_EQ(compute_s(OpCode::head_logits, pass, GemmShape{}), 2.0);
  }
  plan_.fp8_head = true;
  for (const Pass pass : {Pass::fwd, Pass::igrad, Pass::wgrad}) {
    EXPECT_EQ(compute_s(OpCode::head_logits, pass, GemmShape{}), 1.0);
    EXPECT_EQ(compute_s(OpCode::moe_router, pass, GemmShape{}), 2.0);
  }
}

TEST_F(RunCostModelTest, SortsRowsForExpertsInBf16WhereTheFrameworkCastsThere) {
  const auto copied = [&](OpCode op, Pass pass, std::int64_t bytes) {
    return compute_s(op, pass, MemoryShape{.rows = {.count = 1}, .read_per_row = bytes, .written_per_row = bytes});
  };
  EXPECT_EQ(copied(OpCode::moe_permute, Pass::fwd, kFp8Row), 2.0 * kBf16Row);
  EXPECT_EQ(copied(OpCode::moe_unpermute, Pass::igrad, kFp8Row), 2.0 * kBf16Row);
  EXPECT_EQ(copied(OpCode::moe_unpermute, Pass::fwd, kBf16Row), 2.0 * kBf16Row);
  EXPECT_EQ(copied(OpCode::moe_norm, Pass::fwd, kFp8Row), 2.0 * kFp8Row);
  plan_.framework.fuses_casts = true;
  EXPECT_EQ(copied(OpCode::moe_permute, Pass::fwd, kFp8Row), 2.0 * kFp8Row);
}

TEST_F(RunCostModelTest, SortsRowsInTheExchangeWhereTheLibraryDoes) {
  constexpr std::int64_t kRows = 100;
  const MemoryShape copies{.rows = {.count = kRows}, .read_per_row = kBf16Row, .written_per_row = kBf16Row};
  const DeviceIndex members[] = {DeviceIndex(0), DeviceIndex(1)};
  const auto exchanged = [&](bool to_experts) {
    const ExchangeShape shape{.rows = {.count = kRows}, .row_bytes = kBf16Row, .to_experts = to_experts};
    return RunCostModel(asked_, plan_).exchange(shape, {}, members).latency.in(unit::second);
  };
  for (const bool sorts : {false, true}) {
    plan_.sorts_in_exchanges = sorts;
    const double copied = kRows * 2.0 * kBf16Row;
    for (const Pass pass : {Pass::fwd, Pass::igrad}) {
      EXPECT_EQ(compute_s(OpCode::moe_permute, pass, copies), sorts ? 0.0 : copied);
      EXPECT_EQ(compute_s(OpCode::moe_unpermute, pass, copies), sorts ? 0.0 : copied);
    }
    EXPECT_EQ(exchanged(true), kBf16Row + (sorts ? copied : 0.0));  // there or back, they are moved once
    EXPECT_EQ(exchanged(false), kBf16Row + (sorts ? copied : 0.0));
  }
}

TEST_F(RunCostModelTest, CastsWhatArrivesInFrontOfTheProductsOfExperts) {
  const GroupedGemmShape product{.rows = {.count = 1}, .num_experts = 1, .n = 1, .k = 1024, .dtype = DType::fp8};
  const double with_cast = 1 + kBf16Row + kFp8Row;
  EXPECT_EQ(compute_s(OpCode::moe_fc1, Pass::fwd, product), with_cast);
  EXPECT_EQ(compute_s(OpCode::moe_fc1, Pass::rec, product), with_cast);
  EXPECT_EQ(compute_s(OpCode::moe_fc2, Pass::igrad, product), with_cast);
  EXPECT_EQ(compute_s(OpCode::moe_fc2, Pass::fwd, product), 1);
  EXPECT_EQ(compute_s(OpCode::moe_fc1, Pass::igrad, product), 1);
  EXPECT_EQ(compute_s(OpCode::moe_fc1, Pass::wgrad, product), 1);
  plan_.strategy.precision = DType::bf16;
  EXPECT_EQ(compute_s(OpCode::moe_fc1, Pass::fwd, product), 1);
}

TEST_F(RunCostModelTest, WritesActivationsInBf16AndReadsThemOnceMore) {
  const MemoryShape activation{.rows = {.count = 1}, .read_per_row = 400, .written_per_row = 100};
  for (const OpCode op : {OpCode::mlp_act, OpCode::moe_act, OpCode::shared_act}) {
    EXPECT_EQ(compute_s(op, Pass::fwd, activation), 500 + 100 + 200);
    EXPECT_EQ(compute_s(op, Pass::igrad, activation), 500);
  }
  plan_.framework.fuses_casts = true;
  EXPECT_EQ(compute_s(OpCode::mlp_act, Pass::fwd, activation), 500);
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
