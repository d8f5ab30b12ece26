// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/class_builder.h"

#include <gtest/gtest.h>

namespace orrery::lowering {
namespace {

using R = TensorRole;
constexpr Rows kRows{Rows::Kind::fixed, 8};

OpRule rule(OpCode op, Queue queue, std::vector<RoleUse> uses) {
  return {.op = op, .pass = Pass::fwd, .queue = queue, .shape = 0, .uses = std::move(uses)};
}

OpRule makes(R role, Queue queue = Queue::compute, int offset = 0) {
  return rule(OpCode::attn_norm, queue, {create(role, kRows, 4, DType::bf16, offset)});
}
OpRule reads(R role, Queue queue = Queue::compute, int offset = 0) {
  return rule(OpCode::attn_out, queue, {read(role, offset)});
}

class ClassBuilderTest : public ::testing::Test {
 protected:
  std::vector<OpIndex> deps(OpIndex op) const {
    const auto found = class_.deps_of(op);
    return {found.begin(), found.end()};
  }

  RankClass class_;
  ClassBuilder builder_{class_, {3, 4}, 2};
  const ClassBuilder::Position at_{.stage = 1, .layer = 3, .micro_batch = 0, .key_layer = 3};
};

TEST_F(ClassBuilderTest, AReaderOnAnotherQueueWaitsForTheWriter) {
  const OpIndex writer = builder_.emit(makes(R::x), at_), reader = builder_.emit(reads(R::x, Queue::tp), at_);
  builder_.finish();
  EXPECT_EQ(deps(writer), std::vector<OpIndex>());
  EXPECT_EQ(deps(reader), std::vector<OpIndex>({writer}));
}

TEST_F(ClassBuilderTest, OrderWithinAQueueIsImplied) {
  builder_.emit(makes(R::x), at_);
  const OpIndex reader = builder_.emit(reads(R::x), at_);
  builder_.finish();
  EXPECT_EQ(deps(reader), std::vector<OpIndex>());
}

TEST_F(ClassBuilderTest, AReaderWaitsForTheLastOneThatModified) {
  builder_.emit(makes(R::x), at_);
  const OpIndex modifier = builder_.emit(rule(OpCode::attn_rope, Queue::tp, {modify(R::x)}), at_);
  const OpIndex reader = builder_.emit(reads(R::x, Queue::ep), at_);
  builder_.finish();
  EXPECT_EQ(deps(reader), std::vector<OpIndex>({modifier}));
}

TEST_F(ClassBuilderTest, WhatAQueueHasWaitedForItDoesNotWaitForAgain) {
  builder_.emit(makes(R::x), at_);
  builder_.emit(makes(R::norm1), at_);
  const OpIndex first = builder_.emit(reads(R::norm1, Queue::tp), at_);
  const OpIndex second = builder_.emit(reads(R::x, Queue::tp), at_);
  builder_.finish();
  EXPECT_EQ(deps(first), std::vector<OpIndex>({1}));
  EXPECT_EQ(deps(second), std::vector<OpIndex>());
}

TEST_F(ClassBuilderTest, OfTwoOpsOfOneQueueOnlyTheLaterIsWaitedFor) {
  builder_.emit(makes(R::x), at_);
  builder_.emit(makes(R::norm1), at_);
  const OpIndex reader = builder_.emit(rule(OpCode::attn_out, Queue::tp, {read(R::x), read(R::norm1)}), at_);
  builder_.finish();
  EXPECT_EQ(deps(reader), std::vector<OpIndex>({1}));
}

TEST_F(ClassBuilderTest, ExplicitOrderIsKeptAcrossQueues) {
  const OpIndex first = builder_.emit(makes(R::x), at_);
  const std::vector<OpIndex> after = {first};
  const OpIndex second = builder_.emit(makes(R::norm1, Queue::copy), at_, after);
  builder_.finish();
  EXPECT_EQ(deps(second), std::vector<OpIndex>({first}));
}

TEST_F(ClassBuilderTest, TheLastUseReleases) {
  builder_.emit(makes(R::x), at_);
  builder_.emit(reads(R::x), at_);
  builder_.emit(reads(R::x), at_);
  builder_.finish();
  EXPECT_FALSE(class_.uses_of(0)[0].releases());
  EXPECT_FALSE(class_.uses_of(1)[0].releases());
  EXPECT_TRUE(class_.uses_of(2)[0].releases());
}

TEST_F(ClassBuilderTest, ATensorThatIsCreatedAgainIsAnotherOne) {
  builder_.emit(makes(R::x), at_);
  builder_.emit(makes(R::x), at_);
  const OpIndex reader = builder_.emit(reads(R::x), at_);
  builder_.finish();
  EXPECT_EQ(class_.uses_of(reader)[0].tensor(), 1u);
  EXPECT_TRUE(class_.uses_of(0)[0].releases());
}

TEST_F(ClassBuilderTest, LayersAndMicroBatchesHaveTensorsOfTheirOwn) {
  builder_.emit(makes(R::x), at_);
  builder_.emit(makes(R::x, Queue::compute, 1), at_);
  ClassBuilder::Position other = at_;
  other.micro_batch = 1;
  builder_.emit(makes(R::x), other);
  const OpIndex behind = builder_.emit(reads(R::x, Queue::compute, 1), at_);
  const OpIndex second = builder_.emit(reads(R::x), other);
  builder_.finish();
  EXPECT_EQ(class_.uses_of(behind)[0].tensor(), 1u);
  EXPECT_EQ(class_.tensors[1].layer, 4);
  EXPECT_EQ(class_.uses_of(second)[0].tensor(), 2u);
  EXPECT_EQ(class_.tensors[2].micro_batch, 1);
}

TEST_F(ClassBuilderTest, WhatARecomputationMakesOfKeptTensorsIsScratch) {
  builder_.emit(makes(R::attn_out), at_);
  builder_.emit_again(makes(R::attn_out), at_, {R::attn_out});
  const OpIndex reader = builder_.emit(reads(R::attn_out), at_);
  builder_.finish();
  EXPECT_EQ(class_.ops[1].key.pass, Pass::rec);
  EXPECT_TRUE(class_.uses_of(1)[0].releases());
  EXPECT_EQ(class_.uses_of(reader)[0].tensor(), 0u);
}

TEST_F(ClassBuilderTest, WhatARecomputationMakesOfDroppedTensorsTakesTheirPlace) {
  builder_.emit(makes(R::norm1), at_);
  builder_.emit_again(makes(R::norm1), at_, {});
  const OpIndex reader = builder_.emit(reads(R::norm1), at_);
  builder_.finish();
  EXPECT_EQ(class_.uses_of(reader)[0].tensor(), 1u);
}

TEST_F(ClassBuilderTest, TheKeySaysWhereAndWhatTheOpIs) {
  OpRule sliced = makes(R::x);
  sliced.bucket = 2;
  builder_.emit(sliced, at_);
  builder_.finish();
  EXPECT_EQ(to_string(class_.ops[0].key), "step/mb0/stage1/layer3/fwd/attn.norm.b2");
}

TEST_F(ClassBuilderTest, TheLastOpOfAQueueIsFound) {
  builder_.emit(makes(R::x, Queue::tp), at_);
  builder_.emit(makes(R::norm1), at_);
  EXPECT_EQ(builder_.last(Queue::tp), 0u);
  EXPECT_EQ(builder_.last(Queue::compute), 1u);
  EXPECT_EQ(builder_.next(), 2u);
}

}  // namespace
}  // namespace orrery::lowering
