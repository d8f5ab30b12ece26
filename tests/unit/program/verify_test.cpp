// SPDX-License-Identifier: Apache-2.0
// Each test plants one fault into a sound program and expects it to be named.
#include "program/verify.h"

#include "program/lower.h"
#include "program/schedule.h"
#include "tests/unit/program/small_models.h"

#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::small_moe;
using testing::small_strategy;
using testing::staged_strategy;

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

/// Takes ops away, with their uses and the dependencies on them.
template <class Predicate>
void erase_ops(RankClass& c, Predicate&& is_erased) {
  RankClass out{.pipeline_rank = c.pipeline_rank, .stages = c.stages, .tensors = c.tensors};
  std::vector<OpIndex> moved(c.ops.size());
  for (OpIndex op = 0; op < c.ops.size(); ++op) {
    if (is_erased(c.ops[op])) continue;
    moved[op] = static_cast<OpIndex>(out.ops.size());
    out.ops.push_back(c.ops[op]);
    out.dep_begin.push_back(static_cast<std::uint32_t>(out.deps.size()));
    out.use_begin.push_back(static_cast<std::uint32_t>(out.uses.size()));
    for (const OpIndex dep : c.deps_of(op)) {
      if (!is_erased(c.ops[dep])) out.deps.push_back(moved[dep]);
    }
    out.uses.insert(out.uses.end(), c.uses_of(op).begin(), c.uses_of(op).end());
  }
  out.dep_begin.push_back(static_cast<std::uint32_t>(out.deps.size()));
  out.use_begin.push_back(static_cast<std::uint32_t>(out.uses.size()));
  c = std::move(out);
}

/// Makes an op wait for nothing but its queue.
void drop_dependencies(RankClass& c, OpIndex op) {
  const std::uint32_t begin = c.dep_begin[op], dropped = c.dep_begin[op + 1] - begin;
  c.deps.erase(c.deps.begin() + begin, c.deps.begin() + begin + dropped);
  for (std::size_t i = op + 1; i < c.dep_begin.size(); ++i) c.dep_begin[i] -= dropped;
}

/// Gives an op a shape of its own, changed by `change`.
template <class Shape, class Change>
void change_shape(StepProgram& program, Op& op, Change&& change) {
  auto shape = std::get<Shape>(program.shapes[op.shape]);
  change(shape);
  op.shape = static_cast<ShapeId>(program.shapes.size());
  program.shapes.emplace_back(shape);
}

/// Four ranks of two in DualPipe: 0 and 3 hold the same stages, and 1 and 2.
StepProgram mirrored_program() {
  const Model model = small_moe(4);
  return lower(model, staged_strategy(model, Schedule::dualpipe, 4, 1, 2), {.seq = 8, .global_batch = 16}, 8);
}

TEST(Verify, AcceptsASoundProgram) {
  EXPECT_THAT(verify(sound_program()), IsEmpty());
  EXPECT_THAT(verify(mirrored_program()), IsEmpty());
}

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
  change_shape<PeerShape>(program, c.ops[find(c, OpCode::pp_recv_act, 0)], [](PeerShape& shape) { ++shape.bytes; });
  EXPECT_THAT(verify(program), Contains(HasSubstr("which is not its other end")));
}

TEST(Verify, FindsASendThatNobodyReceives) {
  StepProgram program = sound_program();
  erase_ops(program.classes[1],
            [](const Op& op) { return op.key.op == OpCode::pp_recv_act && op.key.micro_batch == 2; });
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
  change_shape<CollectiveShape>(program, c.ops[find(c, OpCode::norm_reduce, -1)],
                                [](CollectiveShape& shape) { shape.bytes *= 2; });
  EXPECT_THAT(verify(program), Contains("pipeline rank 1: step/stage1/sync/norm.reduce has another shape than on "
                                        "pipeline rank 0"));
}

TEST(Verify, FindsListsThatDoNotCoverTheOps) {
  StepProgram program = sound_program();
  program.classes[1].dep_begin.pop_back();
  EXPECT_THAT(verify(program), Contains(HasSubstr("pipeline rank 1: lists of dependencies or uses do not cover its ")));
}

TEST(Verify, FindsARankWithoutAProgram) {
  StepProgram program = sound_program();
  program.classes.pop_back();
  EXPECT_THAT(verify(program), Contains("pipeline rank 1: there are programs for 1 of 2 pipeline ranks"));
}

TEST(Verify, FindsATensorThatDoesNotExist) {
  StepProgram program = sound_program();
  RankClass& c = program.classes[0];
  c.uses[c.use_begin[2]] = TensorUse(static_cast<TensorIndex>(c.tensors.size()), Access::read);
  EXPECT_THAT(verify(program),
              Contains("pipeline rank 0: step/mb0/stage0/layer0/fwd/attn.qkv uses a tensor that does not exist"));
}

