// SPDX-License-Identifier: Apache-2.0
#include "costmodel/operator_curves.h"

#include "base/errors.h"
#include "costmodel/kernel_model.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <vector>

#include <gmock/gmock.h>
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

OpPoint point(const std::string& op, Pass pass, const OpShape& shape, Seconds time) {
  return {.op = op, .pass = pass, .dtype = DType::bf16, .shape = shape, .time = time, .source = "test"};
}

OpKey key(OpCode op, Pass pass) { return {.pass = pass, .op = op}; }

const GemmShape kGemm{.m = 1024, .n = 1024, .k = 1024};
const AttentionShape kAttention{
    .batch = 1, .heads = 16, .kv_heads = 16, .seq = 4096, .kv_seq = 4096, .d_qk = 128, .d_v = 128, .causal = true};

OperatorCurves curves_of(const Calibration& calibration, const Device& device = gpu(),
                         Fp8Recipe recipe = Fp8Recipe::tensorwise) {
  return {calibration, std::make_shared<MeasuredKernels>(calibration, device), recipe};
}

OpTime time_of(const Calibration& calibration, OpCode op, Pass pass, const OpShape& shape,
               const ResolvedLoad& load = {}) {
  return curves_of(calibration).time_of(key(op, pass), shape, load, gpu());
}

double in_us(const OpTime& time) { return time.time.in(unit::microsecond); }

TEST(OperatorCurves, AreExactAtMeasuredPoints) {
  Calibration calibration;
  calibration.points = {point("gemm", Pass::fwd, kGemm, microseconds(10)),
                        point("gemm", Pass::wgrad, kGemm, microseconds(14)),
                        point("attention", Pass::igrad, kAttention, milliseconds(2))};
  const OpTime forward = time_of(calibration, OpCode::mlp_fc1, Pass::fwd, kGemm);
  EXPECT_DOUBLE_EQ(in_us(forward), 10.0);
  EXPECT_FALSE(forward.extrapolated);
  EXPECT_DOUBLE_EQ(in_us(time_of(calibration, OpCode::mlp_fc1, Pass::wgrad, kGemm)), 14.0);
  EXPECT_DOUBLE_EQ(in_us(time_of(calibration, OpCode::mlp_fc1, Pass::rec, kGemm)), 10.0);
  const OpTime attention = time_of(calibration, OpCode::attn_core, Pass::igrad, kAttention);
  EXPECT_DOUBLE_EQ(in_us(attention), 2000.0);
  EXPECT_FALSE(attention.extrapolated);
}

TEST(OperatorCurves, ScaleAttentionByItsShareOfThePairsAndSaySo) {
  Calibration calibration;
  calibration.points = {point("attention", Pass::fwd, kAttention, milliseconds(2))};
  const OpTime half = time_of(calibration, OpCode::attn_core, Pass::fwd, kAttention, {.attention_share = 0.5});
  EXPECT_DOUBLE_EQ(in_us(half), 1000.0);
  EXPECT_TRUE(half.extrapolated);
  // Its bytes are the same for any documents: reading and writing them bounds the time.
  const OpTime none = time_of(calibration, OpCode::attn_core, Pass::fwd, kAttention, {.attention_share = 0.0});
  const Work work = work_of(key(OpCode::attn_core, Pass::fwd), kAttention, {});
  EXPECT_DOUBLE_EQ(in_us(none), (work.read + work.written).in(unit::byte) / 1e12 * 1e6);
}

TEST(OperatorCurves, LetTheForwardStandInForAnotherPassAndSaySo) {
  Calibration calibration;
  calibration.points = {point("gemm", Pass::fwd, kGemm, microseconds(10))};
  const OpTime time = time_of(calibration, OpCode::mlp_fc1, Pass::igrad, kGemm);
  EXPECT_DOUBLE_EQ(in_us(time), 10.0);
  EXPECT_TRUE(time.extrapolated);
}

TEST(OperatorCurves, SayWhenAShapeLiesOutsideOfThePoints) {
  Calibration calibration;
  calibration.points = {point("gemm", Pass::fwd, kGemm, microseconds(10))};
  EXPECT_TRUE(
      time_of(calibration, OpCode::mlp_fc1, Pass::fwd, GemmShape{.m = 2048, .n = 1024, .k = 1024}).extrapolated);
}

