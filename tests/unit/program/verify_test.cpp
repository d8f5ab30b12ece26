// SPDX-License-Identifier: Apache-2.0
// Each test plants one fault into a sound program and expects it to be named.
#include "program/verify.h"

#include "program/lower.h"
#include "tests/unit/program/small_models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::small_moe;
using testing::small_strategy;

StepProgram sound_program() {
  const Model model = small_moe(2);
  return lower(model, small_strategy(model, 2, 2), {.seq = 8, .global_batch = 6}, 4);
}

OpIndex find(const RankClass& c, OpCode code, int micro_batch) {
  for (OpIndex i = 0; i < c.ops.size(); ++i) {
    if (c.ops[i].key.op == code && c.ops[i].key.micro_batch == micro_batch) return i;
  }
  ADD_FAILURE() << name_of(code);
  return 0;
}

/// Exchanges the places of two ops of one queue.
void swap_ops(RankClass& c, OpIndex a, OpIndex b) {
  std::swap(c.ops[a].key, c.ops[b].key);
  std::swap(c.ops[a].shape, c.ops[b].shape);
}

TEST(Verify, AcceptsASoundProgram) { EXPECT_THAT(verify(sound_program()), IsEmpty()); }

TEST(Verify, FindsADependencyOnALaterOp) {
  StepProgram program = sound_program();
  RankClass& c = program.classes[0];
  const OpIndex send = find(c, OpCode::pp_send_act, 0);
  c.deps[c.dep_begin[send]] = static_cast<OpIndex>(c.ops.size() - 1);
  EXPECT_THAT(verify(program), Contains("pipeline rank 0: step/mb0/stage0/fwd/pp.send_act depends on a later op"));
}

TEST(Verify, FindsAShapeThatDoesNotExist) {
  StepProgram program = sound_program();
  program.classes[0].ops[3].shape = 999;
  EXPECT_THAT(verify(program), Contains(HasSubstr("has shape 999 of ")));
}

TEST(Verify, FindsTheSameKeyTwice) {
  StepProgram program = sound_program();
  program.classes[0].ops[4].key = program.classes[0].ops[3].key;
  EXPECT_THAT(verify(program), Contains("pipeline rank 0: step/mb0/stage0/layer0/fwd/attn.rope twice"));
}

TEST(Verify, FindsAUseOfATensorAfterItsRelease) {
  StepProgram program = sound_program();
  RankClass& c = program.classes[0];
  // attn.qkv (op 2) reads norm1, which the weight gradient needs again.
  c.uses[c.use_begin[2]].set_releases();
  EXPECT_THAT(verify(program), Contains(HasSubstr("uses after its release norm1")));
}

TEST(Verify, FindsAUseOfATensorBeforeItsCreation) {
  StepProgram program = sound_program();
  RankClass& c = program.classes[0];
  c.uses[c.use_begin[2]] = TensorUse(static_cast<TensorIndex>(c.tensors.size() - 1), Access::read);
  EXPECT_THAT(verify(program), Contains(HasSubstr("step/mb0/stage0/layer0/fwd/attn.qkv uses before it exists")));
}

TEST(Verify, FindsATensorCreatedTwice) {
  StepProgram program = sound_program();
  RankClass& c = program.classes[0];
  c.uses[c.use_begin[2]] = TensorUse(c.uses[c.use_begin[2]].tensor(), Access::create);
  EXPECT_THAT(verify(program), Contains("pipeline rank 0: step/mb0/stage0/layer0/fwd/attn.qkv creates again norm1"));
}

TEST(Verify, FindsATensorThatOutlivesTheStep) {
  StepProgram program = sound_program();
  RankClass& c = program.classes[0];
  for (TensorUse& use : c.uses) {
    if (use.releases() && c.tensors[use.tensor()].role == TensorRole::lse) {
      use = TensorUse(use.tensor(), use.access());
      break;
    }
  }
  EXPECT_THAT(verify(program), Contains("pipeline rank 0: lse of layer 0, micro-batch 0 is never released"));
}

TEST(Verify, FindsMessagesInAnotherOrderOnTheOtherEnd) {
  StepProgram program = sound_program();
  RankClass& c = program.classes[1];
  swap_ops(c, find(c, OpCode::pp_recv_act, 0), find(c, OpCode::pp_recv_act, 1));
  EXPECT_THAT(verify(program),
              Contains("pipeline rank 0: step/mb0/stage0/fwd/pp.send_act meets step/mb1/stage1/fwd/pp.recv_act of "
                       "pipeline rank 1: the order differs"));
}

TEST(Verify, FindsAMessageWhoseEndsDisagreeAboutItsSize) {
  StepProgram program = sound_program();
  RankClass& c = program.classes[1];
  Op& receive = c.ops[find(c, OpCode::pp_recv_act, 0)];
  PeerShape shape = std::get<PeerShape>(program.shapes[receive.shape]);
  shape.bytes += 1;
  receive.shape = static_cast<ShapeId>(program.shapes.size());
  program.shapes.emplace_back(shape);
  EXPECT_THAT(verify(program), Contains(HasSubstr("which is not its other end")));
}

TEST(Verify, FindsASendThatNobodyReceives) {
  StepProgram program = sound_program();
  RankClass& c = program.classes[1];
  c.ops[find(c, OpCode::pp_recv_act, 2)].queue = Queue::compute;
  EXPECT_THAT(verify(program), Contains("pipeline rank 0: step/mb2/stage0/fwd/pp.send_act never runs, and 0 ops "
                                        "behind it"));
}

TEST(Verify, FindsADeadlockAcrossRanks) {
  StepProgram program = sound_program();
  // Rank 0 sends micro-batch 0 only after it has the gradient of micro-batch 0, which needs that message.
  RankClass& c = program.classes[0];
  const OpIndex send = find(c, OpCode::pp_send_act, 0), receive = find(c, OpCode::pp_recv_grad, 0);
  ASSERT_LT(send, receive);
  // The receive of the gradient moves to the place of the op that the send waits for.
  std::swap(c.ops[c.deps_of(send)[0]], c.ops[receive]);
  EXPECT_THAT(verify(program), Contains(HasSubstr("never runs")));
}

TEST(Verify, FindsAGlobalCollectiveWithAnotherShape) {
  StepProgram program = sound_program();
  RankClass& c = program.classes[1];
  Op& norm = c.ops[find(c, OpCode::norm_reduce, -1)];
  CollectiveShape shape = std::get<CollectiveShape>(program.shapes[norm.shape]);
  shape.bytes *= 2;
  norm.shape = static_cast<ShapeId>(program.shapes.size());
  program.shapes.emplace_back(shape);
  EXPECT_THAT(verify(program), Contains("pipeline rank 1: step/stage1/sync/norm.reduce has another shape than on "
                                        "pipeline rank 0"));
}

TEST(Verify, FindsListsThatDoNotCoverTheOps) {
  StepProgram program = sound_program();
  program.classes[1].dep_begin.pop_back();
  EXPECT_THAT(verify(program), Contains(HasSubstr("pipeline rank 1: lists of dependencies or uses do not cover its ")));
}

}  // namespace
}  // namespace orrery
