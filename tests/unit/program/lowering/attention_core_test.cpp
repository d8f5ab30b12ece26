// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/attention_core.h"

#include "program/work.h"
#include "tests/unit/program/lowering/lowered.h"

namespace orrery {
namespace {

using testing::Lowered;
using testing::one_dense_layer;
using testing::small_mla;
using testing::small_strategy;
using testing::text_of;
using R = TensorRole;

constexpr BatchShape kBatch{.seq = 64, .global_batch = 4};

Lowered over(std::int64_t cp, ContextParallel kind, const Model& model = one_dense_layer()) {
  Strategy strategy = small_strategy(model);
  strategy.cp = cp;
  strategy.cp_kind = kind;
  return {model, strategy, cp, kBatch};
}

/// FLOPs of all attention ops of one rank in one micro-batch.
double attention_flops(const Lowered& lowered, Pass pass) {
  double sum = 0.0;
  for (OpIndex op = 0; op < lowered.ops().ops.size(); ++op) {
    const OpKey& key = lowered.key(op);
    if (key.micro_batch != 0 || key.op != OpCode::attn_core || key.pass != pass) continue;
    sum += work_of(key, OpShape(lowered.shape<AttentionShape>(op)), {}).flops.in(unit::flop);
  }
  return sum;
}

/// Names of attention and of what travels for it, in one pass of a micro-batch.
std::string core_ops(const Lowered& lowered, Pass pass) {
  return lowered.names([&](const OpKey& key) {
    const bool travels = key.op >= OpCode::cp_kv && key.op <= OpCode::cp_out;
    return key.micro_batch == 0 && key.pass == pass && (travels || key.op == OpCode::attn_core);
  });
}

TEST(AttentionCore, AloneItIsOneOp) {
  const Lowered lowered = over(1, ContextParallel::ring);
  EXPECT_EQ(core_ops(lowered, Pass::fwd), "attn.core");
  EXPECT_EQ(core_ops(lowered, Pass::igrad), "attn.core");
  EXPECT_EQ(lowered.uses("attn.core", Pass::fwd), "qkv +attn_out +lse");
  EXPECT_EQ(lowered.uses("attn.core", Pass::igrad), "qkv! attn_out! lse! d_attn_out! +d_qkv");
}

TEST(AttentionCore, ARingHasOneRoundForEachRankAndOneExchangeLess) {
  const Lowered lowered = over(4, ContextParallel::ring);
  EXPECT_EQ(core_ops(lowered, Pass::fwd),
            "cp.kv.b0 attn.core.b0 cp.kv.b1 attn.core.b1 cp.kv.b2 attn.core.b2 attn.core.b3");
  EXPECT_EQ(core_ops(lowered, Pass::igrad),
            "cp.kv.b0 attn.core.b0 cp.kv.b1 attn.core.b1 cp.dkv.b1 cp.kv.b2 attn.core.b2 cp.dkv.b2 "
            "attn.core.b3 cp.dkv.b3");
}

TEST(AttentionCore, ARingPassesKeysAndValuesOfItsOwnTokensOn) {
  const Lowered lowered = over(4, ContextParallel::ring);
  // 16 tokens, 2 heads of keys and values of 16 elements each, bf16.
  const std::string expected = "ring_shift " + std::to_string(16 * 2 * (16 + 16) * 2);
  for (const std::string op : {"cp.kv.b0", "cp.kv.b1", "cp.kv.b2"}) {
    EXPECT_EQ(text_of(lowered.collective(op, Pass::fwd)), expected) << op;
    EXPECT_EQ(text_of(lowered.collective(op, Pass::igrad)), expected) << op;
  }
  EXPECT_EQ(text_of(lowered.collective("cp.dkv.b3", Pass::igrad)), expected);
  EXPECT_EQ(lowered.collective("cp.kv.b0", Pass::fwd).group, Group::cp);
}

TEST(AttentionCore, TheBuffersOfARingTakeTurns) {
  const Lowered lowered = over(4, ContextParallel::ring);
  EXPECT_EQ(lowered.uses("cp.kv.b0", Pass::fwd), "qkv +ring_kv");
  EXPECT_EQ(lowered.uses("cp.kv.b1", Pass::fwd), "ring_kv +ring_kv_next");
  // The third exchange overwrites what the first one brought.
  EXPECT_EQ(lowered.uses("cp.kv.b2", Pass::fwd), "ring_kv_next ring_kv! +ring_kv");
  EXPECT_EQ(lowered.uses("attn.core.b3", Pass::fwd), "ring_kv_next! qkv ring_kv! ~attn_out ~lse");
}

TEST(AttentionCore, ARoundOfARingWorksBesideTheExchangeForTheNextOne) {
  const Lowered lowered = over(4, ContextParallel::ring);
  const OpIndex travels = lowered.find("cp.kv.b1", Pass::fwd), round = lowered.find("attn.core.b1", Pass::fwd);
  EXPECT_FALSE(lowered.waits_for(round, travels));
  EXPECT_TRUE(lowered.waits_for(lowered.find("attn.core.b2", Pass::fwd), travels));
}

TEST(AttentionCore, GradientsOfKeysAndValuesAreSummedOnTheirWayHome) {
  const Lowered lowered = over(4, ContextParallel::ring);
  EXPECT_EQ(lowered.uses("cp.dkv.b1", Pass::igrad), "ring_dkv_part! +ring_dkv");
  EXPECT_EQ(lowered.uses("cp.dkv.b2", Pass::igrad), "ring_dkv_part! ring_dkv! +ring_dkv");
  EXPECT_EQ(lowered.uses("cp.dkv.b3", Pass::igrad), "ring_dkv_part! ring_dkv! ~d_qkv");
}

TEST(AttentionCore, ZigzagWorkIsTheSameInEveryRound) {
  const Lowered lowered = over(4, ContextParallel::ring);
  for (const std::string round : {"attn.core.b1", "attn.core.b2", "attn.core.b3"}) {
    EXPECT_EQ(lowered.shape<AttentionShape>(round, Pass::fwd),
              lowered.shape<AttentionShape>("attn.core.b0", Pass::fwd));
  }
}

TEST(AttentionCore, TheRanksTogetherDoTheWorkOfOne) {
  for (const Model& model : {one_dense_layer(), small_mla()}) {
    for (const Pass pass : {Pass::fwd, Pass::igrad}) {
      const double alone = attention_flops(over(1, ContextParallel::ring, model), pass);
      ASSERT_GT(alone, 0.0);
      for (const auto kind : {ContextParallel::ring, ContextParallel::all_gather, ContextParallel::ulysses}) {
        EXPECT_DOUBLE_EQ(2.0 * attention_flops(over(2, kind, model), pass), alone) << static_cast<int>(kind);
      }
      EXPECT_DOUBLE_EQ(4.0 * attention_flops(over(4, ContextParallel::ring, model), pass), alone);
    }
  }
}

TEST(AttentionCore, GatheredKeysAreThoseOfTheWholeSequence) {
  const Lowered lowered = over(4, ContextParallel::all_gather);
  EXPECT_EQ(core_ops(lowered, Pass::fwd), "cp.kv attn.core");
  EXPECT_EQ(core_ops(lowered, Pass::igrad), "cp.kv attn.core cp.dkv");
  const std::string whole = std::to_string(64 * 2 * (16 + 16) * 2);
  EXPECT_EQ(text_of(lowered.collective("cp.kv", Pass::fwd)), "all_gather " + whole);
  EXPECT_EQ(text_of(lowered.collective("cp.dkv", Pass::igrad)), "reduce_scatter " + whole);
  const auto shape = lowered.shape<AttentionShape>("attn.core", Pass::fwd);
  EXPECT_EQ(shape.seq, 16);
  EXPECT_EQ(shape.kv_seq, 64);
  EXPECT_EQ(lowered.uses("cp.dkv", Pass::igrad), "d_kv_full! ~d_qkv");
}

TEST(AttentionCore, GatheredKeysAreGatheredAgainForTheBackward) {
  const Lowered lowered = over(4, ContextParallel::all_gather);
  EXPECT_EQ(lowered.uses("attn.core", Pass::fwd), "qkv kv_full! +attn_out +lse");
  EXPECT_EQ(lowered.uses("cp.kv", Pass::igrad), "qkv +kv_full");
}

TEST(AttentionCore, UlyssesExchangesHeadsForSequence) {
  const Lowered lowered = over(2, ContextParallel::ulysses);
  EXPECT_EQ(core_ops(lowered, Pass::fwd), "cp.in attn.core cp.out");
  EXPECT_EQ(core_ops(lowered, Pass::igrad), "cp.out attn.core cp.in");
  const auto shape = lowered.shape<AttentionShape>("attn.core", Pass::fwd);
  EXPECT_EQ(shape.seq, 64);
  EXPECT_EQ(shape.kv_seq, 64);
  EXPECT_EQ(shape.heads, 2);
  EXPECT_EQ(shape.kv_heads, 1);
  EXPECT_EQ(lowered.tensor(R::core_in).rows.count, 64);
  EXPECT_EQ(lowered.tensor(R::core_in).width, (4 * 16 + 2 * 32) / 2);
  EXPECT_EQ(lowered.tensor(R::lse).width, 2);
}

TEST(AttentionCore, UlyssesSendsWhatARankHolds) {
  const Lowered lowered = over(2, ContextParallel::ulysses);
  // 32 tokens of queries (64), keys and values (64) there, and of outputs (64) back.
  EXPECT_EQ(text_of(lowered.collective("cp.in", Pass::fwd)), "all_to_all " + std::to_string(32 * 128 * 2));
  EXPECT_EQ(text_of(lowered.collective("cp.out", Pass::fwd)), "all_to_all " + std::to_string(32 * 64 * 2));
  EXPECT_EQ(text_of(lowered.collective("cp.out", Pass::igrad)), "all_to_all " + std::to_string(32 * 64 * 2));
  EXPECT_EQ(text_of(lowered.collective("cp.in", Pass::igrad)), "all_to_all " + std::to_string(32 * 128 * 2));
}

TEST(AttentionCore, InARingOfLatentAttentionQueriesKeepTheirGradientAtHome) {
  const Lowered lowered = over(2, ContextParallel::ring, small_mla());
  EXPECT_EQ(lowered.uses("cp.dkv.b1", Pass::igrad), "ring_dkv_part! ~d_kv");
  // 32 tokens, 4 heads of 12 elements of keys and 8 of values.
  EXPECT_EQ(text_of(lowered.collective("cp.kv.b0", Pass::fwd)), "ring_shift " + std::to_string(32 * 4 * 20 * 2));
}

}  // namespace
}  // namespace orrery