TEST(OperatorCurves, AddTheGapOfALaunchToEveryOp) {
  Calibration calibration;
  calibration.points = {point("gemm", Pass::fwd, kGemm, microseconds(10))};
  calibration.launch_gap = Sourced<Seconds>{microseconds(2), "test"};
  EXPECT_DOUBLE_EQ(in_us(time_of(calibration, OpCode::mlp_fc1, Pass::fwd, kGemm)), 12.0);
}

TEST(OperatorCurves, TakeMemoryBoundOpsByNameElseFromTheGenericTable) {
  const MemoryShape generic{.rows = {.count = 1000000}, .read_per_row = 1};
  const MemoryShape norm{.rows = {.count = 1000}, .read_per_row = 500, .written_per_row = 500};
  Calibration calibration;
  calibration.points = {point("memory", Pass::fwd, generic, microseconds(5))};
  OpTime time = time_of(calibration, OpCode::attn_norm, Pass::fwd, norm);
  EXPECT_DOUBLE_EQ(in_us(time), 5.0);
  EXPECT_FALSE(time.extrapolated);
  calibration.points.push_back(point("attn.norm", Pass::fwd, generic, microseconds(7)));
  time = time_of(calibration, OpCode::attn_norm, Pass::fwd, norm);
  EXPECT_DOUBLE_EQ(in_us(time), 7.0);
  EXPECT_FALSE(time.extrapolated);
  EXPECT_TRUE(time_of(calibration, OpCode::mlp_norm, Pass::fwd, norm).extrapolated);  // others are known by name
}

TEST(OperatorCurves, TakeAProductThatWasMeasuredByNameElseThatOfAllProducts) {
  Calibration calibration;
  calibration.points = {point("gemm", Pass::fwd, kGemm, microseconds(10)),
                        point("moe.router", Pass::fwd, kGemm, microseconds(30))};
  EXPECT_DOUBLE_EQ(in_us(time_of(calibration, OpCode::moe_router, Pass::fwd, kGemm)), 30.0);
  EXPECT_DOUBLE_EQ(in_us(time_of(calibration, OpCode::mlp_fc1, Pass::fwd, kGemm)), 10.0);
  calibration.points.pop_back();
  EXPECT_DOUBLE_EQ(in_us(time_of(calibration, OpCode::moe_router, Pass::fwd, kGemm)), 10.0);
}

TEST(OperatorCurves, AddUpTheExpertsOfAGroupedGemm) {
  const GroupedGemmShape four{.rows = {Rows::Kind::received, 2048}, .num_experts = 4, .n = 1024, .k = 1024};
  Calibration calibration;
  calibration.points = {
      point("grouped_gemm", Pass::fwd, four, microseconds(40)),
      point("grouped_gemm", Pass::fwd,
            GroupedGemmShape{.rows = {Rows::Kind::received, 512}, .num_experts = 4, .n = 1024, .k = 1024},
            microseconds(20))};
  const ResolvedLoad even{.rows_per_expert = {512, 512, 512, 512}, .received = 2048};
  const OpTime balanced = time_of(calibration, OpCode::moe_fc1, Pass::fwd, four, even);
  EXPECT_DOUBLE_EQ(in_us(balanced), 40.0);
  EXPECT_FALSE(balanced.extrapolated);
  // Two experts with 512 rows take 10 us each, two with 128 take 5 us, one without rows nothing.
  const ResolvedLoad skewed{.rows_per_expert = {512, 128, 512, 128}, .received = 1280};
  EXPECT_DOUBLE_EQ(in_us(time_of(calibration, OpCode::moe_fc1, Pass::fwd, four, skewed)), 30.0);
  const ResolvedLoad idle{.rows_per_expert = {512, 0, 512, 0}, .received = 1024};
  EXPECT_DOUBLE_EQ(in_us(time_of(calibration, OpCode::moe_fc1, Pass::fwd, four, idle)), 20.0);
}

