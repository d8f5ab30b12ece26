// SPDX-License-Identifier: Apache-2.0
#include "costmodel/kernel_model.h"

#include <limits>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

// One multiprocessor does 1e12 operations a second in bf16 and twice as many in fp8.
constexpr double kSmRate = 1e12, kBandwidth = 1e12;

Device gpu(std::int64_t num_sms = 4) {
  const auto peak = static_cast<double>(num_sms) * kSmRate * unit::flop_per_second;
  Device device;
  device.name = "a gpu";
  device.kind = DeviceKind::cuda;
  device.num_sms = num_sms;
  device.peak = {{DType::bf16, peak}, {DType::fp8, 2.0 * peak}};
  device.memory_bandwidth = bytes_per_second(kBandwidth);
  return device;
}

/// So slow that traffic binds every kernel.
Device gpu_of_slow_memory() {
  Device device = gpu();
  device.memory_bandwidth = bytes_per_second(kBandwidth / 1e4);
  return device;
}

/// Numbers that no two causes share.
KernelParameters easy_numbers() {
  KernelParameters numbers;
  numbers.matmul = 0.5;
  numbers.matmul_fp8 = 0.3;
  numbers.grouped = 0.8;
  numbers.ramp = 200.0;
  numbers.attention_forward = 0.4;
  numbers.attention_backward = 0.25;
  numbers.memory = 0.5;
  numbers.kernel = microseconds(3);
  return numbers;
}

KernelParameters materialized() {
  KernelParameters numbers = easy_numbers();
  numbers.attention = AttentionKernels::materialized;
  return numbers;
}

/// Nothing is lost: the hardware's own limits.
KernelParameters ideal() {
  KernelParameters numbers;
  numbers.matmul = numbers.matmul_fp8 = numbers.grouped = 1.0;
  numbers.attention_forward = numbers.attention_backward = numbers.memory = 1.0;
  numbers.ramp = 0.0;
  numbers.kernel = Seconds::zero();
  return numbers;
}

struct Product {
  std::vector<double> rows;
  std::int64_t n = 0, k = 0;
  Pass pass = Pass::fwd;
  DType dtype = DType::bf16, accumulate = DType::f32;
};

double in_us(const std::optional<Seconds>& time) {
  return time ? time->in(unit::microsecond) : std::numeric_limits<double>::quiet_NaN();
}

double product_us(const Device& device, const Product& p, const KernelParameters& numbers = easy_numbers()) {
  return in_us(KernelModel(device, numbers).product(p.pass, p.rows, p.n, p.k, p.dtype, p.accumulate));
}

/// `waves` of tiles over `columns` inner columns, start and end included, where `rate` of the large tile's is reached.
double waves_us(double waves, double rows, double cols, double columns, double rate = 1.0) {
  return waves * 2.0 * rows * cols * (columns + 200.0) / (kSmRate * 0.5 * rate) * 1e6 + 3.0;
}

/// With easy_numbers, on a device of slow memory.
double slow_traffic_us(double bytes) { return bytes / (kBandwidth / 1e4 * 0.5) * 1e6 + 3.0; }

Work attention_work(Pass pass, const AttentionShape& shape, double share = 1.0) {
  return work_of({.pass = pass, .op = OpCode::attn_core}, shape, {.attention_share = share});
}

double attention_us(const Device& device, Pass pass, const AttentionShape& shape,
                    const KernelParameters& numbers = easy_numbers(), double share = 1.0) {
  return in_us(KernelModel(device, numbers).attention(pass, shape, attention_work(pass, shape, share)));
}

AttentionShape attention_of(std::int64_t heads, std::int64_t seq, bool causal) {
  return {.batch = 1,
          .heads = heads,
          .kv_heads = heads,
          .seq = seq,
          .kv_seq = seq,
          .d_qk = 128,
          .d_v = 128,
          .causal = causal};
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
  const auto time = [](std::int64_t n, std::int64_t k, Device device = gpu()) {
    return product_us(device, {.rows = {4096}, .n = n, .k = k}) - 3.0;
  };
  EXPECT_DOUBLE_EQ(time(50257, 400), 3.0 * time(50304, 400));  // as many tiles
  EXPECT_DOUBLE_EQ(time(256, 4 * 100), time(256, 400));
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

TEST(KernelModel, RunsFlashAttention2AtItsShareOfTheFusedRate) {
  KernelParameters numbers = easy_numbers();
  const AttentionShape shape = attention_of(4, 8192, true);
  const double fused = attention_us(gpu(), Pass::fwd, shape, numbers) - 3.0;
  numbers.flash_2 = 0.5;
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::fwd, shape, numbers) - 3.0, fused);
  numbers.attention = AttentionKernels::flash_2;
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::fwd, shape, numbers) - 3.0, 2.0 * fused);
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
  AttentionShape shape = attention_of(1, 1024, true);
  EXPECT_TRUE(model.attention(Pass::fwd, shape, attention_work(Pass::fwd, shape)).has_value());
  shape.dtype = DType::fp8;
  EXPECT_FALSE(model.attention(Pass::fwd, shape, attention_work(Pass::fwd, shape)).has_value());
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
  const AttentionShape shape = attention_of(4, 1024, true);
  const Work work = attention_work(Pass::fwd, shape);
  EXPECT_DOUBLE_EQ(in_us(half.attention(Pass::fwd, shape, work)) - 3.0,
                   2.0 * (in_us(whole.attention(Pass::fwd, shape, work)) - 3.0));
  EXPECT_EQ(half.memory_bound(unit::megabyte), whole.memory_bound(unit::megabyte));
}

