// SPDX-License-Identifier: Apache-2.0
#include "costmodel/kernel_model.h"
#include "tests/unit/costmodel/small_gpu.h"

#include <cstdint>
#include <optional>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

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

TEST(AttentionKernel, RunsFlashAttention2AtItsShareOfTheFusedRate) {
  KernelParameters numbers = easy_numbers();
  const AttentionShape shape = attention_of(4, 8192, true);
  const double fused = attention_us(gpu(), Pass::fwd, shape, numbers) - 3.0;
  numbers.flash_2 = 0.5;
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::fwd, shape, numbers) - 3.0, fused);
  numbers.attention = AttentionKernels::flash_2;
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::fwd, shape, numbers) - 3.0, 2.0 * fused);
}

// Pairs of a causal head that are multiplied: half of all, and 192 more keys for each query at the mask's edge.
double causal_pairs(double seq) { return seq * seq / 2 + 192 * seq; }

/// Of products of `pairs` pairs of heads of 128 columns on a device of four multiprocessors.
double products_us(double pairs, double share) { return 2.0 * pairs * (128 + 128) / (4 * kSmRate * share) * 1e6; }

// A head of 1024 queries has four blocks, as many as multiprocessors; the last of them has 7/4 of the mean to do. Where
// blocks are more, a fifth of it is still to do when others have ended.
TEST(AttentionKernel, WaitsForTheLongestBlockOfACausalAttentionOfFewHeads) {
  const double head = products_us(causal_pairs(1024), 0.4), longest = 1.75 * head;
  const auto time = [](std::int64_t heads, bool causal) {
    return attention_us(gpu(), Pass::fwd, attention_of(heads, 1024, causal));
  };
  EXPECT_DOUBLE_EQ(time(1, true), longest + 3.0);
  EXPECT_DOUBLE_EQ(time(2, true), 2.0 * head + 0.2 * longest + 3.0);
  EXPECT_DOUBLE_EQ(time(4, true), 4.0 * head + 0.2 * longest + 3.0);
  EXPECT_DOUBLE_EQ(time(1, false), products_us(1024.0 * 1024, 0.4) + 3.0);  // equal blocks
}

TEST(AttentionKernel, MultipliesNoMorePairsThanThereAre) {
  const AttentionShape shape = attention_of(4, 256, true);  // half of the pairs and 192 columns would be more
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::fwd, shape), 4 * products_us(256.0 * 256, 0.4) * 1.2 + 3.0);
}

TEST(AttentionKernel, MultipliesWholeTilesAtBothEdgesOfAWindow) {
  AttentionShape shape = attention_of(4, 8192, true);
  shape.window = 512;
  const double exact = 512.0 * (8192 - 512.0 / 2), edges = 192 * 8192.0 * (2.0 - 512.0 / 8192);
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::fwd, shape), 4 * products_us(exact + edges, 0.4) + 3.0);
  shape.window = 8192;  // sees all: the whole triangle, whose blocks only are called equal
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::fwd, shape), 4 * products_us(causal_pairs(8192), 0.4) + 3.0);
  shape.window = 2048;
  shape.chunked = true;  // blocks of the sequence: no second edge
  const double triangles = 4 * 2048.0 * 2048 / 2;
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::fwd, shape), 4 * products_us(triangles + 192 * 8192.0, 0.4) + 3.0);
}

// With 1e12 operations a second and 16 exponentials in each of 1.8e9 clocks, a pair of heads of 128 columns is
// multiplied in 512 ps, and its exponential takes 34.7 ps.
TEST(AttentionKernel, TakesAnExponentialForEachPairHoweverNarrowItsHeads) {
  const auto time = [](std::int64_t width, Pass pass, double exponentials) {
    AttentionShape shape = attention_of(4, 8192, false);
    shape.d_qk = shape.d_v = width;
    KernelParameters numbers = easy_numbers();
    numbers.exponentials = exponentials;
    numbers.kernel = Seconds::zero();
    Device device = gpu();
    device.memory_bandwidth = bytes_per_second(1e18);
    return attention_us(device, pass, shape, numbers);
  };
  const double wide = time(128, Pass::fwd, 16), sigma = 1.0 / (16 * 1.8e9) / (512.0 / kSmRate);
  EXPECT_NEAR(time(128, Pass::fwd, 32) / wide, (1.0 + sigma / 2.0) / (1.0 + sigma), 1e-12);
  EXPECT_NEAR(time(64, Pass::fwd, 16) / wide, 0.5 * (1.0 + 2.0 * sigma) / (1.0 + sigma), 1e-12);
  EXPECT_NEAR(time(64, Pass::fwd, 8) / wide, 0.5 * (1.0 + 4.0 * sigma) / (1.0 + sigma), 1e-12);
  EXPECT_NEAR(time(256, Pass::fwd, 16) / wide, 2.0, 1e-12);  // no more than the share
  const double back = 0.45 * sigma;
  EXPECT_NEAR(time(64, Pass::igrad, 16) / time(128, Pass::igrad, 16), 0.5 * (1.0 + 2.0 * back) / (1.0 + back), 1e-6);
}

/// An H100 and its numbers, to be compared with what cuDNN took on one (docs/validation/gpu/h100-more.jsonl).
double h100_us(Pass pass, std::int64_t batch, std::int64_t heads, std::int64_t seq, std::int64_t width,
               std::int64_t window) {
  Device h100 = gpu(132);
  h100.peak = {{DType::bf16, 989.4 * unit::teraflops_per_second}};
  h100.memory_bandwidth = bytes_per_second(3.35e12);
  KernelParameters numbers;
  numbers.attention_forward = 0.65;
  numbers.attention_backward = 0.58;
  numbers.memory = 0.8;
  numbers.kernel = microseconds(2);
  const AttentionShape shape{.batch = batch,
                             .heads = heads,
                             .kv_heads = 8,
                             .seq = seq,
                             .kv_seq = seq,
                             .d_qk = width,
                             .d_v = width,
                             .window = window};
  return attention_us(h100, pass, shape, numbers);
}