TEST(OperatorCurves, LetAGemmOfOneExpertsRowsStandInForAGroupedOne) {
  Calibration calibration;
  calibration.points = {point("gemm", Pass::fwd, kGemm, microseconds(10))};
  const GroupedGemmShape grouped{.rows = {Rows::Kind::received, 2048}, .num_experts = 2, .n = 1024, .k = 1024};
  const ResolvedLoad load{.rows_per_expert = {1024, 1024}, .received = 2048};
  const OpTime time = time_of(calibration, OpCode::moe_fc1, Pass::fwd, grouped, load);
  EXPECT_DOUBLE_EQ(in_us(time), 20.0);
  EXPECT_TRUE(time.extrapolated);
}

TEST(OperatorCurves, FallBackToTheFormWithTheNumbersOfNoDeviceAndSaySo) {
  const Device device = gpu();
  const KernelParameters of_no_device;
  const KernelModel form(device, of_no_device);
  const OpTime gemm = time_of({}, OpCode::mlp_fc1, Pass::fwd, GemmShape{.m = 4000, .n = 4000, .k = 4850});
  EXPECT_EQ(gemm.time, form.product(Pass::fwd, std::vector{4000.0}, 4000, 4850, DType::bf16, DType::f32));
  EXPECT_TRUE(gemm.extrapolated);
  const GroupedGemmShape grouped_shape{.rows = {Rows::Kind::received, 1024}, .num_experts = 2, .n = 1024, .k = 1024};
  const OpTime grouped = time_of({}, OpCode::moe_fc1, Pass::wgrad, grouped_shape);
  EXPECT_EQ(grouped.time, form.product(Pass::wgrad, std::vector{512.0, 512.0}, 1024, 1024, DType::bf16, DType::f32));
  EXPECT_TRUE(grouped.extrapolated);
  const OpTime attention = time_of({}, OpCode::attn_core, Pass::fwd, kAttention);
  EXPECT_EQ(attention.time,
            form.attention(Pass::fwd, kAttention, work_of(key(OpCode::attn_core, Pass::fwd), kAttention, {})));
  EXPECT_TRUE(attention.extrapolated);
  const OpTime norm =
      time_of({}, OpCode::attn_norm, Pass::fwd, MemoryShape{.rows = {.count = 1000}, .read_per_row = 8});
  EXPECT_EQ(norm.time, form.memory_bound(bytes(8000)));
  EXPECT_TRUE(norm.extrapolated);
}

/// One point of each kind, and numbers of kernels that say something else of all of them.
class MeasuredAndStated : public ::testing::Test {
 protected:
  MeasuredAndStated() {
    calibration_.points = {point("gemm", Pass::fwd, kGemm, microseconds(10)),
                           point("grouped_gemm", Pass::fwd, experts_, microseconds(40)),
                           point("attention", Pass::fwd, kAttention, milliseconds(2)),
                           point("memory", Pass::fwd, norm_, microseconds(12))};
    calibration_.kernels = KernelParameters{.matmul = 0.25, .memory = 1.0, .kernel = microseconds(7)};
  }

  double product(Pass pass, const std::vector<double>& rows) const {
    return in_us({.time = *form_.product(pass, rows, 1024, 1024, DType::bf16, DType::f32)});
  }
  double attention(Pass pass, const AttentionShape& shape, const ResolvedLoad& load = {}) const {
    return in_us({.time = *form_.attention(pass, shape, work_of(key(OpCode::attn_core, pass), shape, load))});
  }
  double us(OpCode op, Pass pass, const OpShape& shape, const ResolvedLoad& load = {}) const {
    return in_us(time_of(calibration_, op, pass, shape, load));
  }
  bool is_marked(OpCode op, Pass pass, const OpShape& shape, const ResolvedLoad& load = {}) const {
    return time_of(calibration_, op, pass, shape, load).extrapolated;
  }

  const MemoryShape norm_{.rows = {.count = 1000000}, .read_per_row = 1};
  const GroupedGemmShape experts_{.rows = {Rows::Kind::received, 1024}, .num_experts = 2, .n = 1024, .k = 1024};
  Calibration calibration_;
  const Device device_ = gpu();
  const KernelParameters numbers_{.matmul = 0.25, .memory = 1.0, .kernel = microseconds(7)};
  const KernelModel form_{device_, numbers_};
};

