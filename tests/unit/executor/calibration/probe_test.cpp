// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/probe.h"

#include "base/sha256.h"
#include "executor/runtime/rank_runtime.h"
#include "program/hf_config.h"
#include "program/legality.h"
#include "program/lower.h"
#include "tests/unit/executor/calibration/small_probe.h"

#include <algorithm>
#include <set>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using ::testing::IsEmpty;
using testing::small_model;
using testing::small_probe;
using testing::small_source;

std::vector<Probe> probes_of(std::int64_t global_batch, std::int64_t num_ranks) {
  return model_probes(small_source(), small_model(), {.seq = 16, .global_batch = global_batch}, DType::f32, num_ranks);
}

TEST(ModelProbes, AreLegalAndHaveAnExpertDegreeWithEachMicroBatch) {
  std::set<std::tuple<std::int64_t, std::int64_t>> found;
  for (const Probe& probe : probes_of(32, 4)) {
    EXPECT_THAT(violations(probe.model, probe.strategy, probe.batch, 4), IsEmpty());
    if (probe.strategy.pp == 1 && probe.strategy.zero_dense == 0) {
      found.insert({probe.strategy.ep, probe.strategy.micro_batch});
    }
  }
  const std::set<std::tuple<std::int64_t, std::int64_t>> expected = {{1, 1}, {1, 2}, {1, 4}, {1, 8}, {2, 1}, {2, 2},
                                                                     {2, 4}, {2, 8}, {4, 1}, {4, 2}, {4, 4}, {4, 8}};
  EXPECT_EQ(found, expected);
}

TEST(ModelProbes, AskForNoMicroBatchThatTheBatchDoesNotHave) {
  for (const Probe& probe : probes_of(8, 4)) EXPECT_LE(probe.strategy.micro_batch, 2);
}

TEST(ModelProbes, GiveExpertsFewRowsInAShortSequence) {
  std::set<std::int64_t> degrees;
  for (const Probe& probe : probes_of(32, 4)) {
    if (probe.batch.seq == 2) degrees.insert(probe.strategy.ep);
  }
  EXPECT_EQ(degrees, (std::set<std::int64_t>{1, 2, 4}));
}

TEST(ModelProbes, TakeFourMicroBatchesIfThereAreAsMany) {
  for (const Probe& probe : probes_of(32, 2)) {
    if (probe.strategy.pp > 1) continue;
    const std::int64_t dp = 2 / (probe.strategy.tp * probe.strategy.cp);
    const std::int64_t num_micro_batches = probe.batch.global_batch / (dp * probe.strategy.micro_batch);
    EXPECT_EQ(num_micro_batches, probe.strategy.micro_batch == 8 ? 2 : 4);
  }
}

TEST(ModelProbes, HavePipelinesNoLongerThanTheModelAndShardsWhereStatesCanBeShared) {
  std::set<std::tuple<std::int64_t, std::int64_t, int>> layouts;  // pp, ep, ZeRO
  for (const Probe& probe : probes_of(32, 4)) {
    layouts.insert({probe.strategy.pp, probe.strategy.ep, probe.strategy.zero_dense});
  }
  const std::set<std::tuple<std::int64_t, std::int64_t, int>> expected = {
      {1, 1, 0}, {1, 2, 0}, {1, 4, 0}, {1, 1, 1}, {1, 2, 1}, {1, 4, 1}, {1, 1, 3},
      {1, 2, 3}, {1, 4, 3}, {2, 1, 0}, {2, 2, 0}, {2, 1, 1}, {2, 2, 1}};
  EXPECT_EQ(layouts, expected);
}

/// A plan with ZeRO 2 or 3 finds a probe with each of its exchanges in their own size.
TEST(ModelProbes, HaveTheExchangesOfUnits) {
  using Message = std::tuple<CollectiveKind, Group, std::int64_t>;
  const auto messages_of = [](const Strategy& strategy) {
    std::set<Message> found;
    const StepProgram program = lower(small_model(), strategy, {.seq = 16, .global_batch = 8}, 2);
    for (const Op& op : program.classes.front().ops) {
      if (op.queue != Queue::dp && op.queue != Queue::edp) continue;
      const auto& shape = std::get<CollectiveShape>(program.shapes[op.shape]);
      found.insert({shape.kind, shape.group, shape.bytes});
    }
    return found;
  };
  const std::vector<Probe> probes = probes_of(8, 2);
  for (const std::int64_t ep : {1, 2}) {
    std::set<Message> in_probes;
    for (const Probe& probe : probes) {
      if (probe.strategy.ep == ep && probe.strategy.pp == 1) in_probes.merge(messages_of(probe.strategy));
    }
    for (const int zero : {2, 3}) {
      Strategy strategy = small_probe(2, 1, ep).strategy;
      strategy.zero_dense = strategy.zero_expert = zero;
      EXPECT_THAT(in_probes, ::testing::IsSupersetOf(messages_of(strategy))) << ep << " " << zero;
    }
  }
}

