// SPDX-License-Identifier: Apache-2.0
#include "program/lower.h"

#include "program/counts.h"
#include "program/verify.h"
#include "program/work.h"
#include "tests/unit/program/small_models.h"

#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::IsEmpty;
using testing::small_mla;
using testing::small_moe;
using testing::small_strategy;

constexpr BatchShape kBatch{.seq = 32, .global_batch = 16};

bool has_op(const RankClass& c, OpCode code) {
  return std::any_of(c.ops.begin(), c.ops.end(), [&](const Op& op) { return op.key.op == code; });
}

std::int64_t count(const RankClass& c, OpCode code, Pass pass) {
  return std::count_if(c.ops.begin(), c.ops.end(),
                       [&](const Op& op) { return op.key.op == code && op.key.pass == pass; });
}

OpIndex find(const RankClass& c, OpCode code, Pass pass, int micro_batch) {
  for (OpIndex i = 0; i < c.ops.size(); ++i) {
    const OpKey& key = c.ops[i].key;
    if (key.op == code && key.pass == pass && key.micro_batch == micro_batch) return i;
  }
  ADD_FAILURE() << name_of(code);
  return 0;
}

double training_flops(const StepProgram& program) {
  double sum = 0.0;
  for (const RankClass& c : program.classes) {
    for (const Op& op : c.ops) {
      const OpShape& shape = program.shapes[op.shape];
      if (std::holds_alternative<MemoryShape>(shape)) continue;
      const double received = static_cast<double>(program.batch.seq * program.strategy.micro_batch) *
                              static_cast<double>(program.model.moe->top_k);
      sum += work_of(op.key, shape, {.rows_per_expert = {}, .received = received}).flops.in(unit::flop);
    }
  }
  return sum;
}

TEST(Lower, EveryLegalCombinationIsSound) {
  for (const Model& model : {small_moe(), small_mla()}) {
    for (const Schedule schedule : {Schedule::gpipe, Schedule::one_f_one_b}) {
      for (const std::int64_t pp : {1, 2, 4}) {
        for (const std::int64_t ep : {1, 2}) {
          for (const int zero : {0, 1}) {
            Strategy strategy = small_strategy(model, pp, ep);
            strategy.schedule = schedule;
            strategy.zero_dense = strategy.zero_expert = zero;
            EXPECT_THAT(verify(lower(model, strategy, kBatch, 8)), IsEmpty()) << pp << ' ' << ep << ' ' << zero;
          }
        }
      }
    }
  }
}

TEST(Lower, EveryRecomputeModuleIsSound) {
  const Model model = small_mla();
  for (const RecomputeModule module :
       {RecomputeModule::layernorm, RecomputeModule::core_attn, RecomputeModule::mla_up_proj, RecomputeModule::mlp,
        RecomputeModule::moe, RecomputeModule::moe_act, RecomputeModule::shared_experts, RecomputeModule::full}) {
    Strategy strategy = small_strategy(model, 2, 2);
    for (StageLayout& stage : strategy.stages) stage.recompute = {module};
    EXPECT_THAT(verify(lower(model, strategy, kBatch, 4)), IsEmpty()) << name_of(module);
  }
}

TEST(Lower, FirstStageHasNoForwardReceiveAndLastNoForwardSend) {
  const Model model = small_moe();
  const StepProgram program = lower(model, small_strategy(model, 4), kBatch, 4);
  EXPECT_FALSE(has_op(program.classes.front(), OpCode::pp_recv_act));
  EXPECT_TRUE(has_op(program.classes.front(), OpCode::pp_send_act));
  EXPECT_FALSE(has_op(program.classes.back(), OpCode::pp_send_act));
  EXPECT_TRUE(has_op(program.classes.back(), OpCode::head_loss));
  EXPECT_FALSE(has_op(program.classes.back(), OpCode::embed_lookup));
}

TEST(Lower, OneExpertParallelRankExchangesNothing) {
  const Model model = small_moe();
  EXPECT_FALSE(has_op(lower(model, small_strategy(model), kBatch, 4).classes[0], OpCode::moe_dispatch));
  EXPECT_TRUE(has_op(lower(model, small_strategy(model, 1, 2), kBatch, 4).classes[0], OpCode::moe_dispatch));
}

TEST(Lower, AMoeLayerHasFourExchangesAndSixWhenRecomputed) {
  const Model model = small_moe();
  Strategy strategy = small_strategy(model, 1, 2);
  const auto exchanges = [&] {
    const RankClass c = lower(model, strategy, {.seq = 32, .global_batch = 2}, 2).classes[0];
    std::int64_t sum = 0;
    for (const Op& op : c.ops) sum += op.queue == Queue::ep;
    return sum;
  };
  EXPECT_EQ(exchanges(), 4 * 3);
  strategy.stages[0].recompute = {RecomputeModule::moe};
  EXPECT_EQ(exchanges(), 6 * 3);
}