TEST_F(MeasuredAndStated, AreExactAtThePoints) {
  EXPECT_DOUBLE_EQ(us(OpCode::mlp_fc1, Pass::fwd, kGemm), 10.0);
  EXPECT_DOUBLE_EQ(us(OpCode::moe_fc1, Pass::fwd, experts_), 40.0);
  EXPECT_DOUBLE_EQ(us(OpCode::attn_core, Pass::rec, kAttention), 2000.0);
  EXPECT_DOUBLE_EQ(us(OpCode::attn_norm, Pass::fwd, norm_), 12.0);
}

TEST_F(MeasuredAndStated, AreMarkedWhereNoPointStandsBehindTheForm) {
  const GemmShape large{.m = 2048, .n = 1024, .k = 1024};
  EXPECT_FALSE(is_marked(OpCode::mlp_fc1, Pass::fwd, kGemm));
  EXPECT_FALSE(is_marked(OpCode::mlp_fc1, Pass::rec, kGemm));
  EXPECT_TRUE(is_marked(OpCode::mlp_fc1, Pass::wgrad, kGemm));
  EXPECT_TRUE(is_marked(OpCode::mlp_fc1, Pass::fwd, large));
  calibration_.points.push_back(point("gemm", Pass::fwd, GemmShape{.m = 4096, .n = 1024, .k = 1024}, microseconds(40)));
  EXPECT_FALSE(is_marked(OpCode::mlp_fc1, Pass::fwd, large));  // between two points

  EXPECT_FALSE(is_marked(OpCode::moe_fc1, Pass::fwd, experts_));
  EXPECT_TRUE(is_marked(OpCode::moe_fc1, Pass::igrad, experts_));
  EXPECT_FALSE(is_marked(OpCode::attn_core, Pass::fwd, kAttention));
  EXPECT_TRUE(is_marked(OpCode::attn_core, Pass::igrad, kAttention));
  EXPECT_TRUE(is_marked(OpCode::attn_core, Pass::fwd, kAttention, {.attention_share = 0.5}));
  AttentionShape sliding = kAttention;
  sliding.window = 512;
  EXPECT_TRUE(is_marked(OpCode::attn_core, Pass::fwd, sliding));
  EXPECT_FALSE(is_marked(OpCode::attn_norm, Pass::fwd, norm_));
  EXPECT_TRUE(is_marked(OpCode::attn_norm, Pass::fwd, MemoryShape{.rows = {.count = 2000000}, .read_per_row = 1}));
  calibration_.points.clear();
  EXPECT_TRUE(is_marked(OpCode::mlp_fc1, Pass::fwd, kGemm));
}

TEST_F(MeasuredAndStated, GoOnWithTheFormAsFarOffAsAtTheNearestPoint) {
  const GemmShape large{.m = 2048, .n = 1024, .k = 1024};
  EXPECT_DOUBLE_EQ(us(OpCode::mlp_fc1, Pass::fwd, large),
                   product(Pass::fwd, {2048}) * 10.0 / product(Pass::fwd, {1024}));
  const ResolvedLoad skewed{.rows_per_expert = {1000, 24}, .received = 1024};
  EXPECT_DOUBLE_EQ(us(OpCode::moe_fc1, Pass::fwd, experts_, skewed),
                   product(Pass::fwd, {1000, 24}) * 40.0 / product(Pass::fwd, {512, 512}));
  AttentionShape longer = kAttention, sliding = kAttention;
  longer.seq = longer.kv_seq = 8192;
  sliding.window = 512;
  const double off = 2000.0 / attention(Pass::fwd, kAttention);
  EXPECT_DOUBLE_EQ(us(OpCode::attn_core, Pass::fwd, longer), attention(Pass::fwd, longer) * off);
  EXPECT_DOUBLE_EQ(us(OpCode::attn_core, Pass::fwd, sliding), attention(Pass::fwd, sliding) * off);
  const ResolvedLoad documents{.attention_share = 0.5};
  EXPECT_DOUBLE_EQ(us(OpCode::attn_core, Pass::fwd, kAttention, documents),
                   attention(Pass::fwd, kAttention, documents) * off);
  EXPECT_DOUBLE_EQ(us(OpCode::attn_norm, Pass::fwd, MemoryShape{.rows = {.count = 2000000}, .read_per_row = 1}), 24.0);
}

