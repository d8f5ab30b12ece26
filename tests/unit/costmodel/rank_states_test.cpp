// SPDX-License-Identifier: Apache-2.0
#include "costmodel/rank_states.h"

#include "program/flat_buffer.h"
#include "program/hf_config.h"
#include "program/schedule.h"
#include "tests/unit/program/random_strategies.h"
#include "tests/unit/program/reading.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

Model catalog_model(const std::string& name) {
  return read_model(testing::repository_path("catalog/models/" + name + ".json").string());
}

RankStates states_of(const Model& model, const Strategy& strategy, std::int64_t world, std::int64_t rank = 0,
                     const Framework& framework = {}) {
  ElementCounts counts(model, strategy);
  return rank_states(model, strategy, Mesh(strategy, world), framework, stages_on_rank(strategy, rank), counts);
}

// Counting a kind of layer once is counting every parameter.
TEST(RankStates, CountTheElementsOfTheFlatBuffers) {
  testing::for_random_cases(1500, [](const testing::RandomCase& c, std::uint64_t index) {
    const Mesh mesh(c.strategy, c.num_devices);
    ElementCounts counts(c.model, c.strategy);
    for (std::int64_t rank = 0; rank < c.strategy.pp; ++rank) {
      const std::vector<StageLayout> stages = stages_on_rank(c.strategy, rank);
      const RankElements elements = counts.rank(stages);
      const FlatBuffer dense = flat_buffer(c.model, stages, c.strategy, mesh, FlatBufferKind::dense);
      const FlatBuffer expert = flat_buffer(c.model, stages, c.strategy, mesh, FlatBufferKind::expert);
      ASSERT_EQ(elements.dense, dense.elements) << "case " << index << ", rank " << rank;
      ASSERT_EQ(elements.expert, expert.elements) << "case " << index << ", rank " << rank;
      ASSERT_EQ(elements.muon_dense, dense.muon) << "case " << index << ", rank " << rank;
      ASSERT_EQ(elements.muon_expert, expert.muon) << "case " << index << ", rank " << rank;
    }
  });
}

TEST(RankStates, DivideMoreWithEachZeroStage) {
  const Model model = testing::small_moe();
  for (const int zero : {0, 1, 2, 3}) {
    Strategy strategy = testing::small_strategy(model, 1, 2);
    strategy.zero_dense = strategy.zero_expert = zero;
    ElementCounts counts(model, strategy);
    const RankElements all = counts.rank(strategy.stages);
    const auto dense = static_cast<double>(all.dense), expert = static_cast<double>(all.expert);
    // Eight ranks share dense parameters, four an expert.
    const RankStates states = states_of(model, strategy, 8);
    const double whole = dense + expert, shard = dense / 8 + expert / 4;
    EXPECT_EQ(states.weights, bytes(2.0 * (zero >= 3 ? shard : whole)));
    EXPECT_EQ(states.gradients, bytes(4.0 * (zero >= 2 ? shard : whole)));
    EXPECT_EQ(states.optimizer, bytes(12.0 * (zero >= 1 ? shard : whole)));
  }
}

// One DP size for both is the classic error: 64 experts' ranks are not 64 times fewer.
TEST(RankStates, ShardExpertsOverFewerRanks) {
  const Model model = testing::small_moe();
  Strategy strategy = testing::small_strategy(model, 1, 8);
  strategy.zero_dense = strategy.zero_expert = 1;
  ElementCounts counts(model, strategy);
  const RankElements all = counts.rank(strategy.stages);
  const double dense = static_cast<double>(all.dense) / 8, expert = static_cast<double>(all.expert);
  EXPECT_EQ(states_of(model, strategy, 8).optimizer, bytes(12.0 * (dense + expert)));
}

// Megatron-LM's theoretical_memory_usage divides experts by TP; they are divided by EP and ETP.
TEST(RankStates, DivideExpertsByExpertRanksAndNotByTensorParallelism) {
  const Model model = testing::small_moe();
  const auto experts = [&](std::int64_t tp, std::int64_t etp, std::int64_t ep) {
    Strategy strategy = testing::small_strategy(model, 1, ep);
    strategy.tp = tp;
    strategy.sp = tp > 1;
    strategy.etp = etp;
    return ElementCounts(model, strategy).rank(strategy.stages).expert;
  };
  const std::int64_t all = 3 * 8 * 3 * 64 * 32;
  EXPECT_EQ(experts(1, 1, 1), all);
  EXPECT_EQ(experts(4, 1, 1), all);  // ETP does not default to TP, as --expert-tensor-parallel-size does
  EXPECT_EQ(experts(4, 2, 1), all / 2);
  EXPECT_EQ(experts(4, 1, 4), all / 4);
}

TEST(RankStates, ReplicateLatentsRoutersAndNormsOverTensorParallelism) {
  const Model model = testing::small_mla();
  Strategy strategy = testing::small_strategy(model);
  const std::int64_t whole = ElementCounts(model, strategy).layer(1).dense;
  strategy.tp = 4;
  strategy.sp = true;
  const std::int64_t quarter = ElementCounts(model, strategy).layer(1).dense;
  const std::int64_t replicated = 24 * 64 + 64 * (16 + 4) + 24 + 16 + 2 * 64 + 64 * 8;  // latents, norms, router
  EXPECT_EQ(quarter - replicated, (whole - replicated) / 4);
}