TEST(AttentionKernel, IsNearWhatCudnnTakesForWindowsAndNarrowHeads) {
  struct Measured {
    std::int64_t batch, heads, seq, width, window;
    double forward, backward;  // us
  };
  const Measured rows[] = {{1, 64, 4096, 64, 0, 330.0, 968.9},      {4, 64, 4096, 64, 0, 1237.3, 3699.3},
                           {1, 64, 16384, 64, 0, 4519.0, 12555.6},  {4, 64, 4096, 64, 128, 278.3, 1164.7},
                           {1, 64, 16384, 64, 512, 495.6, 1676.8},  {1, 64, 16384, 64, 4096, 2332.9, 6302.8},
                           {1, 32, 16384, 128, 0, 3759.4, 10262.0}, {1, 32, 16384, 128, 1024, 576.8, 1999.8}};
  for (const Measured& m : rows) {
    const auto message = ::testing::Message() << m.batch << ' ' << m.seq << ' ' << m.width << ' ' << m.window;
    EXPECT_NEAR(h100_us(Pass::fwd, m.batch, m.heads, m.seq, m.width, m.window) / m.forward, 1.0, 0.15) << message;
    EXPECT_NEAR(h100_us(Pass::igrad, m.batch, m.heads, m.seq, m.width, m.window) / m.backward, 1.0, 0.15) << message;
  }
}

TEST(AttentionKernel, LeavesMultiprocessorsIdleWhereAttentionHasFewerBlocks) {
  const auto one_of = [](double blocks, double seq) {
    return 2.0 * seq * seq * (128 + 128) / blocks / (kSmRate * 0.4) * 1e6 + 3.0;
  };
  const auto time = [](std::int64_t seq) { return attention_us(gpu(), Pass::fwd, attention_of(1, seq, false)); };
  EXPECT_DOUBLE_EQ(time(256), one_of(1, 256));
  EXPECT_DOUBLE_EQ(time(300), one_of(2, 300));
  EXPECT_DOUBLE_EQ(time(512), one_of(2, 512));
}

TEST(AttentionKernel, RunsTheBackwardOfAttentionAtItsOwnRateInThreeKernels) {
  // Around it the output and its gradient are multiplied, and a sum in f32 is zeroed and converted: 14 bytes an
  // element.
  const double head = products_us(causal_pairs(1024), 0.25), around = 14 * 4 * 1024.0 * 128 / (kBandwidth * 0.5) * 1e6;
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::igrad, attention_of(4, 1024, true)),
                   2.5 * (4 * head + 0.2 * 1.75 * head) + around + 3 * 3.0);
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::rec, attention_of(4, 1024, true)),
                   attention_us(gpu(), Pass::fwd, attention_of(4, 1024, true)));
}

TEST(AttentionKernel, SparesThePairsThatDocumentsLeaveOut) {
  const double pairs = 0.5 * 1024 * 1024 / 2 + 192 * 1024;  // what edges cost stays
  EXPECT_DOUBLE_EQ(attention_us(gpu(), Pass::fwd, attention_of(4, 1024, true), easy_numbers(), 0.5),
                   (4 + 0.2 * 1.75) * products_us(pairs, 0.4) + 3.0);
}

TEST(AttentionKernel, MultipliesAtTheClockThatThePowerLimitLeaves) {
  const Device device = gpu();
  const KernelParameters numbers = easy_numbers();
  const KernelModel whole(device, numbers), half(device, numbers, {.clock = 0.5});
  for (const std::int64_t width : {64, 128}) {
    AttentionShape shape = attention_of(4, 8192, true);
    shape.d_qk = shape.d_v = width;
    const Work work = attention_work(Pass::fwd, shape);
    EXPECT_DOUBLE_EQ(in_us(half.attention(Pass::fwd, shape, work)) - 3.0,
                     2.0 * (in_us(whole.attention(Pass::fwd, shape, work)) - 3.0));
  }
}

TEST(AttentionKernel, HasNoTimeWithoutAPeak) {
  const Device device = gpu();
  const KernelParameters numbers = easy_numbers();
  const KernelModel model(device, numbers);
  AttentionShape shape = attention_of(1, 1024, true);
  EXPECT_TRUE(model.attention(Pass::fwd, shape, attention_work(Pass::fwd, shape)).has_value());
  shape.dtype = DType::f32;
  EXPECT_FALSE(model.attention(Pass::fwd, shape, attention_work(Pass::fwd, shape)).has_value());
}

TEST(AttentionKernel, IsBoundByTheTrafficOfAttention) {
  const double rows = 4.0 * 1024 * 128 * 2;  // of queries, keys, values or the result
  const double statistics = 4.0 * 1024 * 4;
  EXPECT_DOUBLE_EQ(attention_us(gpu_of_slow_memory(), Pass::fwd, attention_of(4, 1024, true)),
                   slow_traffic_us(4 * rows + statistics));
}

TEST(AttentionKernel, MultipliesAllPairsWhereScoresAreWritten) {
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

TEST(AttentionKernel, TakesLongerForScoresThatAreWrittenTheLongerTheSequence) {
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

TEST(AttentionKernel, AttendsToNoShapeFasterThanTheHardware) {
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
