// SPDX-License-Identifier: Apache-2.0
#include "costmodel/nccl_tuning.h"

#include <string>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

constexpr auto kTree = NcclAlgorithm::tree, kRing = NcclAlgorithm::ring, kNvls = NcclAlgorithm::nvls,
               kNvlsTree = NcclAlgorithm::nvls_tree, kPat = NcclAlgorithm::pat;
constexpr auto kLl = NcclProtocol::ll, kLl128 = NcclProtocol::ll128, kSimple = NcclProtocol::simple;
constexpr auto kReduce = NcclOp::all_reduce, kGather = NcclOp::all_gather, kScatter = NcclOp::reduce_scatter;

NcclGroup group(std::int64_t ranks, std::int64_t nodes, GpuGeneration generation, double intra, double inter,
                std::int64_t channels) {
  return {.num_ranks = ranks,
          .num_nodes = nodes,
          .generation = generation,
          .intra = intra * unit::gigabytes_per_second,
          .inter = inter * unit::gigabytes_per_second,
          .num_channels = channels};
}

/// What the second set of goldens has where a row does not say otherwise.
NcclGroup usual(std::int64_t ranks, std::int64_t nodes) {
  return group(ranks, nodes, GpuGeneration::hopper, 40, 24, 8);
}

struct Golden {
  NcclOp op;
  NcclAlgorithm algorithm;
  NcclProtocol protocol;
  double size;
  NcclGroup in;
  double microseconds;
};

void expect_times(std::initializer_list<Golden> goldens) {
  for (const Golden& golden : goldens) {
    const auto got = nccl_estimate(golden.in, golden.op, golden.algorithm, golden.protocol, bytes(golden.size));
    SCOPED_TRACE(std::string(name_of(golden.algorithm)) + " " + std::string(name_of(golden.protocol)));
    ASSERT_TRUE(got);
    EXPECT_NEAR(got->time(bytes(golden.size)).in(unit::microsecond), golden.microseconds, 1e-3);
    EXPECT_LE(got->share, 1.0);
    EXPECT_GT(got->share, 0.0);
  }
}

// Times of a second implementation of the same formulas.
TEST(NcclTuning, GivesTheTimesOfItsFormulas) {
  const NcclGroup node = group(8, 1, GpuGeneration::ampere, 20, 20, 12);
  const NcclGroup nodes = group(64, 8, GpuGeneration::hopper, 40, 40, 8);
  expect_times({{kReduce, kRing, kSimple, 1 << 30, node, 7885.3675},
                {kReduce, kRing, kLl, 8192, node, 15.1635},
                {kReduce, kRing, kLl128, 1 << 20, node, 48.9107},
                {kReduce, kTree, kSimple, 1 << 20, node, 83.3959},
                {kReduce, kRing, kSimple, 1 << 28, nodes, 2470.7872},
                {kReduce, kTree, kSimple, 1 << 28, nodes, 2219.6612},
                {kReduce, kTree, kLl, 4096, nodes, 45.7737},
                {kScatter, kRing, kSimple, 1 << 28, nodes, 1122.5536},
                {kGather, kRing, kSimple, 1 << 28, nodes, 1122.5536}});
}

// Times that NCCL 2.30.7's own tuning code gave.
TEST(NcclTuning, GivesTheTimesOfNcclItself) {
  NcclGroup blackwell = usual(32, 4);
  blackwell.generation = GpuGeneration::blackwell;
  NcclGroup ampere = group(16, 2, GpuGeneration::ampere, 40, 24, 4);
  ampere.amd_cpu = ampere.plain_tree = true;
  ampere.network_latency = microseconds(0.5);
  NcclGroup volta = group(8, 8, GpuGeneration::volta, 40, 24, 2);
  volta.network_latency = microseconds(2);
  NcclGroup amd = usual(32, 4);
  amd.amd_cpu = true;
  expect_times({{kReduce, kNvls, kSimple, 1 << 28, usual(8, 1), 2471.677},
                {kGather, kNvls, kSimple, 1 << 28, usual(8, 1), 1423.101},
                {kReduce, kNvlsTree, kSimple, 1 << 28, usual(48, 6), 2846.549},
                {kReduce, kNvlsTree, kSimple, 1 << 20, blackwell, 129.763},
                {kGather, kPat, kSimple, 1 << 22, usual(12, 12), 82.727},
                {kReduce, kTree, kLl128, 1 << 22, ampere, 203.702},
                {kReduce, kRing, kSimple, 1 << 26, volta, 2941.437},
                {kReduce, kRing, kLl, 65536, amd, 141.483}});
}

TEST(NcclTuning, UsesAPairOnlyWhereNcclDoes) {
  const auto has = [](const NcclGroup& in, NcclOp op, NcclAlgorithm algorithm, NcclProtocol protocol) {
    return nccl_estimate(in, op, algorithm, protocol, bytes(1024)).has_value();
  };
  EXPECT_FALSE(has(usual(8, 1), kGather, kTree, kLl));
  EXPECT_FALSE(has(usual(8, 1), kReduce, kNvls, kLl));
  EXPECT_FALSE(has(usual(16, 2), kReduce, kNvls, kSimple));
  EXPECT_FALSE(has(usual(8, 1), kReduce, kNvlsTree, kSimple));
  EXPECT_FALSE(has(usual(8, 8), kReduce, kNvlsTree, kSimple));
  EXPECT_FALSE(has(group(8, 1, GpuGeneration::ampere, 20, 20, 12), kReduce, kNvls, kSimple));
  EXPECT_FALSE(has(usual(16, 2), kGather, kPat, kSimple));
  EXPECT_TRUE(has(usual(8, 8), kScatter, kPat, kSimple));
  NcclGroup pcie = usual(8, 1);
  pcie.nvlink = false;
  EXPECT_FALSE(has(pcie, kReduce, kRing, kLl128));
  EXPECT_FALSE(has(pcie, kReduce, kNvls, kSimple));
  EXPECT_TRUE(has(pcie, kReduce, kRing, kSimple));
}

TEST(NcclTuning, TakesLowLatencyForSmallBuffersAndFullBandwidthForLargeOnes) {
  const NcclGroup nodes = usual(256, 32);
  EXPECT_EQ(nccl_choice(nodes, kReduce, bytes(8)).algorithm, kTree);
  EXPECT_EQ(nccl_choice(nodes, kReduce, bytes(8)).protocol, kLl);
  EXPECT_EQ(nccl_choice(nodes, kGather, bytes(8)).protocol, kLl);
  const NcclEstimate large = nccl_choice(nodes, kGather, gib(4));
  EXPECT_EQ(large.algorithm, kRing);
  EXPECT_EQ(large.protocol, kSimple);
  EXPECT_DOUBLE_EQ(large.share, 1.0);
  // A tree grows with the logarithm of the nodes, a ring with the ranks.
  const Seconds tree = nccl_choice(nodes, kReduce, bytes(8)).latency;
  EXPECT_LT(tree, microseconds(100));
  EXPECT_GT(nccl_choice(nodes, kGather, bytes(8)).latency, microseconds(250));
}

}  // namespace
}  // namespace orrery::costmodel
