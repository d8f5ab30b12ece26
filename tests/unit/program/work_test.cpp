// SPDX-License-Identifier: Apache-2.0
#include "program/work.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

OpKey key(Pass pass) { return {.pass = pass, .op = OpCode::attn_qkv}; }

TEST(Work, EachPassOfAProductHasTheSameFlopsAndItsOwnOperands) {
  const OpShape shape = GemmShape{.m = 10, .n = 3, .k = 5, .dtype = DType::bf16, .accumulate = DType::f32};
  for (const Pass pass : {Pass::fwd, Pass::rec, Pass::igrad, Pass::wgrad}) {
    EXPECT_EQ(work_of(key(pass), shape, {}).flops.in(unit::flop), 300.0);
  }
  EXPECT_EQ(work_of(key(Pass::fwd), shape, {}).read, bytes(2 * (10 * 5 + 3 * 5)));
  EXPECT_EQ(work_of(key(Pass::fwd), shape, {}).written, bytes(2 * 10 * 3));
  EXPECT_EQ(work_of(key(Pass::igrad), shape, {}).read, bytes(2 * (10 * 3 + 3 * 5)));
  EXPECT_EQ(work_of(key(Pass::igrad), shape, {}).written, bytes(2 * 10 * 5));
  EXPECT_EQ(work_of(key(Pass::wgrad), shape, {}).read, bytes(2 * (10 * 5 + 10 * 3) + 4 * 3 * 5));
  EXPECT_EQ(work_of(key(Pass::wgrad), shape, {}).written, bytes(4 * 3 * 5));
}

TEST(Work, NodeLimitedRoutingReachesFewerNodes) {
  // DeepSeek-V3, 8 of 256 experts: 5.2947 of 8 nodes without its limit, nearly all of 4 groups with it.
  EXPECT_NEAR(expected_nodes(256, 8, 8, 1, 1), 5.2947, 1e-4);
  EXPECT_NEAR(expected_nodes(256, 8, 8, 8, 4), 3.96, 1e-12);
  // Two nodes are reached in any case; a group on two nodes gives both.
  EXPECT_DOUBLE_EQ(expected_nodes(256, 8, 2, 8, 4), expected_distinct(256, 8, 2));
  EXPECT_DOUBLE_EQ(expected_nodes(256, 8, 16, 8, 4), expected_distinct(256, 8, 16));
}

TEST(Work, GroupedProductsFollowTheLoad) {
  const OpShape shape =
      GroupedGemmShape{.rows = {Rows::Kind::received, 64}, .num_experts = 4, .n = 3, .k = 5, .dtype = DType::f32};
  EXPECT_EQ(work_of(key(Pass::fwd), shape, {.rows_per_expert = {}, .received = 7.0}).flops.in(unit::flop),
            2.0 * 7 * 3 * 5);
  EXPECT_EQ(work_of(key(Pass::fwd), shape, {.rows_per_expert = {}, .received = 7.0}).read,
            bytes(4 * (7 * 5 + 4 * 3 * 5)));
}

TEST(Work, CausalAttentionCountsHalfAndItsBackwardTwoAndAHalfTimes) {
  AttentionShape shape{
      .batch = 2, .heads = 3, .kv_heads = 1, .seq = 8, .kv_seq = 8, .d_qk = 4, .d_v = 6, .causal = true};
  EXPECT_EQ(work_of(key(Pass::fwd), shape, {}).flops.in(unit::flop), 2.0 * 2 * 3 * 32 * 10);
  EXPECT_EQ(work_of(key(Pass::igrad), shape, {}).flops.in(unit::flop), 2.5 * 2.0 * 2 * 3 * 32 * 10);
  shape.causal = false;
  EXPECT_EQ(work_of(key(Pass::fwd), shape, {}).flops.in(unit::flop), 2.0 * 2 * 3 * 64 * 10);
}

