// SPDX-License-Identifier: Apache-2.0
#include "costmodel/memory_table.h"

#include "program/flat_buffer.h"
#include "program/legality.h"
#include "tests/unit/program/small_models.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using Kind = StagePart::Kind;
using testing::small_mla;
using testing::small_moe;
using testing::small_strategy;
using testing::staged_strategy;

constexpr MemoryModel kExact{.rho = 1.0, .fragmentation = 0.0, .reserve = {}};
constexpr BatchShape kBatch{.seq = 64, .global_batch = 32};

RankTable table_of(const Model& model, const Strategy& strategy, std::int64_t num_devices, std::int64_t rank) {
  return rank_table(model, strategy, kBatch, Mesh(strategy, num_devices), kExact, rank);
}

/// The sums over the parts of every rank are what memory_per_stage says of the rank.
void expect_sums_to_match(const Model& model, const Strategy& strategy, std::int64_t num_devices) {
  ASSERT_TRUE(violations(model, strategy, kBatch, num_devices).empty());
  const Mesh mesh(strategy, num_devices);
  const auto memory = memory_per_stage(model, strategy, kBatch, mesh, kExact);
  for (std::int64_t rank = 0; rank < strategy.pp; ++rank) {
    SCOPED_TRACE(rank);
    const RankTable table = table_of(model, strategy, num_devices, rank);
    const MemoryByCause& whole = memory[static_cast<std::size_t>(rank)];
    Bytes states, activations;
    std::int64_t dense = 0, expert = 0;
    for (const StagePart& part : table.parts) {
      states += part.states;
      activations += part.saved * static_cast<double>(part.in_flight);
      dense += part.dense_parameters;
      expert += part.expert_parameters;
    }
    EXPECT_EQ(activations, whole.activations);
    // Each part pads its own buffers: at most a group's elements more, of 18 bytes each, for each of its pieces.
    const double pieces = static_cast<double>(model.num_layers() + 3) * 2.0;
    EXPECT_GE(states, whole.states());
    EXPECT_LE(states - whole.states(), bytes(18.0 * static_cast<double>(num_devices) * pieces));
    std::vector<StageLayout> stages;
    for (const std::int64_t stage : stages_of(strategy, rank)) {
      stages.push_back(strategy.stages[static_cast<std::size_t>(stage)]);
    }
    EXPECT_EQ(dense, flat_buffer(model, stages, strategy, mesh, FlatBufferKind::dense).elements);
    EXPECT_EQ(expert, flat_buffer(model, stages, strategy, mesh, FlatBufferKind::expert).elements);
  }
}

TEST(MemoryTable, AddsUpToTheMemoryOfTheRank) {
  for (const Model& model : {small_moe(), small_mla()}) {
    for (const Schedule schedule : {Schedule::gpipe, Schedule::one_f_one_b}) {
      for (const int zero : {0, 1}) {
        for (const std::int64_t pp : {1, 2, 4}) {
          Strategy strategy = small_strategy(model, pp, 2);
          strategy.schedule = schedule;
          strategy.zero_dense = strategy.zero_expert = zero;
          expect_sums_to_match(model, strategy, 8);
          strategy.stages[0].recompute = {RecomputeModule::full};
          strategy.stages.back().recompute = {RecomputeModule::layernorm, RecomputeModule::moe_act};
          expect_sums_to_match(model, strategy, 8);
        }
      }
    }
  }
}

TEST(MemoryTable, GroupsEqualLayersAndTellsOthersApart) {
  const Model model = small_moe(6);  // one dense layer, five of experts
  Strategy strategy = small_strategy(model, 1);
  strategy.stages[0].recompute = {RecomputeModule::full};
  strategy.stages[0].num_recompute_layers = 3;
  const RankTable table = table_of(model, strategy, 2, 0);
  ASSERT_EQ(table.parts.size(), 5);
  EXPECT_EQ(table.parts[0].kind, Kind::embedding);
  EXPECT_EQ(table.parts[1].kind, Kind::dense);
  EXPECT_EQ(table.parts[1].count, 1);
  EXPECT_EQ(table.parts[1].expert_parameters, 0);
  EXPECT_EQ(table.parts[2].kind, Kind::moe);
  EXPECT_EQ(table.parts[2].count, 2);
  EXPECT_EQ(table.parts[2].recompute, std::set{RecomputeModule::full});
  EXPECT_EQ(table.parts[3].count, 3);
  EXPECT_TRUE(table.parts[3].recompute.empty());
  EXPECT_EQ(table.parts[3].expert_parameters, 3 * 8 * 3 * 32 * 64);
  EXPECT_EQ(table.parts[4].kind, Kind::head);
  EXPECT_EQ(table.parts[4].dense_parameters, 256 * 64 + 64);
  EXPECT_EQ(table.parts[0].dense_parameters, 256 * 64);
  // A layer that is recomputed keeps its input alone, two bytes for each element.
  EXPECT_EQ(table.parts[2].saved, bytes(2.0 * 64 * 64 * 2));
}