TEST_F(MeasuredAndStated, LeaveAPassThatWasNotMeasuredToTheForm) {
  EXPECT_DOUBLE_EQ(us(OpCode::mlp_fc1, Pass::wgrad, kGemm), product(Pass::wgrad, {1024}));
  EXPECT_DOUBLE_EQ(us(OpCode::moe_fc1, Pass::igrad, experts_), product(Pass::igrad, {512, 512}));
  EXPECT_DOUBLE_EQ(us(OpCode::attn_core, Pass::igrad, kAttention), attention(Pass::igrad, kAttention));
}

TEST_F(MeasuredAndStated, CarryTheFactorsOfTrainingToThePointsToo) {
  calibration_.factors = Knobs{};
  (*calibration_.factors)[static_cast<std::size_t>(Knob::matmul)] = std::log(0.5);
  // All but the seven microseconds of the form's start take twice as long; the point is off by as much as before.
  const double form = product(Pass::fwd, {1024});
  EXPECT_DOUBLE_EQ(us(OpCode::mlp_fc1, Pass::fwd, kGemm), (2.0 * (form - 7.0) + 7.0) * 10.0 / form);
  EXPECT_DOUBLE_EQ(us(OpCode::attn_core, Pass::fwd, kAttention), 2000.0);
  (*calibration_.factors)[static_cast<std::size_t>(Knob::memory)] = std::log(0.25);
  EXPECT_DOUBLE_EQ(us(OpCode::attn_norm, Pass::fwd, norm_), (4.0 * 1.0 + 7.0) * 12.0 / (1.0 + 7.0));
}

TEST_F(MeasuredAndStated, MoveAsManyBytesForALossAsItsKernelsDo) {
  const MemoryShape logits{.rows = {.count = 1000000}, .read_per_row = 2, .written_per_row = 4};
  const double forward = us(OpCode::head_loss, Pass::fwd, logits),
               backward = us(OpCode::head_loss, Pass::igrad, logits);
  calibration_.kernels->loss_forward = 5.0;
  // The table goes on in proportion beyond its point of a million bytes: 72 us for six of them.
  EXPECT_DOUBLE_EQ(forward, 72.0);
  EXPECT_DOUBLE_EQ(us(OpCode::head_loss, Pass::fwd, logits), 5.0 * forward);
  EXPECT_DOUBLE_EQ(us(OpCode::head_loss, Pass::igrad, logits), backward);
  EXPECT_DOUBLE_EQ(us(OpCode::attn_norm, Pass::fwd, logits), forward);
  calibration_.kernels->loss_backward = 2.0;
  EXPECT_DOUBLE_EQ(us(OpCode::head_loss, Pass::igrad, logits), 2.0 * backward);
}

TEST_F(MeasuredAndStated, SayNothingOfF32OnTensorCores) {
  const GemmShape router{.m = 1024, .n = 64, .k = 1024, .dtype = DType::f32};
  calibration_.points.push_back(point("moe.router", Pass::fwd, router, microseconds(500)));
  calibration_.points.back().dtype = DType::f32;
  const double measured = us(OpCode::moe_router, Pass::fwd, router);
  EXPECT_DOUBLE_EQ(measured, 500.0);
  calibration_.kernels->tf32 = true;
  EXPECT_LT(us(OpCode::moe_router, Pass::fwd, router), 0.1 * measured);
}

TEST_F(MeasuredAndStated, ActivateInTheProductsOfFusedExperts) {
  const MemoryShape rows{.rows = {.count = 1000000}, .read_per_row = 2, .written_per_row = 4};
  EXPECT_GT(us(OpCode::moe_act, Pass::fwd, rows), 0.0);
  calibration_.kernels->fused_experts = true;
  EXPECT_EQ(us(OpCode::moe_act, Pass::fwd, rows), 0.0);
  EXPECT_EQ(us(OpCode::moe_act, Pass::igrad, rows), 0.0);
  EXPECT_GT(us(OpCode::shared_act, Pass::fwd, rows), 0.0);
}

TEST_F(MeasuredAndStated, AreSlowerUnderALowerPowerLimit) {
  calibration_.conditions.power_limit = watts(800);
  Device capped = gpu();
  capped.power_limit = watts(100);
  const double time = in_us(curves_of(calibration_).time_of(key(OpCode::mlp_fc1, Pass::fwd), kGemm, {}, capped));
  const double form = product(Pass::fwd, {1024});
  EXPECT_DOUBLE_EQ(time, (2.0 * (form - 7.0) + 7.0) * 10.0 / form);
}

