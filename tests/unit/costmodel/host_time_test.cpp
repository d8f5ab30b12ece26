// SPDX-License-Identifier: Apache-2.0
#include "costmodel/host_time.h"

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using ::testing::ElementsAre;

/// An op of the forward of micro-batch 0 on stage 0, unless its key says otherwise.
struct Enqueued {
  double host = 0.0, compute = 0.0, alone = 0.0;  // microseconds
  Queue queue = Queue::compute;
  OpKey key = {.micro_batch = 0};
};

/// Microseconds of each op once it has waited for its host.
std::vector<double> waited(const std::vector<Enqueued>& enqueued) {
  std::vector<Op> ops;
  std::vector<Seconds> host, alone, compute;
  for (const Enqueued& op : enqueued) {
    ops.push_back({.key = op.key, .queue = op.queue});
    host.push_back(microseconds(op.host));
    alone.push_back(microseconds(op.alone));
    compute.push_back(microseconds(op.compute));
  }
  wait_for_host(ops, host, alone, compute);
  std::vector<double> out;
  for (const Seconds time : compute) out.push_back(time.in(unit::microsecond));
  return out;
}

auto times(double a, double b) { return ElementsAre(::testing::DoubleEq(a), ::testing::DoubleEq(b)); }
auto times(double a, double b, double c) {
  return ElementsAre(::testing::DoubleEq(a), ::testing::DoubleEq(b), ::testing::DoubleEq(c));
}

double kernels_of(OpCode op, Pass pass, const OpShape& shape, bool materialized_attention = false) {
  KernelParameters calls;
  if (materialized_attention) calls.attention = AttentionKernels::materialized;
  return num_kernels({.pass = pass, .op = op}, shape, calls);
}

TEST(WaitForHost, HasOneKernelForAllExpertsWhereTheyAreFused) {
  KernelParameters calls;
  const OpKey fc1{.pass = Pass::fwd, .op = OpCode::moe_fc1}, act{.pass = Pass::fwd, .op = OpCode::moe_act};
  const GroupedGemmShape few{.num_experts = 2, .dtype = DType::fp8}, many{.num_experts = 64, .dtype = DType::fp8};
  EXPECT_GT(num_kernels(fc1, many, calls), num_kernels(fc1, few, calls));
  EXPECT_GT(num_kernels(act, MemoryShape{}, calls), 0.0);
  calls.fused_experts = true;
  EXPECT_EQ(num_kernels(fc1, many, calls), num_kernels(fc1, few, calls));
  EXPECT_EQ(num_kernels(act, MemoryShape{}, calls), 0.0);
}

TEST(WaitForHost, ChangesNothingWhereTheDeviceHasMoreToDo) {
  // One op alone is host-bound, but the host is ahead by then.
  EXPECT_THAT(waited({{.host = 10, .compute = 50}, {.host = 20, .compute = 1}}), times(50, 1));
}

TEST(WaitForHost, LastsAsLongAsTheHostWhereThatTakesLonger) {
  // 40 us of the host for 20 us of the device: 20 are missing, which go by the time to enqueue.
  EXPECT_THAT(waited({{.host = 30, .compute = 10}, {.host = 10, .compute = 10}}), times(25, 15));
}

TEST(WaitForHost, GivesTheMissingTimeToComputeOpsAlone) {
  // 60 us of the host, 40 of them for arithmetic, and 20 us of the device.
  EXPECT_THAT(waited({{.host = 30, .compute = 10}, {.host = 20, .queue = Queue::tp}, {.host = 10, .compute = 10}}),
              times(10 + 40 * 0.75, 0, 10 + 40 * 0.25));
}

TEST(WaitForHost, CountsCommunicationThatArithmeticWaitsFor) {
  EXPECT_THAT(waited({{.host = 30, .compute = 10}, {.host = 20, .alone = 40, .queue = Queue::tp}}), times(10, 0));
  EXPECT_THAT(waited({{.host = 30, .compute = 10}, {.host = 20, .alone = 15, .queue = Queue::tp}}), times(35, 0));
}

TEST(WaitForHost, LeavesAWindowWithoutArithmeticAsItIs) {
  EXPECT_THAT(waited({{.host = 20, .queue = Queue::tp}, {.host = 20, .queue = Queue::copy}}), times(0, 0));
  // The same where nobody knows how long arithmetic takes to enqueue.
  EXPECT_THAT(waited({{.host = 0, .compute = 1}, {.host = 20, .queue = Queue::tp}}), times(1, 0));
}

TEST(WaitForHost, LeavesNoOpsAsTheyAre) { EXPECT_TRUE(waited({}).empty()); }