TEST(MemoryTable, ATiedHeadOrAModuleCostsACopyOnlyWhereTheEmbeddingIsNot) {
  Model model = small_mla();
  model.tied_embeddings = true;
  model.num_mtp_modules = 1;
  const auto parameters = [](const RankTable& table, Kind kind) {
    const auto part = std::find_if(table.parts.begin(), table.parts.end(),
                                   [&](const StagePart& candidate) { return candidate.kind == kind; });
    return part == table.parts.end() ? std::int64_t{-1} : part->dense_parameters;
  };
  const std::int64_t matrix = 256 * 64;
  EXPECT_EQ(parameters(table_of(model, small_strategy(model, 1), 2, 0), Kind::head), 64) << "the norm alone";
  EXPECT_EQ(parameters(table_of(model, small_strategy(model, 2), 2, 1), Kind::head), matrix + 64);
  Strategy strategy = small_strategy(model, 1);
  strategy.mtp = Mtp::on;
  strategy.stages = with_mtp(strategy.stages, 1);
  const std::int64_t module = parameters(table_of(model, strategy, 2, 0), Kind::mtp);
  EXPECT_GT(module, 0);
  EXPECT_EQ(parameters(table_of(model, strategy, 2, 0), Kind::head), 64);
  strategy = small_strategy(model, 2);
  strategy.mtp = Mtp::on;
  strategy.stages = with_mtp(strategy.stages, 1);
  EXPECT_EQ(parameters(table_of(model, strategy, 2, 1), Kind::mtp), module + matrix);
  EXPECT_EQ(parameters(table_of(model, strategy, 2, 1), Kind::head), 64) << "the module's copy serves the head";
}

TEST(MemoryTable, FindsTheMomentInTheSlotsOfTheSchedule) {
  const Model model = small_moe(8);
  const auto in_flight = [&](Schedule schedule, std::int64_t vpp, std::int64_t rank) {
    const RankTable table = table_of(model, staged_strategy(model, schedule, 4, vpp), 8, rank);
    std::vector<std::int64_t> counts;
    for (const StagePart& part : table.parts) {
      if (part.kind == Kind::moe) counts.push_back(part.in_flight);
    }
    return counts;
  };
  using Counts = std::vector<std::int64_t>;
  EXPECT_EQ(in_flight(Schedule::gpipe, 1, 1), Counts{16});
  for (std::int64_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(in_flight(Schedule::one_f_one_b, 1, rank), Counts{4 - rank});
    EXPECT_EQ(in_flight(Schedule::zb_h1, 1, rank), Counts{4});  // docs/design/schedules.md
    EXPECT_EQ(in_flight(Schedule::zb_h2, 1, rank), Counts{7});
  }
  const RankTable table = table_of(model, staged_strategy(model, Schedule::one_f_one_b, 4, 1), 8, 1);
  EXPECT_EQ(table.stage, 1);
  EXPECT_EQ(table.micro_batch, 2);
}

TEST(MemoryTable, ListsAllStagesOfARank) {
  const Model model = small_moe(8);
  const RankTable table = table_of(model, staged_strategy(model, Schedule::zbv, 4, 2), 8, 0);
  ASSERT_EQ(table.parts.size(), 4);
  EXPECT_EQ(table.parts[0].kind, Kind::embedding);
  EXPECT_EQ(table.parts[1].stage, 0);
  EXPECT_EQ(table.parts[2].stage, 7);
  EXPECT_EQ(table.parts[3].kind, Kind::head);
  EXPECT_EQ(table.parts[3].stage, 7);
}

TEST(MemoryTable, NamesParts) {
  EXPECT_EQ(name_of(Kind::embedding), "embedding");
  EXPECT_EQ(name_of(Kind::dense), "dense");
  EXPECT_EQ(name_of(Kind::moe), "moe");
  EXPECT_EQ(name_of(Kind::mtp), "mtp");
  EXPECT_EQ(name_of(Kind::head), "head");
}

}  // namespace
}  // namespace orrery::costmodel
