// SPDX-License-Identifier: Apache-2.0
#include "costmodel/kernel_model.h"

#include "tests/unit/costmodel/small_gpu.h"

#include <limits>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

struct Product {
  std::vector<double> rows;
  std::int64_t n = 0, k = 0;
  Pass pass = Pass::fwd;
  DType dtype = DType::bf16, accumulate = DType::f32;
};

double product_us(const Device& device, const Product& p, const KernelParameters& numbers = easy_numbers()) {
  return in_us(KernelModel(device, numbers).product(p.pass, p.rows, p.n, p.k, p.dtype, p.accumulate));
}

/// `waves` of tiles over `columns` inner columns, start and end included, where `rate` of the large tile's is reached.
double waves_us(double waves, double rows, double cols, double columns, double rate = 1.0) {
  return waves * 2.0 * rows * cols * (columns + 200.0) / (kSmRate * 0.5 * rate) * 1e6 + 3.0;
}

// Two rows of two tiles of 256 x 128, one for each multiprocessor.
TEST(KernelModel, TakesAFullWaveOfTheLargestTilesFromStartToEnd) {
  EXPECT_DOUBLE_EQ(product_us(gpu(), {.rows = {512}, .n = 256, .k = 400}), waves_us(1, 256, 128, 400));
}

TEST(KernelModel, StartsASecondWaveForOneMoreRow) {
  const auto time = [](double rows) { return product_us(gpu(), {.rows = {rows}, .n = 128, .k = 400}); };
  EXPECT_DOUBLE_EQ(time(1024), waves_us(1, 256, 128, 400));
  // Tiles of half the size fill the second wave by half: three of their waves.
  EXPECT_DOUBLE_EQ(time(1025), waves_us(3, 128, 128, 400, 0.9));
  EXPECT_DOUBLE_EQ(time(1536), time(1025));
  EXPECT_DOUBLE_EQ(time(1537), waves_us(2, 256, 128, 400));
  EXPECT_DOUBLE_EQ(time(2048), time(1537));
}

// 4 tiles of 64 x 128 instead of one of 256 x 128, which would leave three multiprocessors idle.
TEST(KernelModel, DealsASmallProductInSmallTiles) {
  EXPECT_DOUBLE_EQ(product_us(gpu(), {.rows = {256}, .n = 128, .k = 400}), waves_us(1, 64, 128, 400, 0.75));
}

TEST(KernelModel, SplitsALongInnerDimensionOverMultiprocessorsThatWouldIdle) {
  const double partial_sums = 4 * (256.0 * 128) * 4 / (kBandwidth * 0.5) * 1e6;
  EXPECT_DOUBLE_EQ(product_us(gpu(), {.rows = {256}, .n = 128, .k = 8000}),
                   waves_us(1, 256, 128, 8000.0 / 4) + partial_sums);
}

TEST(KernelModel, SplitsNoInnerDimensionOfWhichTooLittleWouldBeLeft) {
  const auto time = [](std::int64_t k) { return product_us(gpu(), {.rows = {64}, .n = 64, .k = k}); };
  EXPECT_DOUBLE_EQ(time(504), waves_us(1, 64, 64, 504, 0.55));
  const double partial_sums = 2 * (64.0 * 64) * 4 / (kBandwidth * 0.5) * 1e6;
  EXPECT_DOUBLE_EQ(time(512), waves_us(1, 64, 64, 512.0 / 2, 0.55) + partial_sums);
}

TEST(KernelModel, MultipliesOverTheDimensionOfThePass) {
  const double wave = waves_us(1, 256, 128, 400);
  EXPECT_DOUBLE_EQ(product_us(gpu(), {.rows = {512}, .n = 256, .k = 400, .pass = Pass::rec}), wave);
  EXPECT_DOUBLE_EQ(product_us(gpu(), {.rows = {512}, .n = 400, .k = 256, .pass = Pass::igrad}), wave);
  EXPECT_DOUBLE_EQ(
      product_us(gpu(), {.rows = {400}, .n = 512, .k = 256, .pass = Pass::wgrad, .accumulate = DType::bf16}),
      waves_us(1, 256, 128, 400 + 200));
}