// A head of 1024 queries has four blocks, as many as multiprocessors; the last of them sees 896 keys on average, 7/4 of
// the mean.
TEST(KernelModel, WaitsForTheLongestBlockOfACausalAttentionOfFewHeads) {
  const double head = 2.0 * (1024.0 * 1024 / 2) * (128 + 128) / (4 * kSmRate * 0.4) * 1e6;
  const auto time = [](std::int64_t heads, bool causal) {
    return attention_us(gpu(), Pass::fwd, attention_of(heads, 1024, causal));
  };
  EXPECT_DOUBLE_EQ(time(1, true), 1.75 * head + 3.0);
  EXPECT_DOUBLE_EQ(time(2, true), 2.0 * head + 3.0);  // eight blocks, of which four are short enough to wait
  EXPECT_DOUBLE_EQ(time(4, true), 4.0 * head + 3.0);
  EXPECT_DOUBLE_EQ(time(1, false), 2.0 * head + 3.0);  // all pairs, in equal blocks
}

TEST(KernelModel, LeavesMultiprocessorsIdleWhereAttentionHasFewerBlocks) {
  const auto one_of = [](double blocks, double seq) {
    return 2.0 * seq * seq * (128 + 128) / blocks / (kSmRate * 0.4) * 1e6 + 3.0;
  };
  const auto time = [](std::int64_t seq) { return attention_us(gpu(), Pass::fwd, attention_of(1, seq, false)); };
  EXPECT_DOUBLE_EQ(time(256), one_of(1, 256));
  EXPECT_DOUBLE_EQ(time(300), one_of(2, 300));
  EXPECT_DOUBLE_EQ(time(512), one_of(2, 512));
}

TEST(KernelModel, RunsTheBackwardOfAttentionAtItsOwnRateInThreeKernels) {
  const double forward = 2.0 * 4 * (1024.0 * 1024 / 2) * (128 + 128);
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::igrad, attention_of(4, 1024, true)),
                   2.5 * forward / (4 * kSmRate * 0.25) * 1e6 + 3 * 3.0);
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::rec, attention_of(4, 1024, true)),
                   attention_us(gpu(), Pass::fwd, attention_of(4, 1024, true)));
}

TEST(KernelModel, SparesThePairsThatDocumentsLeaveOut) {
  const AttentionShape shape = attention_of(4, 1024, true);
  const double whole = attention_us(gpu(), Pass::fwd, shape) - 3.0;
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::fwd, shape, easy_numbers(), 0.5), 0.5 * whole + 3.0);
}

TEST(KernelModel, IsBoundByTheTrafficOfAttention) {
  const double rows = 4.0 * 1024 * 128 * 2;  // of queries, keys, values or the result
  const double statistics = 4.0 * 1024 * 4;
  EXPECT_DOUBLE_EQ(attention_us(gpu_of_slow_memory(), Pass::fwd, attention_of(4, 1024, true)),
                   slow_traffic_us(4 * rows + statistics));
}

TEST(KernelModel, MultipliesAllPairsWhereScoresAreWritten) {
  const double pairs = 4.0 * 8192 * 8192;
  // Two products of all pairs, and six passes over their scores; in the backward four products and eight passes.
  const auto time = [&](double products, double passes) {
    return (products * 2 * pairs * 128 / (4 * kSmRate * 0.5) + passes * pairs * 2 / (kBandwidth * 0.5)) * 1e6;
  };
  const AttentionShape causal = attention_of(4, 8192, true), whole = attention_of(4, 8192, false);
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::fwd, causal, materialized()), time(2, 6) + 4 * 3.0);
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::igrad, causal, materialized()), time(4, 8) + 6 * 3.0);
  for (const Pass pass : {Pass::fwd, Pass::igrad}) {
    EXPECT_DOUBLE_EQ(attention_us(gpu(), pass, whole, materialized()),
                     attention_us(gpu(), pass, causal, materialized()));
  }
}

TEST(KernelModel, TakesLongerForScoresThatAreWrittenTheLongerTheSequence) {
  const auto ratio = [](std::int64_t seq, Pass pass) {
    Device device = gpu(132);
    const AttentionShape shape = attention_of(16, seq, true);
    KernelParameters numbers;
    const double flash = attention_us(device, pass, shape, numbers);
    numbers.attention = AttentionKernels::materialized;
    return attention_us(device, pass, shape, numbers) / flash;
  };
  for (const Pass pass : {Pass::fwd, Pass::igrad}) {
    EXPECT_GT(ratio(2048, pass), 1.0);
    EXPECT_GT(ratio(16384, pass), ratio(2048, pass));
  }
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

TEST(KernelModel, AttendsToNoShapeFasterThanTheHardware) {
  const Device device = gpu(132);
  const double peak = device.peak.at(DType::bf16).in(unit::flop_per_second);
  for (const KernelParameters& numbers : {ideal(), KernelParameters()}) {
    for (const std::int64_t heads : {1, 5, 16, 128}) {
      for (const std::int64_t seq : {1, 100, 1024, 4097, 131072}) {
        for (const bool causal : {false, true}) {
          for (const Pass pass : {Pass::fwd, Pass::igrad}) {
            const AttentionShape shape = attention_of(heads, seq, causal);
            const Work work = attention_work(pass, shape);
            const double time = attention_us(device, pass, shape, numbers);
            EXPECT_GE(time, work.flops.in(unit::flop) / peak * 1e6 * (1.0 - 1e-12)) << heads << ' ' << seq;
            EXPECT_GE(time, (work.read + work.written).in(unit::byte) / kBandwidth * 1e6 * (1.0 - 1e-12))
                << heads << ' ' << seq;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace orrery::costmodel
