// SPDX-License-Identifier: Apache-2.0
#include "costmodel/rccl_tuning.h"

#include <string>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

constexpr auto kTree = NcclAlgorithm::tree, kRing = NcclAlgorithm::ring;
constexpr auto kLl = NcclProtocol::ll, kLl128 = NcclProtocol::ll128, kSimple = NcclProtocol::simple;
constexpr auto kReduce = NcclOp::all_reduce, kGather = NcclOp::all_gather, kScatter = NcclOp::reduce_scatter;

RcclGroup group(std::int64_t ranks, std::int64_t nodes, RcclNode node = RcclNode::mi250) {
  return {.num_ranks = ranks, .num_nodes = nodes, .node = node, .rate = 161.4 * unit::gigabytes_per_second};
}

// Times that RCCL 2.21.5's own tuning code gave for nodes of 16 dies of MI250 and AMD's CPUs.
TEST(RcclTuning, GivesTheTimesOfRcclItself) {
  struct Golden {
    NcclOp op;
    NcclAlgorithm algorithm;
    NcclProtocol protocol;
    double size;
    std::int64_t ranks, nodes;
    double microseconds;
  };
  for (const Golden& g : {Golden{kReduce, kRing, kSimple, 1 << 28, 16, 1, 3243.442},
                          {kReduce, kRing, kSimple, 1 << 28, 64, 4, 5672.964},
                          {kReduce, kRing, kLl128, 1 << 20, 16, 1, 107.711},
                          {kReduce, kRing, kLl128, 1 << 22, 32, 2, 613.605},
                          {kReduce, kTree, kLl, 8192, 16, 1, 42.345},
                          {kGather, kRing, kSimple, 1 << 28, 64, 4, 2641.782},
                          {kReduce, kTree, kSimple, 1 << 28, 64, 4, 6442.285},
                          {kScatter, kRing, kLl, 65536, 32, 2, 133.624}}) {
    const auto got = rccl_estimate(group(g.ranks, g.nodes), g.op, g.algorithm, g.protocol, bytes(g.size));
    SCOPED_TRACE(std::string(name_of(g.algorithm)) + " " + std::string(name_of(g.protocol)));
    ASSERT_TRUE(got);
    EXPECT_NEAR(got->time(bytes(g.size)).in(unit::microsecond), g.microseconds, 1e-3);
  }
}

TEST(RcclTuning, UsesAPairOnlyWhereRcclDoes) {
  const auto has = [](const RcclGroup& in, NcclOp op, NcclAlgorithm algorithm, NcclProtocol protocol) {
    return rccl_estimate(in, op, algorithm, protocol, bytes(1024)).has_value();
  };
  const RcclGroup mi300 = group(8, 1, RcclNode::mi300);
  EXPECT_FALSE(has(mi300, kReduce, kTree, kSimple));
  EXPECT_TRUE(has(group(16, 2, RcclNode::mi300), kReduce, kTree, kSimple));
  EXPECT_FALSE(has(mi300, kReduce, kRing, kLl128));
  EXPECT_FALSE(has(mi300, kGather, kTree, kLl));
  EXPECT_FALSE(has(mi300, kReduce, NcclAlgorithm::nvls, kSimple));
  EXPECT_EQ(rccl_estimates(mi300, kGather, bytes(1024)).size(), 2);
}

TEST(RcclTuning, AddsANetworksLatencyToEachOfItsSteps) {
  RcclGroup slow = group(16, 2, RcclNode::mi300);
  const auto latency = [&](NcclProtocol protocol) {
    return rccl_estimate(slow, kReduce, kTree, protocol, bytes(64))->latency.in(unit::microsecond);
  };
  EXPECT_NEAR(latency(kLl), 12 + 2 * (7 * 0.9 + 10.5), 1e-9);
  slow.network_latency = microseconds(30);  // in place of the table's; twice with Simple
  EXPECT_NEAR(latency(kLl), 12 + 2 * (7 * 0.9 + 30), 1e-9);
  EXPECT_NEAR(latency(kSimple), 17 + 2 * (7 * 2.3 + 60), 1e-9);
}

}  // namespace
}  // namespace orrery::costmodel