TEST(Lower, MatrixFlopsEqualTheClosedForm) {
  for (const Model& model : {small_moe(), small_mla()}) {
    for (const std::int64_t pp : {1, 2, 4}) {
      const StepProgram program = lower(model, small_strategy(model, pp), {.seq = 32, .global_batch = 4}, pp);
      // Counted by Megatron's convention without router; we run the router, and attention's backward takes 2.5
      // forwards where the convention says 2.
      double expected = training_flops_per_token(model, 32).causal;
      const auto moe_layers = static_cast<double>(model.num_layers() - 1);
      expected += 6.0 * static_cast<double>(model.hidden) * 8.0 * moe_layers;
      double core = 0.0;
      for (const RankClass& c : program.classes) {
        for (const Op& op : c.ops) {
          if (op.key.op == OpCode::attn_core && op.key.pass == Pass::fwd) {
            core += work_of(op.key, program.shapes[op.shape], {}).flops.in(unit::flop);
          }
        }
      }
      double norm_terms = 0.0;  // Megatron counts rq + rkv + 1 multiplications of the latents' norms
      if (model.is_mla()) {
        const auto& a = std::get<MultiHeadLatentAttention>(model.attention);
        norm_terms =
            6.0 * static_cast<double>(a.q_lora_rank + a.kv_lora_rank) * static_cast<double>(model.num_layers());
      }
      EXPECT_NEAR(training_flops(program), (expected - norm_terms) * 4 * 32 + 0.5 * core, 1e-6 * expected * 128)
          << model.name << pp;
    }
  }
}

TEST(Lower, FullRecomputeRunsEachForwardTwice) {
  const Model model = small_moe();
  Strategy strategy = small_strategy(model);
  strategy.stages[0].recompute = {RecomputeModule::full};
  strategy.stages[0].num_recompute_layers = 3;
  const RankClass c = lower(model, strategy, {.seq = 32, .global_batch = 2}, 1).classes[0];
  EXPECT_EQ(count(c, OpCode::attn_qkv, Pass::fwd), 4 * 2);
  EXPECT_EQ(count(c, OpCode::attn_qkv, Pass::rec), 3 * 2);
}

TEST(Lower, TheGradientMessageWaitsForTheWholeBackward) {
  const Model model = small_moe();
  const RankClass c = lower(model, small_strategy(model, 2), {.seq = 32, .global_batch = 4}, 2).classes[1];
  const OpIndex send = find(c, OpCode::pp_send_grad, Pass::igrad, 0);
  ASSERT_EQ(c.deps_of(send).size(), 1u);
  const Op& last = c.ops[c.deps_of(send)[0]];
  EXPECT_EQ(last.key.pass, Pass::wgrad);
  EXPECT_EQ(c.deps_of(send)[0], send - 1);
}

TEST(Lower, AReceiveIsPostedOneSlotAhead) {
  const Model model = small_moe();
  const RankClass c = lower(model, small_strategy(model, 2), kBatch, 2).classes[1];
  // Slots of the last rank: F0 B0 F1 B1 ...; the receive of F2 may start when F1 has ended, while B1 runs.
  const OpIndex receive = find(c, OpCode::pp_recv_act, Pass::fwd, 2);
  ASSERT_EQ(c.deps_of(receive).size(), 1u);
  EXPECT_EQ(to_string(c.ops[c.deps_of(receive)[0]].key), "step/mb1/stage1/head/fwd/head.loss");
}

TEST(Lower, ZeroStageDecidesTheCollectivesOfEachBuffer) {
  const Model model = small_moe();
  Strategy strategy = small_strategy(model, 1, 2);
  strategy.zero_dense = 1;
  const RankClass c = lower(model, strategy, kBatch, 4).classes[0];
  EXPECT_TRUE(has_op(c, OpCode::dp_grad_rs) && has_op(c, OpCode::dp_param_ag));
  EXPECT_TRUE(has_op(c, OpCode::edp_grad_ar));
  EXPECT_FALSE(has_op(c, OpCode::edp_grad_rs) || has_op(c, OpCode::edp_param_ag) || has_op(c, OpCode::dp_grad_ar));
}

TEST(Lower, SizeOfTheClusterDoesNotChangeTheClasses) {
  const Model model = small_moe();
  const Strategy strategy = small_strategy(model, 2, 2);
  const StepProgram few = lower(model, strategy, {.seq = 32, .global_batch = 8}, 8);
  const StepProgram many = lower(model, strategy, {.seq = 32, .global_batch = 512}, 512);
  EXPECT_EQ(few.num_micro_batches, many.num_micro_batches);
  EXPECT_EQ(few.num_ops(), many.num_ops());
}

TEST(Lower, EqualInputsGiveEqualHashesAndOthersDoNot) {
  const Model model = small_moe();
  Strategy strategy = small_strategy(model, 2, 2);
  const std::string hash = hash_of(lower(model, strategy, kBatch, 8));
  EXPECT_EQ(hash, hash_of(lower(model, strategy, kBatch, 8)));
  strategy.schedule = Schedule::gpipe;
  EXPECT_NE(hash, hash_of(lower(model, strategy, kBatch, 8)));
}

}  // namespace
}  // namespace orrery