TEST(KernelModel, EndsATileTheLaterTheMoreBytesItsResultTakes) {
  // Two bytes written end a tile in 200 columns: reading and writing takes twice as long in bf16, four times in f32.
  const auto time = [](DType accumulate) {
    return product_us(gpu(), {.rows = {400}, .n = 512, .k = 256, .pass = Pass::wgrad, .accumulate = accumulate});
  };
  EXPECT_DOUBLE_EQ(time(DType::bf16), waves_us(1, 256, 128, 400 + 200));
  EXPECT_DOUBLE_EQ(time(DType::f32), waves_us(1, 256, 128, 400 + 600));
}

TEST(KernelModel, TakesThreeTimesAsLongForRowsThatAreNotAligned) {
  const auto time = [](std::int64_t n, std::int64_t k, const Device& device = gpu()) {
    return product_us(device, {.rows = {4096}, .n = n, .k = k}) - 3.0;
  };
  EXPECT_DOUBLE_EQ(time(50257, 400), 3.0 * time(50304, 400));  // as many tiles
  EXPECT_DOUBLE_EQ(time(256, std::int64_t{4} * 100), time(256, 400));
  EXPECT_NEAR(time(256, 4001), 3.0 * time(256, 4000), 0.01 * time(256, 4001));
  EXPECT_LT(time(50264, 400), 1.01 * time(50304, 400));  // eight elements of two bytes are enough
  Device cpu = gpu();
  cpu.kind = DeviceKind::cpu;
  EXPECT_DOUBLE_EQ(time(50257, 400, cpu), time(50304, 400, cpu));
}

TEST(KernelModel, ScalesFp8InBlocksOf128AtItsShareOfTheRate) {
  const Device device = gpu();
  KernelParameters numbers = easy_numbers();
  numbers.fp8_blocks = 0.5;
  const std::vector<double> rows = {512};
  const auto time = [&](Fp8Recipe recipe, DType dtype) {
    return in_us(KernelModel(device, numbers, {.recipe = recipe}).product(Pass::fwd, rows, 256, 400, dtype, dtype)) -
           3.0;
  };
  EXPECT_DOUBLE_EQ(time(Fp8Recipe::blockwise, DType::fp8), 2.0 * time(Fp8Recipe::tensorwise, DType::fp8));
  EXPECT_DOUBLE_EQ(time(Fp8Recipe::mxfp8, DType::fp8), time(Fp8Recipe::tensorwise, DType::fp8));
  EXPECT_DOUBLE_EQ(time(Fp8Recipe::blockwise, DType::bf16), time(Fp8Recipe::tensorwise, DType::bf16));
}

TEST(KernelModel, IsBoundByTheTrafficOfAThinProduct) {
  const double weights = 4096.0 * 4096 * 2, rows = (4096.0 + 4096) * 2;
  EXPECT_DOUBLE_EQ(product_us(gpu_of_slow_memory(), {.rows = {1}, .n = 4096, .k = 4096}),
                   slow_traffic_us(weights + rows));
}

TEST(KernelModel, ReadsAndWritesWeightGradientsInTheTypeThatAccumulates) {
  const auto time = [](Pass pass, DType accumulate) {
    return product_us(gpu_of_slow_memory(),
                      {.rows = {64}, .n = 1024, .k = 512, .pass = pass, .accumulate = accumulate});
  };
  const double weights = 1024.0 * 512, rows = 64.0 * (1024 + 512) * 2;
  EXPECT_DOUBLE_EQ(time(Pass::wgrad, DType::f32), slow_traffic_us(2 * 4 * weights + rows));
  EXPECT_DOUBLE_EQ(time(Pass::wgrad, DType::bf16), slow_traffic_us(2 * 2 * weights + rows));
  EXPECT_DOUBLE_EQ(time(Pass::igrad, DType::f32), slow_traffic_us(2 * weights + rows));
}