TEST(Verify, FindsAMicroBatchBeyondTheLast) {
  StepProgram program = sound_program();
  program.classes[0].ops[3].key.micro_batch = 3;
  EXPECT_THAT(verify(program),
              Contains("pipeline rank 0: step/mb3/stage0/layer0/fwd/attn.rope is of micro-batch 3 of 3"));
}

TEST(Verify, FindsAStageOfAnotherRank) {
  StepProgram program = sound_program();
  program.classes[0].ops[3].key.stage = 1;
  EXPECT_THAT(verify(program),
              Contains("pipeline rank 0: step/mb0/stage1/layer0/fwd/attn.rope is of a stage that is not "
                       "here"));
}

TEST(Verify, FindsArithmeticOnTheQueueOfAnExchange) {
  StepProgram program = sound_program();
  program.classes[1].ops[find(program.classes[1], OpCode::moe_fc1, 0)].queue = Queue::ep;
  EXPECT_THAT(verify(program),
              Contains("pipeline rank 1: step/mb0/stage1/layer1/fwd/moe.fc1 is on a queue that does not run [grouped 4 "
                       "experts received(16)x64x64 bf16]"));
}

TEST(Verify, FindsAnExchangeOnTheQueueOfArithmeticOrOfAnotherGroup) {
  for (const Queue queue : {Queue::compute, Queue::dp, Queue::pp_send_next}) {
    StepProgram program = sound_program();
    program.classes[1].ops[find(program.classes[1], OpCode::moe_dispatch, 0)].queue = queue;
    EXPECT_THAT(verify(program),
                Contains("pipeline rank 1: step/mb0/stage1/layer1/fwd/moe.dispatch is on a queue that does not run "
                         "[exchange to experts over ep, routed(16) rows of 132 B, 16 B of counts]"));
  }
}

TEST(Verify, FindsAMessageToTheWrongNeighbour) {
  StepProgram program = sound_program();
  RankClass& c = program.classes[0];
  change_shape<PeerShape>(program, c.ops[find(c, OpCode::pp_send_act, 0)],
                          [](PeerShape& shape) { shape.peer = Group::pp_prev; });
  EXPECT_THAT(verify(program), Contains("pipeline rank 0: step/mb0/stage0/fwd/pp.send_act is on a queue that does not "
                                        "run [send to pp_prev of 1024 B]"));
}

TEST(Verify, FindsAGradientOnTheQueueOfActivations) {
  StepProgram program = mirrored_program();
  RankClass& c = program.classes[0];  // both queues send to the next rank
  c.ops[find(c, OpCode::pp_send_grad, 4)].queue = Queue::pp_send_next;
  EXPECT_THAT(verify(program), Contains(HasSubstr("which is not its other end")));
}

TEST(Verify, FindsAMessageOfAnotherStage) {
  const Model model = small_moe(4);
  StepProgram program =
      lower(model, staged_strategy(model, Schedule::interleaved, 2, 2), {.seq = 8, .global_batch = 4}, 2);
  ASSERT_THAT(verify(program), IsEmpty());
  RankClass& c = program.classes[1];
  // The same micro-batch, from stage 0 and from stage 2.
  OpIndex first = 0, second = 0;
  for (OpIndex op = 0; op < c.ops.size(); ++op) {
    const OpKey& key = c.ops[op].key;
    if (key.op == OpCode::pp_recv_act && key.micro_batch == 0) (key.stage == 1 ? first : second) = op;
  }
  swap_ops(c, first, second);
  EXPECT_THAT(verify(program), Contains("pipeline rank 0: step/mb0/stage0/fwd/pp.send_act meets step/mb0/stage3/fwd/"
                                        "pp.recv_act of pipeline rank 1: the order differs"));
}

TEST(Verify, FindsAMicroBatchThatIsLostOnOneRank) {
  StepProgram program = sound_program();
  erase_ops(program.classes[0], [](const Op& op) { return op.key.micro_batch == 2; });
  EXPECT_THAT(verify(program), Contains("pipeline rank 0: micro-batch 2 passes stage 0 0 times"));
}

TEST(Verify, FindsAMicroBatchThatBothMirroredRanksRun) {
  StepProgram program = mirrored_program();
  for (Op& op : program.classes[3].ops) {
    if (op.key.micro_batch == 4) op.key.micro_batch = 0;  // of stage 0, whose first half runs on rank 0
  }
  const std::vector<std::string> problems = verify(program);
  EXPECT_THAT(problems, Contains("pipeline rank 0: micro-batch 0 passes stage 0 2 times"));
  EXPECT_THAT(problems, Contains("pipeline rank 0: micro-batch 4 passes stage 0 0 times"));
}