TEST(ModelProbes, HaveNoUnitsOfOneRank) {
  for (const Probe& probe : probes_of(8, 1)) EXPECT_EQ(probe.strategy.zero_dense, 0);
}

/// Of 4 heads, 2 key-value heads and 8 experts over sequences of 16; a ring of 4 and its kin cut them into 8 pieces.
TEST(ModelProbes, HaveEveryGroupOfTensorAndContextParallelism) {
  using Kind = std::tuple<std::int64_t, std::int64_t, ContextParallel, std::int64_t>;  // tp, cp, its kind, etp
  std::set<Kind> found;
  for (const Probe& probe : probes_of(32, 4)) {
    const Strategy& s = probe.strategy;
    if (s.tp * s.cp * s.etp == 1) continue;
    EXPECT_EQ(s.sp, s.tp > 1);
    found.insert({s.tp, s.cp, s.cp_kind, s.etp});
  }
  constexpr auto ring = ContextParallel::ring, gather = ContextParallel::all_gather, ulysses = ContextParallel::ulysses;
  // Two key-value heads cannot be exchanged among four.
  EXPECT_EQ(found, (std::set<Kind>{{2, 1, ring, 1},
                                   {4, 1, ring, 1},
                                   {1, 2, ring, 1},
                                   {1, 4, ring, 1},
                                   {1, 2, gather, 1},
                                   {1, 4, gather, 1},
                                   {1, 2, ulysses, 1},
                                   {1, 1, ring, 2},
                                   {1, 1, ring, 4}}));
}

TEST(ModelProbes, OfTensorAndContextParallelismRun) {
  for (const Probe& probe : probes_of(4, 4)) {
    EXPECT_THAT(cpu_unsupported(lower(probe.model, probe.strategy, probe.batch, 4)), IsEmpty());
  }
}

TEST(ModelProbes, TrainThePredictionModulesOfAModel) {
  const std::string config = R"({
    "model_type": "deepseek_v3", "hidden_act": "silu", "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64,
    "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 48, "moe_intermediate_size": 24,
    "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1,
    "moe_layer_freq": 1, "n_group": 2, "topk_group": 1, "norm_topk_prob": true, "routed_scaling_factor": 1.5,
    "scoring_func": "sigmoid", "topk_method": "noaux_tc", "num_nextn_predict_layers": 1, "q_lora_rank": 24,
    "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false})";
  const Model model = read_model_text(config, "modules.json");
  const Source source{.path = "modules.json", .sha256 = sha256_hex(config), .content = config};
  for (const Probe& probe : model_probes(source, model, {.seq = 16, .global_batch = 4}, DType::f32, 2)) {
    EXPECT_THAT(violations(probe.model, probe.strategy, probe.batch, 2), IsEmpty());
    const StepProgram program = lower(probe.model, probe.strategy, probe.batch, 2);
    const auto& ops = program.classes.back().ops;
    EXPECT_TRUE(std::ranges::any_of(ops, [](const Op& op) { return op.key.op == OpCode::mtp_proj; }));
  }
}

TEST(GeneralProbes, RunOnAnyNumberOfRanks) {
  for (const std::int64_t num_ranks : {1, 2, 3, 16}) {
    for (const Probe& probe : general_probes(DType::bf16, num_ranks)) {
      EXPECT_THAT(violations(probe.model, probe.strategy, probe.batch, num_ranks), IsEmpty()) << probe.source.path;
      EXPECT_THAT(cpu_unsupported(lower(probe.model, probe.strategy, probe.batch, num_ranks)), IsEmpty());
    }
  }
}

TEST(Probe, InAPipelineOnlyTheEndOfTheStepCounts) {
  EXPECT_TRUE(is_measured(small_probe(2, 1), Pass::fwd));
  EXPECT_FALSE(is_measured(small_probe(2, 2), Pass::fwd));
  EXPECT_FALSE(is_measured(small_probe(2, 2), Pass::wgrad));
  EXPECT_TRUE(is_measured(small_probe(2, 2), Pass::sync));
  EXPECT_TRUE(is_measured(small_probe(2, 2), Pass::update));
}

}  // namespace
}  // namespace orrery::executor