TEST(Work, DocumentsLeaveAShareOfTheFlopsOfAttentionAndAllOfItsBytes) {
  const AttentionShape shape{
      .batch = 2, .heads = 3, .kv_heads = 1, .seq = 8, .kv_seq = 8, .d_qk = 4, .d_v = 6, .causal = true};
  const Work whole = work_of(key(Pass::igrad), shape, {});
  const Work half = work_of(key(Pass::igrad), shape, {.attention_share = 0.5});
  EXPECT_EQ(half.flops, 0.5 * whole.flops);
  EXPECT_EQ(half.read, whole.read);
  EXPECT_EQ(half.written, whole.written);
}

TEST(Work, AWindowOfTheWholeSequenceChangesNothing) {
  AttentionShape shape{
      .batch = 1, .heads = 1, .kv_heads = 1, .seq = 8, .kv_seq = 8, .d_qk = 4, .d_v = 4, .causal = true};
  const Work full = work_of(key(Pass::fwd), shape, {});
  shape.window = 8;
  EXPECT_EQ(work_of(key(Pass::fwd), shape, {}).flops, full.flops);
  shape.window = 4;
  EXPECT_EQ(work_of(key(Pass::fwd), shape, {}).flops.in(unit::flop), 2.0 * (4 * 8 - 8) * 8);
}

TEST(Work, CollectivesSendTheVolumeOfARing) {
  const CollectiveShape all_reduce{.kind = CollectiveKind::all_reduce, .bytes = 1000};
  const CollectiveShape all_gather{.kind = CollectiveKind::all_gather, .bytes = 1000};
  EXPECT_EQ(wire_bytes(all_reduce, 4), bytes(1500));
  EXPECT_EQ(wire_bytes(all_gather, 4), bytes(750));
  EXPECT_EQ(wire_bytes(all_reduce, 1), bytes(0));
}

TEST(Work, AnExchangeSendsRowsForOthersAndTheirCounts) {
  // Two ranks with one expert each; rank 0 sends 3 of its 4 pairs away, rank 1 sends 1 of 4.
  const RoutingMatrix routing{.group = 2, .num_experts = 2, .pairs = {1, 3, 1, 3}};
  const ExchangeShape dispatch{.rows = {Rows::Kind::routed, 4}, .row_bytes = 10, .count_bytes = 4, .to_experts = true};
  EXPECT_EQ(wire_bytes(dispatch, routing, 0), bytes(34));
  EXPECT_EQ(wire_bytes(dispatch, routing, 1), bytes(14));
  ExchangeShape combine = dispatch;
  combine.to_experts = false;
  EXPECT_EQ(wire_bytes(combine, routing, 0), bytes(14));
  EXPECT_EQ(wire_bytes(combine, routing, 1), bytes(34));
}

TEST(Work, AnExchangeOfTwoLevelsSendsTheTokensThatWereCounted) {
  // Two ranks with two experts each: rank 0 sends the 5 pairs of 3 tokens away, rank 1 the 4 pairs of 4.
  RoutingMatrix routing{.group = 2, .num_experts = 4, .pairs = {2, 1, 2, 3, 2, 2, 3, 1}};
  const ExchangeShape dispatch{.rows = {Rows::Kind::routed, 8},
                               .row_bytes = 10,
                               .count_bytes = 4,
                               .to_experts = true,
                               .two_level = true,
                               .top_k = 2};
  // Of two of four experts one is elsewhere with 5/6: 5/3 ranks for each token instead of 2.
  EXPECT_NEAR(wire_bytes(dispatch, routing, 0).in(unit::byte), 5.0 * 10.0 * 5.0 / 6.0 + 4.0, 1e-9);
  routing.tokens = {3, 3, 4, 4};
  EXPECT_EQ(wire_bytes(dispatch, routing, 0), bytes(34));
  EXPECT_EQ(wire_bytes(dispatch, routing, 1), bytes(44));
  ExchangeShape combine = dispatch;
  combine.to_experts = false;
  EXPECT_EQ(wire_bytes(combine, routing, 0), bytes(44));
  ExchangeShape of_pairs = dispatch;
  of_pairs.two_level = false;
  EXPECT_EQ(wire_bytes(of_pairs, routing, 0), bytes(54));
}

}  // namespace
}  // namespace orrery