TEST(OperatorCurves, AskTheNearestPointsWhereNoFormIsStated) {
  Calibration calibration;
  calibration.points = {point("gemm", Pass::fwd, kGemm, microseconds(20))};
  const OpTime twice = time_of(calibration, OpCode::mlp_fc1, Pass::fwd, GemmShape{.m = 2048, .n = 1024, .k = 1024});
  EXPECT_NEAR(in_us(twice), 40.0, 1e-9);  // as long for each operation
  EXPECT_TRUE(twice.extrapolated);
  const OpTime other_pass = time_of(calibration, OpCode::mlp_fc1, Pass::wgrad, kGemm);
  EXPECT_DOUBLE_EQ(in_us(other_pass), 20.0);
  EXPECT_TRUE(other_pass.extrapolated);
}

TEST(OperatorCurves, AskTheNearestPointsWhereTheFormKnowsNoPeak) {
  Calibration calibration;
  calibration.points = {point("gemm", Pass::fwd, kGemm, microseconds(20))};
  calibration.kernels.emplace();
  Device device = gpu();
  device.peak.clear();
  const OpTime time = curves_of(calibration, device).time_of(key(OpCode::mlp_fc1, Pass::wgrad), kGemm, {}, device);
  EXPECT_DOUBLE_EQ(in_us(time), 20.0);
  EXPECT_TRUE(time.extrapolated);
}