TEST(KernelModel, LetsExpertsShareOnePoolOfWavesAtALowerRate) {
  const double wave = waves_us(1, 256, 128, 400, 0.8);
  EXPECT_DOUBLE_EQ(product_us(gpu(4), {.rows = {256, 256}, .n = 256, .k = 400}), wave);
  EXPECT_DOUBLE_EQ(product_us(gpu(8), {.rows = {512, 512}, .n = 256, .k = 400}), wave);
  EXPECT_DOUBLE_EQ(product_us(gpu(8), {.rows = {256, 768}, .n = 256, .k = 400}), wave);
  // Each expert ends its own last tile: the ninth starts another wave.
  EXPECT_GT(product_us(gpu(8), {.rows = {257, 767}, .n = 256, .k = 400}), wave);
}

TEST(KernelModel, LetsAnIdleExpertCostNothing) {
  for (const Pass pass : {Pass::fwd, Pass::igrad, Pass::wgrad}) {
    for (const Device& device : {gpu(), gpu_of_slow_memory()}) {
      const auto time = [&](std::vector<double> rows) {
        return product_us(device, {.rows = std::move(rows), .n = 256, .k = 400, .pass = pass});
      };
      EXPECT_DOUBLE_EQ(time({512, 0, 512, 0}), time({512, 512})) << name_of(pass);
      EXPECT_EQ(time({0, 0}), 3.0) << name_of(pass);  // the kernel starts, and ends
    }
  }
}

TEST(KernelModel, TakesMoreForEachExpertThatHasAProductOfItsOwn) {
  KernelParameters numbers = easy_numbers(), each = numbers;
  each.expert = 4.0 * unit::microsecond;
  const auto more = [&](const std::vector<double>& rows) {
    const Product product{.rows = rows, .n = 256, .k = 400};
    return product_us(gpu(), product, each) - product_us(gpu(), product, numbers);
  };
  EXPECT_NEAR(more({512, 512, 256}), 12.0, 1e-9);
  EXPECT_NEAR(more({512, 0, 256}), 8.0, 1e-9);  // an idle one is not launched
  EXPECT_EQ(more({512}), 0.0);                  // no grouped product
  numbers.fused_experts = each.fused_experts = true;
  EXPECT_EQ(more({512, 512, 256}), 0.0);
}

TEST(KernelModel, MultipliesFp8AtItsOwnPeakAndShareOfIt) {
  const double operations = 2.0 * 256 * 128 * (400 + 200);
  EXPECT_DOUBLE_EQ(product_us(gpu(), {.rows = {512}, .n = 256, .k = 400, .dtype = DType::fp8}),
                   operations / (2.0 * kSmRate * 0.3) * 1e6 + 3.0);
  EXPECT_DOUBLE_EQ(product_us(gpu_of_slow_memory(), {.rows = {1}, .n = 4096, .k = 4096, .dtype = DType::fp8}),
                   slow_traffic_us(4096.0 * 4096 + 2 * 4096));
}

TEST(KernelModel, MultipliesF32OnTensorCoresAtHalfTheirBf16Rate) {
  Device device = gpu();
  EXPECT_FALSE(peak_rate(device, DType::f32, false).has_value());
  const FlopsPerSecond bf16 = device.peak.at(DType::bf16);
  EXPECT_EQ(peak_rate(device, DType::f32, true), 0.5 * bf16);
  device.peak[DType::f32] = 0.1 * bf16;
  EXPECT_EQ(peak_rate(device, DType::f32, false), 0.1 * bf16);
  EXPECT_EQ(peak_rate(device, DType::f32, true), 0.5 * bf16);
  EXPECT_EQ(peak_rate(device, DType::bf16, true), bf16);
  device.peak[DType::f32] = 0.8 * bf16;  // matrix cores that have f32 of their own
  EXPECT_EQ(peak_rate(device, DType::f32, true), 0.8 * bf16);
}

TEST(KernelModel, KnowsNothingOfATypeWithoutAPeak) {
  Device device = gpu();
  device.peak.erase(DType::fp8);
  const KernelParameters numbers = easy_numbers();
  const KernelModel model(device, numbers);
  const std::vector<double> rows = {512};
  EXPECT_TRUE(model.product(Pass::fwd, rows, 256, 400, DType::bf16, DType::f32).has_value());
  EXPECT_FALSE(model.product(Pass::fwd, rows, 256, 400, DType::fp8, DType::f32).has_value());
}