TEST(WaitForHost, StartsAnewWithEachMicroBatchStageAndDirection) {
  const OpKey key{.micro_batch = 1, .stage = 2, .pass = Pass::fwd};
  OpKey other_micro_batch = key, other_stage = key, backward = key, end = key;
  other_micro_batch.micro_batch = 2;
  other_stage.stage = 3;
  backward.pass = Pass::igrad;
  end.pass = Pass::update;
  for (const OpKey& next : {other_micro_batch, other_stage, backward, end}) {
    // The long op would hide the host's time for the short one.
    EXPECT_THAT(waited({{.host = 30, .compute = 10, .key = key}, {.host = 10, .compute = 100, .key = next}}),
                times(30, 100))
        << to_string(next);
  }
}

TEST(WaitForHost, KeepsAllPassesOfADirectionTogether) {
  const auto together = [](Pass a, Pass b) {
    const OpKey first{.micro_batch = 0, .pass = a}, second{.micro_batch = 0, .pass = b};
    return waited({{.host = 30, .compute = 10, .key = first}, {.host = 10, .compute = 100, .key = second}});
  };
  EXPECT_THAT(together(Pass::rec, Pass::igrad), times(10, 100));
  EXPECT_THAT(together(Pass::igrad, Pass::wgrad), times(10, 100));
  EXPECT_THAT(together(Pass::sync, Pass::update), times(10, 100));
  // Layers of a stage run on.
  const OpKey layer3{.micro_batch = 0, .layer = 3}, layer4{.micro_batch = 0, .layer = 4};
  EXPECT_THAT(waited({{.host = 30, .compute = 10, .key = layer3}, {.host = 10, .compute = 100, .key = layer4}}),
              times(10, 100));
}

TEST(WaitForHost, StartsAnewWhenAMicroBatchIsTakenUpAgain) {
  const OpKey key{.micro_batch = 0}, between{.micro_batch = 1};
  EXPECT_THAT(waited({{.host = 30, .compute = 10, .key = key},
                      {.host = 10, .compute = 10, .key = between},
                      {.host = 10, .compute = 100, .key = key}}),
              times(30, 10, 100));
}

TEST(NumKernels, GrowsWithTheExpertsAndWithTheirCasts) {
  const auto kernels = [](std::int64_t experts, DType dtype) {
    return kernels_of(OpCode::moe_fc1, Pass::fwd, GroupedGemmShape{.num_experts = experts, .dtype = dtype});
  };
  EXPECT_EQ(kernels(8, DType::bf16) - kernels(4, DType::bf16), 4.0);  // a product for each
  EXPECT_GT(kernels(4, DType::fp8), kernels(4, DType::bf16));
  EXPECT_EQ(kernels(8, DType::fp8) - kernels(4, DType::fp8), 10.0);
}

TEST(NumKernels, HasMoreWhereAttentionWritesItsScores) {
  for (const Pass pass : {Pass::fwd, Pass::rec, Pass::igrad}) {
    EXPECT_GT(kernels_of(OpCode::attn_core, pass, AttentionShape(), true),
              kernels_of(OpCode::attn_core, pass, AttentionShape(), false))
        << name_of(pass);
  }
  EXPECT_EQ(kernels_of(OpCode::attn_qkv, Pass::fwd, GemmShape(), true),
            kernels_of(OpCode::attn_qkv, Pass::fwd, GemmShape(), false));
}

TEST(NumKernels, HasMoreInTheBackwardOfAttentionAndOfStreamingOps) {
  EXPECT_GT(kernels_of(OpCode::attn_core, Pass::igrad, AttentionShape()),
            kernels_of(OpCode::attn_core, Pass::fwd, AttentionShape()));
  EXPECT_GT(kernels_of(OpCode::attn_norm, Pass::igrad, MemoryShape()),
            kernels_of(OpCode::attn_norm, Pass::fwd, MemoryShape()));
}

TEST(NumKernels, CountsManySmallOnesForRouterAndOptimizer) {
  const double norm = kernels_of(OpCode::attn_norm, Pass::fwd, MemoryShape());
  for (const OpCode op : {OpCode::attn_rope, OpCode::moe_router, OpCode::moe_permute, OpCode::moe_unpermute,
                          OpCode::head_loss, OpCode::adamw_dense, OpCode::adamw_expert}) {
    EXPECT_GT(kernels_of(op, Pass::fwd, MemoryShape()), norm) << name_of(op);
  }
  EXPECT_GT(kernels_of(OpCode::moe_router, Pass::fwd, GemmShape()),
            kernels_of(OpCode::mlp_fc1, Pass::fwd, GemmShape()));
}

TEST(NumKernels, IsAtLeastOneForEverythingThatAHostEnqueues) {
  for (const OpShape& shape :
       {OpShape(GemmShape()), OpShape(GroupedGemmShape()), OpShape(AttentionShape()), OpShape(MemoryShape()),
        OpShape(CollectiveShape()), OpShape(ExchangeShape()), OpShape(PeerShape()), OpShape(CopyShape())}) {
    EXPECT_GE(kernels_of(OpCode::mlp_fc1, Pass::fwd, shape), 1.0) << shape.index();
  }
}

}  // namespace
}  // namespace orrery::costmodel