TEST(OperatorCurves, RefuseADeviceOfWhichNothingIsKnown) {
  Device unknown;
  unknown.name = "x";
  const auto message = [&](OpCode op, const OpShape& shape) -> std::string {
    try {
      curves_of({}, unknown).time_of(key(op, Pass::fwd), shape, {}, unknown);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message(OpCode::mlp_fc1, kGemm),
            "not calibrated: expected a point of gemm (fwd) in the calibration, or the bf16 peak rate of device \"x\"\n"
            "  hint: orrery calibrate measures this machine");
  EXPECT_EQ(message(OpCode::attn_norm, MemoryShape{.rows = {.count = 1}, .read_per_row = 1}),
            "not calibrated: expected a point of attn.norm (fwd) in the calibration, or the memory bandwidth of device "
            "\"x\"\n  hint: orrery calibrate measures this machine");
}

TEST(OperatorCurves, LoseAWaveToACommunicationWhereTilesFillTheDevice) {
  Calibration calibration;
  calibration.kernels = KernelParameters{};
  calibration.kernels->kernel = Seconds::zero();
  Device device = gpu();
  device.num_sms = 132;
  device.memory_bandwidth = bytes_per_second(1e15);  // no matter here
  const auto slowdown = [&](std::int64_t rows_of_tiles) {
    const GemmShape shape{.m = rows_of_tiles * 256, .n = 1408, .k = 256};  // too short to split
    return *curves_of(calibration, device).time_of(key(OpCode::mlp_fc1, Pass::fwd), shape, {}, device).slowdown;
  };
  // 132 tiles of 256 x 128 are one wave on 132 multiprocessors and two on the 112 that a communication leaves: the case
  // of 80 and 47 % of the peak in docs/design/overlap.md.
  EXPECT_NEAR(slowdown(12), 1.0, 0.01);
  EXPECT_DOUBLE_EQ(slowdown(9), 0.0);                     // 99 tiles: room enough
  EXPECT_NEAR(slowdown(600), 132.0 / 112.0 - 1.0, 0.03);  // many waves: the share of multiprocessors
}

TEST(OperatorCurves, LoseAsManyMultiprocessorsAsTheCalibrationSays) {
  Calibration calibration;
  calibration.kernels.emplace().kernel = Seconds::zero();
  Device device = gpu();
  device.num_sms = 132;
  device.memory_bandwidth = bytes_per_second(1e15);
  const GemmShape one_wave_of_99{.m = 2304, .n = 1408, .k = 256};
  const auto slowdown = [&](double taken) {
    calibration.kernels->taken = taken;
    return *curves_of(calibration, device)
                .time_of(key(OpCode::mlp_fc1, Pass::fwd), one_wave_of_99, {}, device)
                .slowdown;
  };
  EXPECT_DOUBLE_EQ(slowdown(33), 0.0);   // 99 are left
  EXPECT_NEAR(slowdown(34), 1.0, 0.01);  // 98 are not enough
}

TEST(OperatorCurves, ScaleFp8AsTheyAreTold) {
  Calibration calibration;
  calibration.kernels.emplace().kernel = Seconds::zero();
  calibration.kernels->fp8_blocks = 0.5;
  Device device = gpu();
  device.peak[DType::fp8] = 2000.0 * unit::teraflops_per_second;
  device.memory_bandwidth = bytes_per_second(1e15);
  const GemmShape shape{.m = 4096, .n = 4096, .k = 4096, .dtype = DType::fp8};
  const auto us = [&](Fp8Recipe recipe) {
    return in_us(curves_of(calibration, device, recipe).kernel_of(key(OpCode::mlp_fc1, Pass::fwd), shape, {}, device));
  };
  EXPECT_DOUBLE_EQ(us(Fp8Recipe::blockwise), 2.0 * us(Fp8Recipe::tensorwise));
}

TEST(OperatorCurves, LeaveTheSlowdownToTheDeviceWhereWavesAreUnknown) {
  const OpTime time = time_of({}, OpCode::mlp_fc1, Pass::fwd, kGemm);
  EXPECT_FALSE(time.slowdown);
  Calibration calibration;
  calibration.kernels = KernelParameters{};
  EXPECT_FALSE(time_of(calibration, OpCode::mlp_fc1, Pass::fwd, kGemm).slowdown);  // how many multiprocessors?
  Device device = gpu();
  device.num_sms = 132;
  const MemoryShape norm{.rows = {.count = 1000000}, .read_per_row = 1};
  EXPECT_FALSE(curves_of(calibration, device).time_of(key(OpCode::attn_norm, Pass::fwd), norm, {}, device).slowdown);
}

TEST(OperatorCurves, NeverBeatTheHardware) {
  Calibration calibration;  // a table that claims the impossible
  calibration.points = {
      point("gemm", Pass::fwd, kGemm, microseconds(0.001)),
      point("memory", Pass::fwd, MemoryShape{.rows = {.count = 1000}, .read_per_row = 1}, microseconds(1e-6))};
  for (const std::int64_t m : {1, 16, 1024, 65536}) {
    const GemmShape shape{.m = m, .n = 4096, .k = 4096};
    const Work work = work_of(key(OpCode::mlp_fc1, Pass::fwd), shape, {});
    const Seconds time = time_of(calibration, OpCode::mlp_fc1, Pass::fwd, shape).time;
    EXPECT_GE(time, work.flops / (1000.0 * unit::teraflops_per_second)) << m;
    EXPECT_GE(time, (work.read + work.written) / bytes_per_second(1e12)) << m;
  }
  const MemoryShape traffic{.rows = {.count = 1000000}, .read_per_row = 1};
  EXPECT_DOUBLE_EQ(in_us(time_of(calibration, OpCode::attn_norm, Pass::fwd, traffic)), 1.0);
}

TEST(OperatorCurves, PredictAGemmThatWasLeftOutOfTheTableWithin5PercentAtTheMedian) {
  const Calibration full =
      read_calibration(std::string(ORRERY_SOURCE_DIR) + "/tests/data/calibration/h100-products.json");
  std::vector<double> errors;
  for (std::size_t left_out = 0; left_out < full.points.size(); left_out += 7) {
    if (full.points[left_out].op != "gemm") continue;
    Calibration rest;
    for (std::size_t i = 0; i < full.points.size(); ++i) {
      if (i != left_out) rest.points.push_back(full.points[i]);
    }
    const OpTime time =
        curves_of(rest, Device())
            .time_of(key(OpCode::mlp_fc1, full.points[left_out].pass), full.points[left_out].shape, {}, Device());
    errors.push_back(std::abs(time.time / full.points[left_out].time - 1.0));
  }
  ASSERT_GE(errors.size(), 60);
  std::sort(errors.begin(), errors.end());
  EXPECT_LT(errors[errors.size() / 2], 0.05);
  EXPECT_LT(errors[errors.size() * 9 / 10], 0.20);
}

}  // namespace
}  // namespace orrery::costmodel
