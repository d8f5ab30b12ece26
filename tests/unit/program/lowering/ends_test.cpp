// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/program/lowering/lowered.h"

namespace orrery {
namespace {

using testing::Lowered;
using testing::one_dense_layer;
using testing::small_strategy;
using testing::text_of;
using R = TensorRole;

Lowered over(std::int64_t tp, bool sp) {
  Strategy strategy = small_strategy(one_dense_layer());
  strategy.tp = tp;
  strategy.sp = sp;
  return {one_dense_layer(), strategy, tp};
}

TEST(Ends, TheEmbeddingIsLookedUpAndTheLossComputedFromLogits) {
  const Lowered lowered = over(1, false);
  EXPECT_EQ(lowered.of_layer(OpKey::kEmbed, Pass::fwd), "embed.lookup");
  EXPECT_EQ(lowered.of_layer(OpKey::kHead, Pass::fwd), "head.norm head.logits head.loss");
  EXPECT_EQ(lowered.backward(OpKey::kHead), "head.loss head.logits dw:head.logits head.norm");
  EXPECT_EQ(lowered.uses("head.loss", Pass::fwd), "logits! +labels +softmax");
  EXPECT_EQ(lowered.uses("embed.lookup", Pass::wgrad), "tokens! d_x!");
}

TEST(Ends, EachRankLooksUpItsPartOfTheVocabularyAndTheSumIsTheRow) {
  const Lowered split = over(2, true), whole = over(2, false);
  EXPECT_EQ(text_of(split.collective("tp.embed", Pass::fwd)), "reduce_scatter 4096");
  EXPECT_EQ(text_of(split.collective("tp.embed", Pass::wgrad)), "all_gather 4096");
  EXPECT_EQ(split.uses("tp.embed", Pass::fwd), "embed_part! +x");
  EXPECT_EQ(text_of(whole.collective("tp.embed", Pass::fwd)), "all_reduce 4096");
  EXPECT_EQ(whole.uses("tp.embed", Pass::fwd), "~x");
}

TEST(Ends, RanksAgreeOnTheMaximumBeforeTheLossAndOnTheSumBehindIt) {
  const Lowered lowered = over(2, true);
  EXPECT_EQ(lowered.of_layer(OpKey::kHead, Pass::fwd),
            "head.norm tp.head_in head.logits head.max tp.loss_max head.loss tp.loss_sum");
  EXPECT_EQ(lowered.uses("tp.loss_max", Pass::fwd), "~logits_max");
  EXPECT_EQ(lowered.uses("tp.loss_sum", Pass::fwd), "~softmax");
}

TEST(Ends, TheSoftmaxIsKeptInF32) {
  EXPECT_EQ(over(2, true).tensor(R::softmax).dtype, DType::f32);
  EXPECT_EQ(over(2, true).tensor(R::softmax).width, 128);
  EXPECT_EQ(over(2, true).tensor(R::logits).dtype, DType::bf16);
}

}  // namespace
}  // namespace orrery