TEST(KernelModel, HasNoWavesWhereMultiprocessorsAreUnknown) {
  Device device = gpu(4);
  device.num_sms.reset();
  for (const double tiles : {4.0, 5.0, 6.0}) {  // each at the rate of the whole device
    const double time = product_us(device, {.rows = {256 * tiles}, .n = 128, .k = 400});
    EXPECT_DOUBLE_EQ(time, tiles * 2 * 256 * 128 * (400 + 200) / (4 * kSmRate * 0.5) * 1e6 + 3.0) << tiles;
  }
}

TEST(KernelModel, StreamsAtItsShareOfTheBandwidth) {
  const KernelParameters numbers = easy_numbers();
  EXPECT_DOUBLE_EQ(in_us(KernelModel(gpu(), numbers).memory_bound(unit::megabyte)), 2.0 + 3.0);
}

TEST(KernelModel, DoesNotKnowStreamingOpsWhereTheBandwidthIsUnknown) {
  Device device = gpu();
  device.memory_bandwidth.reset();
  const KernelParameters numbers = easy_numbers();
  EXPECT_FALSE(KernelModel(device, numbers).memory_bound(unit::megabyte).has_value());
  EXPECT_DOUBLE_EQ(product_us(device, {.rows = {512}, .n = 256, .k = 400}), waves_us(1, 256, 128, 400));
}

TEST(KernelModel, LetsNoMemoryOfACpuBoundAProduct) {
  Device device = gpu_of_slow_memory();
  device.kind = DeviceKind::cpu;
  EXPECT_DOUBLE_EQ(product_us(device, {.rows = {512}, .n = 256, .k = 400}), waves_us(1, 256, 128, 400));
}

TEST(KernelModel, MultipliesAtTheClockThatThePowerLimitLeaves) {
  EXPECT_DOUBLE_EQ(clock_under_power_limit(watts(100), watts(800)), 0.5);
  EXPECT_DOUBLE_EQ(clock_under_power_limit(watts(700), watts(700)), 1.0);
  const Device device = gpu();
  const KernelParameters numbers = easy_numbers();
  const KernelModel whole(device, numbers), half(device, numbers, {.clock = 0.5});
  const std::vector<double> rows = {512};
  const auto product = [&](const KernelModel& model) {
    return in_us(model.product(Pass::fwd, rows, 256, 400, DType::bf16, DType::f32));
  };
  EXPECT_DOUBLE_EQ(product(half) - 3.0, 2.0 * (product(whole) - 3.0));
  EXPECT_EQ(half.memory_bound(unit::megabyte), whole.memory_bound(unit::megabyte));
}

TEST(KernelModel, MultipliesNoShapeFasterThanTheHardware) {
  const Device device = gpu(132);
  for (const KernelParameters& numbers : {ideal(), KernelParameters()}) {
    for (const double rows : {1.0, 17.0, 128.0, 1000.0, 4096.0, 70000.0}) {
      for (const std::int64_t n : {64, 1000, 4096, 28672}) {
        for (const std::int64_t k : {64, 1000, 7168}) {
          for (const Pass pass : {Pass::fwd, Pass::igrad, Pass::wgrad}) {
            for (const DType dtype : {DType::bf16, DType::fp8}) {
              const double element = static_cast<double>(size_of(dtype));
              const double area = static_cast<double>(n * k), width = static_cast<double>(n + k);
              const double peak = device.peak.at(dtype).in(unit::flop_per_second);
              const Product one{.rows = {rows}, .n = n, .k = k, .pass = pass, .dtype = dtype};
              Product many = one;
              many.rows = {rows, 0, 3 * rows, rows};
              const double least = 2.0 * rows * area / peak * 1e6;
              const double traffic =
                  (rows * width * element + area * (pass == Pass::wgrad ? 8.0 : element)) / kBandwidth * 1e6;
              const double time = product_us(device, one, numbers);
              const auto message = ::testing::Message()
                                   << name_of(pass) << ' ' << name_of(dtype) << ' ' << rows << " x " << n << " x " << k;
              EXPECT_GE(time, least * (1.0 - 1e-12)) << message;
              EXPECT_GE(time, traffic * (1.0 - 1e-12)) << message;
              EXPECT_GE(product_us(device, many, numbers), 5.0 * least * (1.0 - 1e-12)) << message;
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace orrery::costmodel