TEST(RankStates, PutLayersThatDoNotDivideInTheMiddle) {
  // 61 layers on 4 stages are 15 and a remainder of one: no stage has 61 / 4.
  const Model model = catalog_model("deepseek-v3");
  Strategy strategy = testing::small_strategy(model, 4, 64);
  ElementCounts counts(model, strategy);
  std::vector<std::int64_t> experts;
  for (std::int64_t rank = 0; rank < 4; ++rank) experts.push_back(counts.rank(stages_on_rank(strategy, rank)).expert);
  const std::int64_t of_layer = 4 * 3 * 7168LL * 2048;
  EXPECT_EQ(experts, (std::vector<std::int64_t>{12 * of_layer, 15 * of_layer, 16 * of_layer, 15 * of_layer}));
}

TEST(RankStates, CountTheEmbeddingOfPredictionModulesWhereTheyAre) {
  const Model model = catalog_model("deepseek-v3");
  Strategy strategy = testing::small_strategy(model, 4, 64);
  const std::int64_t without = ElementCounts(model, strategy).rank(stages_on_rank(strategy, 3)).dense;
  strategy.mtp = Mtp::on;
  strategy.stages = with_mtp(strategy.stages, 1);
  ElementCounts counts(model, strategy);
  const std::int64_t with = counts.rank(stages_on_rank(strategy, 3)).dense;
  EXPECT_EQ(with - without, counts.layer(61).dense + 129280 * 7168);
}

TEST(RankStates, HoldEmbeddingAndHeadOnOneRankOfAV) {
  Model model = testing::small_moe(4);
  Strategy strategy = testing::staged_strategy(model, Schedule::zbv, 2, 2);
  EXPECT_EQ(ElementCounts(model, strategy).rank(stages_on_rank(strategy, 0)).dense -
                ElementCounts(model, strategy).rank(stages_on_rank(strategy, 1)).dense,
            2 * 256 * 64 + 64 + 3 * 64 * 128 - 64 * 8);  // and the dense layer's FFN against a router
  model.tied_embeddings = true;
  EXPECT_EQ(ElementCounts(model, strategy).rank(stages_on_rank(strategy, 0)).dense -
                ElementCounts(model, strategy).rank(stages_on_rank(strategy, 1)).dense,
            256 * 64 + 64 + 3 * 64 * 128 - 64 * 8);
}

TEST(RankStates, KeepOffloadedStatesOnTheHostUntilTheStepEnds) {
  const Model model = testing::small_moe();
  Strategy strategy = testing::small_strategy(model);
  const RankStates here = states_of(model, strategy, 4);
  strategy.offload_optimizer = true;
  const RankStates away = states_of(model, strategy, 4);
  EXPECT_EQ(here.loaded, Bytes());
  EXPECT_EQ(away.optimizer, Bytes());
  EXPECT_EQ(away.loaded, here.optimizer);
  EXPECT_EQ(away.weights, here.weights);
}

TEST(RankStates, KeepOneMomentOfMatricesUnderMuon) {
  const Model model = testing::small_moe();
  Strategy strategy = testing::small_strategy(model);
  const RankStates adamw = states_of(model, strategy, 1);
  strategy.optimizer = OptimizerKind::muon;
  const RankElements all = ElementCounts(model, strategy).rank(strategy.stages);
  EXPECT_GT(all.muon_dense, 0);
  EXPECT_EQ(adamw.optimizer - states_of(model, strategy, 1).optimizer,
            bytes(4.0 * static_cast<double>(all.muon_dense + all.muon_expert)));
}

TEST(RankStates, HoldNoWeightsBesideShardsThatAreMasters) {
  const Model model = testing::small_moe();
  Strategy strategy = testing::small_strategy(model);
  strategy.zero_dense = strategy.zero_expert = 3;
  const RankStates ours = states_of(model, strategy, 4), theirs = states_of(model, strategy, 4, 0, torchtitan());
  EXPECT_GT(ours.weights, Bytes());
  EXPECT_EQ(theirs.weights, Bytes());
  EXPECT_EQ(theirs.optimizer, ours.optimizer);
}

TEST(RankStates, CastGradientsThatTravelInAnotherType) {
  const Model model = testing::small_moe();
  Strategy strategy = testing::small_strategy(model);
  strategy.grad_wire_dtype = DType::bf16;
  const RankElements all = ElementCounts(model, strategy).rank(strategy.stages);
  EXPECT_EQ(states_of(model, strategy, 4).wire_grads,
            bytes(2.0 * static_cast<double>(std::max(all.dense, all.expert))));
  EXPECT_EQ(states_of(model, strategy, 1).wire_grads, Bytes());  // nobody to send to
  strategy.zero_dense = strategy.zero_expert = 2;
  EXPECT_EQ(states_of(model, strategy, 4).wire_grads, Bytes());  // unit by unit
}

}  // namespace
}  // namespace orrery::costmodel