TEST(Verify, FindsAForwardWithoutBackward) {
  StepProgram program = sound_program();
  erase_ops(program.classes[0], [](const Op& op) { return op.key.micro_batch == 1 && op.key.pass != Pass::fwd; });
  const std::vector<std::string> problems = verify(program);
  EXPECT_THAT(problems, Contains("pipeline rank 0: step/mb1/stage0/layer0/fwd/attn.core has no input gradient"));
  EXPECT_THAT(problems, Contains("pipeline rank 0: step/mb1/stage0/layer0/fwd/attn.qkv has no weight gradient"));
}

TEST(Verify, FindsAWeightGradientThatIsMissing) {
  for (const OpCode code : {OpCode::mlp_fc2, OpCode::embed_lookup}) {
    StepProgram program = sound_program();
    erase_ops(program.classes[0], [code](const Op& op) {
      return op.key.op == code && op.key.pass == Pass::wgrad && op.key.micro_batch == 1;
    });
    EXPECT_THAT(verify(program),
                Contains(HasSubstr(std::string("fwd/") + std::string(name_of(code)) + " has no weight gradient")));
  }
}

TEST(Verify, FindsAnOpThatDoesNotWaitForItsInput) {
  StepProgram program = sound_program();
  RankClass& c = program.classes[1];
  drop_dependencies(c, find(c, OpCode::moe_fc1, 0));
  EXPECT_THAT(verify(program), Contains("pipeline rank 1: step/mb0/stage1/layer1/fwd/moe.fc1 uses expert_in without "
                                        "waiting for step/mb0/stage1/layer1/fwd/moe.dispatch"));
}

TEST(Verify, FindsAReleaseThatDoesNotWaitForAReaderOnAnotherQueue) {
  const auto problems = [](bool waits) {
    StepProgram program = sound_program();
    RankClass& c = program.classes[1];
    // The dispatch and, behind it, the experts read the router's input, and the experts release it.
    const OpIndex dispatch = find(c, OpCode::moe_dispatch, 0), experts = find(c, OpCode::moe_fc1, 0);
    const TensorIndex norm = c.uses_of(find(c, OpCode::moe_router, 0))[0].tensor();
    c.uses[c.use_begin[dispatch]] = TensorUse(norm, Access::read);
    c.uses[c.use_begin[experts]] = TensorUse(norm, Access::read);
    c.uses[c.use_begin[experts]].set_releases();
    if (!waits) drop_dependencies(c, experts);
    return verify(program);
  };
  const char* race =
      "pipeline rank 1: step/mb0/stage1/layer1/fwd/moe.fc1 releases norm2 without waiting for "
      "step/mb0/stage1/layer1/fwd/moe.dispatch";
  EXPECT_THAT(problems(false), Contains(race));
  EXPECT_THAT(problems(true), ::testing::Not(Contains(race)));
}

TEST(Verify, FindsAChangeThatDoesNotWaitForAReader) {
  StepProgram program = sound_program();
  RankClass& c = program.classes[1];
  const OpIndex send = find(c, OpCode::moe_dispatch, 0);
  const TensorIndex norm = c.uses_of(find(c, OpCode::moe_router, 0))[0].tensor();
  c.uses[c.use_begin[send]] = TensorUse(norm, Access::read);
  drop_dependencies(c, send + 1);
  c.uses[c.use_begin[send + 1]] = TensorUse(norm, Access::modify);
  EXPECT_THAT(verify(program), Contains("pipeline rank 1: step/mb0/stage1/layer1/fwd/moe.fc1 changes norm2 without "
                                        "waiting for step/mb0/stage1/layer1/fwd/moe.dispatch"));
}

TEST(Verify, FindsACollectiveThatMirroredRanksShapeDifferently) {
  const auto changed = [](auto&& change) {
    StepProgram program = mirrored_program();
    RankClass& c = program.classes[3];
    change_shape<CollectiveShape>(program, c.ops[find(c, OpCode::dp_grad_ar, -1)], change);
    return verify(program);
  };
  const char* other_shape = "pipeline rank 3: step/stage3/sync/dp.grad_ar has another shape than on pipeline rank 0";
  EXPECT_THAT(changed([](CollectiveShape& shape) { ++shape.bytes; }), Contains(other_shape));
  EXPECT_THAT(changed([](CollectiveShape& shape) { shape.kind = CollectiveKind::reduce_scatter; }),
              Contains(other_shape));
  // Of another group, it never meets the others.
  EXPECT_THAT(changed([](CollectiveShape& shape) { shape.group = Group::dp_shard; }),
              Contains(HasSubstr("pipeline rank 0: step/stage0/sync/dp.grad_ar never runs")));
}

