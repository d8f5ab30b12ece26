// SPDX-License-Identifier: Apache-2.0
#include "program/work.h"
#include "tests/unit/program/lowering/lowered.h"

namespace orrery {
namespace {

using testing::Lowered;
using testing::small_moe;
using testing::small_strategy;
using testing::text_of;
using R = TensorRole;

// 32 tokens, each with 2 of 8 experts, on every rank: 64 pairs leave it. A row has 64 elements of bf16.

Strategy over(std::int64_t ep, Dispatcher dispatcher) {
  Strategy strategy = small_strategy(small_moe(), 1, ep);
  strategy.dispatcher = dispatcher;
  return strategy;
}

Lowered lowered_over(std::int64_t ep, Dispatcher dispatcher) { return {small_moe(), over(ep, dispatcher), ep}; }

/// Ops between router and residual.
std::string experts(const Lowered& lowered, Pass pass) {
  return lowered.names([&](const OpKey& key) {
    return key.micro_batch == 0 && key.layer == 1 && key.pass == pass && key.op >= OpCode::moe_permute &&
           key.op <= OpCode::moe_unpermute;
  });
}

TEST(MoeDispatch, WithinOneRankNothingTravels) {
  const Lowered lowered = lowered_over(1, Dispatcher::all_to_all);
  EXPECT_EQ(experts(lowered, Pass::fwd), "moe.permute moe.fc1 moe.act moe.fc2 moe.unpermute");
  EXPECT_EQ(experts(lowered, Pass::igrad), "moe.unpermute moe.fc2 moe.act moe.fc1 moe.permute");
  EXPECT_EQ(lowered.uses("moe.permute", Pass::fwd), "norm2 scores choices +expert_in +expert_probs");
}

TEST(MoeDispatch, PairsAreCopiedThenSentThenComputedThenSentBackThenSummed) {
  const Lowered lowered = lowered_over(2, Dispatcher::all_to_all);
  EXPECT_EQ(experts(lowered, Pass::fwd), "moe.permute moe.dispatch moe.fc1 moe.act moe.fc2 moe.combine moe.unpermute");
  EXPECT_EQ(experts(lowered, Pass::igrad),
            "moe.unpermute moe.combine moe.fc2 moe.act moe.fc1 moe.dispatch moe.permute");
  EXPECT_EQ(lowered.uses("moe.permute", Pass::fwd), "norm2 scores choices +send_rows +send_probs");
  EXPECT_EQ(lowered.uses("moe.dispatch", Pass::fwd), "send_rows! send_probs! +expert_in +expert_probs");
  EXPECT_EQ(lowered.uses("moe.combine", Pass::fwd), "expert_out! +combined_rows");
  EXPECT_EQ(lowered.uses("moe.unpermute", Pass::fwd), "combined_rows! choices +moe_out");
}

TEST(MoeDispatch, ARowTravelsWithItsProbabilityAndTheCountsOfItsExperts) {
  const Lowered lowered = lowered_over(2, Dispatcher::all_to_all);
  const auto there = lowered.shape<ExchangeShape>("moe.dispatch", Pass::fwd);
  EXPECT_EQ(there.rows, (Rows{Rows::Kind::routed, 64}));
  EXPECT_EQ(there.row_bytes, 64 * 2 + 4);
  EXPECT_EQ(there.count_bytes, 4 * 4);  // four experts on each rank
  EXPECT_TRUE(there.to_experts);
  const auto back = lowered.shape<ExchangeShape>("moe.combine", Pass::fwd);
  EXPECT_EQ(back.row_bytes, 64 * 2);
  EXPECT_EQ(back.count_bytes, 0);
  EXPECT_FALSE(back.to_experts);
}

TEST(MoeDispatch, SaysHowManyRowsOfEachSequenceComeWhereGradientsHaveATermForEach) {
  Strategy strategy = over(2, Dispatcher::all_to_all);
  strategy.micro_batch = 2;
  const auto count_bytes = [&] {
    return Lowered(small_moe(), strategy, 2).shape<ExchangeShape>("moe.dispatch", Pass::fwd).count_bytes;
  };
  EXPECT_EQ(count_bytes(), 4 * 4);
  strategy.grad_dtype = strategy.grad_wire_dtype = DType::i64;
  EXPECT_EQ(count_bytes(), 2 * 4 * 4);
}

TEST(MoeDispatch, GradientsOfRowsTravelTheOppositeWay) {
  const Lowered lowered = lowered_over(2, Dispatcher::all_to_all);
  EXPECT_TRUE(lowered.shape<ExchangeShape>("moe.combine", Pass::igrad).to_experts);
  EXPECT_FALSE(lowered.shape<ExchangeShape>("moe.dispatch", Pass::igrad).to_experts);
  EXPECT_EQ(lowered.shape<ExchangeShape>("moe.combine", Pass::igrad).row_bytes, 64 * 2);
  EXPECT_EQ(lowered.shape<ExchangeShape>("moe.dispatch", Pass::igrad).row_bytes, 64 * 2 + 4);
}

TEST(MoeDispatch, AnAllGatherBringsEveryTokenOfTheGroup) {
  const Lowered lowered = lowered_over(2, Dispatcher::all_gather);
  EXPECT_EQ(experts(lowered, Pass::fwd), "moe.dispatch moe.permute moe.fc1 moe.act moe.fc2 moe.unpermute moe.combine");
  EXPECT_EQ(lowered.tensor(R::recv_rows).rows, (Rows{Rows::Kind::fixed, 64}));
  // A row, 8 scores of f32 and 8 choices of one byte.
  EXPECT_EQ(text_of(lowered.collective("moe.dispatch", Pass::fwd)), "all_gather " + std::to_string(64 * (128 + 40)));
  EXPECT_EQ(text_of(lowered.collective("moe.combine", Pass::fwd)), "reduce_scatter " + std::to_string(64 * 128));
  EXPECT_EQ(text_of(lowered.collective("moe.combine", Pass::igrad)), "all_gather " + std::to_string(64 * 128));
  EXPECT_EQ(text_of(lowered.collective("moe.dispatch", Pass::igrad)),
            "reduce_scatter " + std::to_string(64 * (128 + 32)));
}

TEST(MoeDispatch, OfTheGatheredTokensOnlyThoseOfTheRanksExpertsAreComputed) {
  const Lowered lowered = lowered_over(2, Dispatcher::all_gather);
  EXPECT_EQ(lowered.shape<GroupedGemmShape>("moe.fc1", Pass::fwd).rows, (Rows{Rows::Kind::received, 64}));
  EXPECT_EQ(lowered.uses("moe.permute", Pass::fwd), "recv_rows! recv_scores! recv_choices +expert_in +expert_probs");
}

TEST(MoeDispatch, ATokenTravelsOnceToARank) {
  const Lowered lowered = lowered_over(2, Dispatcher::two_level);
  // Of two choices among 8 experts both are on the same of two ranks with probability 3/7 (the second one is among the
  // 3 others of the 7 left), so that a token visits 11/7 ranks: 50.3 tokens arrive instead of 64 pairs.
  EXPECT_EQ(lowered.tensor(R::recv_rows).rows, (Rows{Rows::Kind::distinct, 51}));
  const auto shape = lowered.shape<ExchangeShape>("moe.dispatch", Pass::fwd);
  EXPECT_TRUE(shape.two_level);
  EXPECT_EQ(shape.top_k, 2);
  EXPECT_EQ(shape.row_bytes, 64 * 2 + 2 * (8 + 4));  // with index and weight of both choices
  EXPECT_EQ(lowered.shape<GroupedGemmShape>("moe.fc1", Pass::fwd).rows, (Rows{Rows::Kind::received, 64}));
}

TEST(MoeDispatch, OnlyAFlatExchangeBringsRowsSenderBySender) {
  const auto by_sender = [](std::int64_t ep, Dispatcher dispatcher) {
    const Lowered lowered = lowered_over(ep, dispatcher);
    const auto fc1 = lowered.shape<GroupedGemmShape>("moe.fc1", Pass::fwd);
    EXPECT_EQ(lowered.shape<GroupedGemmShape>("moe.fc2", Pass::igrad).by_sender, fc1.by_sender);
    return fc1.by_sender;
  };
  EXPECT_TRUE(by_sender(2, Dispatcher::all_to_all));
  EXPECT_FALSE(by_sender(1, Dispatcher::all_to_all));
  EXPECT_FALSE(by_sender(2, Dispatcher::all_gather));
  EXPECT_FALSE(by_sender(2, Dispatcher::two_level));
}

TEST(MoeDispatch, SumsOfATokensRowsTravelBackOnce) {
  const Lowered lowered = lowered_over(2, Dispatcher::two_level);
  EXPECT_EQ(experts(lowered, Pass::fwd), "moe.dispatch moe.permute moe.fc1 moe.act moe.fc2 moe.unpermute moe.combine");
  EXPECT_EQ(lowered.tensor(R::back_rows).rows.kind, Rows::Kind::distinct);
  EXPECT_EQ(lowered.uses("moe.combine", Pass::fwd), "back_rows! +moe_out");
  EXPECT_EQ(lowered.shape<ExchangeShape>("moe.combine", Pass::fwd).row_bytes, 64 * 2);
  EXPECT_EQ(lowered.shape<ExchangeShape>("moe.dispatch", Pass::igrad).row_bytes, 64 * 2 + 2 * 4);
}

TEST(MoeDispatch, RowsGoToTheExpertsInFp8AndComeBackInBf16) {
  for (const auto dispatcher : {Dispatcher::all_to_all, Dispatcher::two_level}) {
    Strategy strategy = over(2, dispatcher);
    strategy.precision = DType::fp8;
    strategy.fp8_recipe = Fp8Recipe::mxfp8;  // 64 bytes and a scale of one byte for 32 elements
    const Lowered lowered(small_moe(), strategy, 2);
    const std::int64_t beside = dispatcher == Dispatcher::all_to_all ? 4 : 2 * 12;
    EXPECT_EQ(lowered.shape<ExchangeShape>("moe.dispatch", Pass::fwd).row_bytes, 64 + 2 + beside);
    EXPECT_EQ(lowered.shape<ExchangeShape>("moe.combine", Pass::fwd).row_bytes, 64 * 2);
    EXPECT_EQ(lowered.shape<ExchangeShape>("moe.combine", Pass::igrad).row_bytes, 64 + 2);
    EXPECT_EQ(lowered.tensor(R::norm2, 1).dtype, DType::bf16);
  }
}

TEST(MoeDispatch, WithACapacityTheCountsAreKnownAndNotSent) {
  Strategy strategy = over(2, Dispatcher::all_to_all);
  strategy.capacity_factor = 1.25;
  const Lowered lowered(small_moe(), strategy, 2);
  const auto there = lowered.shape<ExchangeShape>("moe.dispatch", Pass::fwd);
  EXPECT_EQ(there.rows, (Rows{Rows::Kind::fixed, 80}));
  EXPECT_EQ(there.count_bytes, 0);
}

TEST(MoeDispatch, WithSequenceParallelismEachRankSendsItsOwnTokens) {
  Strategy strategy = over(2, Dispatcher::all_to_all);
  strategy.tp = 2;
  strategy.sp = true;
  const Lowered lowered(small_moe(), strategy, 2);
  EXPECT_EQ(lowered.shape<ExchangeShape>("moe.dispatch", Pass::fwd).rows, (Rows{Rows::Kind::routed, 32}));
}

}  // namespace
}  // namespace orrery