TEST(Verify, FindsCollectivesInAnotherOrderOnTheMirroredRank) {
  StepProgram program = mirrored_program();
  for (const std::size_t rank : {0, 3}) {
    // A second all-reduce of the same size behind the first, by another name.
    RankClass& c = program.classes[rank];
    Op second = c.ops[find(c, OpCode::dp_grad_ar, -1)];
    second.key.op = OpCode::moe_bias_counts;
    c.ops.push_back(second);
    c.dep_begin.push_back(c.dep_begin.back());
    c.use_begin.push_back(c.use_begin.back());
  }
  EXPECT_THAT(verify(program), IsEmpty());
  RankClass& c = program.classes[3];
  swap_ops(c, find(c, OpCode::dp_grad_ar, -1), static_cast<OpIndex>(c.ops.size() - 1));
  EXPECT_THAT(verify(program), Contains("pipeline rank 3: step/stage3/sync/moe.bias_counts meets "
                                        "step/stage0/sync/dp.grad_ar of pipeline rank 0: the order differs"));
}

TEST(Verify, FindsACollectiveThatIsMissingOnOneRank) {
  StepProgram mirrored = mirrored_program();
  erase_ops(mirrored.classes[2], [](const Op& op) { return op.key.op == OpCode::edp_grad_ar; });
  EXPECT_THAT(verify(mirrored),
              Contains("pipeline rank 1: step/stage1/sync/edp.grad_ar never runs, and 0 ops behind it"));
  StepProgram program = sound_program();
  erase_ops(program.classes[1], [](const Op& op) { return op.key.op == OpCode::norm_reduce; });
  EXPECT_THAT(verify(program),
              Contains("pipeline rank 0: step/stage0/sync/norm.reduce never runs, and 0 ops behind it"));
}

TEST(Verify, FindsACollectiveOfAGroupWithoutTheRank) {
  StepProgram program = mirrored_program();
  RankClass& c = program.classes[1];
  Op& reduce = c.ops[find(c, OpCode::dp_grad_ar, -1)];
  change_shape<CollectiveShape>(program, reduce, [](CollectiveShape& shape) { shape.group = Group::embedding; });
  reduce.queue = Queue::embedding;
  EXPECT_THAT(verify(program),
              Contains("pipeline rank 1: step/stage1/sync/dp.grad_ar is of a group without this rank"));
}

TEST(Verify, FindsACycleOfTwoQueuesOnTwoRanks) {
  StepProgram program = mirrored_program();
  // Each of the mirrored ranks waits with one sum for the other sum, and not for the same.
  RankClass &lower_rank = program.classes[0], &upper_rank = program.classes[3];
  const auto wait = [](RankClass& c, OpCode before, OpCode after) {
    const OpIndex first = find(c, before, -1), second = find(c, after, -1);
    if (first > second) {
      swap_ops(c, first, second);
      std::swap(c.ops[first].queue, c.ops[second].queue);
    }
    c.deps[c.dep_begin[std::max(first, second)]] = std::min(first, second);
  };
  wait(lower_rank, OpCode::dp_grad_ar, OpCode::edp_grad_ar);
  EXPECT_THAT(verify(program), ::testing::Not(Contains(HasSubstr("never runs"))));
  wait(upper_rank, OpCode::edp_grad_ar, OpCode::dp_grad_ar);
  const std::vector<std::string> problems = verify(program);
  EXPECT_THAT(problems, Contains(HasSubstr("step/stage0/sync/dp.grad_ar never runs")));
  EXPECT_THAT(problems, Contains(HasSubstr("step/stage3/sync/edp.grad_ar never runs")));
}

TEST(Verify, FindsAnOverlappedBackwardThatWasLeftOut) {
  // What a reader of slots does that knows nothing of pairs.
  StepProgram program = mirrored_program();
  const std::vector<Slot> slots = slots_of(program.strategy, program.num_micro_batches, 1);
  const auto pair = std::find_if(slots.begin(), slots.end(), [](const Slot& slot) { return slot.beside.has_value(); });
  ASSERT_NE(pair, slots.end());
  erase_ops(program.classes[1], [&](const Op& op) {
    return op.key.stage == pair->beside->stage && op.key.micro_batch == pair->beside->micro_batch &&
           op.key.pass != Pass::fwd;
  });
  EXPECT_THAT(verify(program), Contains(HasSubstr("has no input gradient")));
}

TEST(Verify, SaysNoMoreThanTwentyProblems) {
  StepProgram program = sound_program();
  for (Op& op : program.classes[0].ops) op.shape = 999;
  EXPECT_EQ(verify(program).size(), 20u);
}

}  // namespace
}  // namespace orrery
