// SPDX-License-Identifier: Apache-2.0
#include "costmodel/memory_table.h"

#include "costmodel/rank_states.h"
#include "costmodel/stage_lives.h"
#include "program/flat_buffer.h"
#include "tests/unit/program/random_strategies.h"
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
  return rank_tables(model, strategy, kBatch, Mesh(strategy, num_devices), kExact).at(static_cast<std::size_t>(rank));
}

// Over every dimension: what the parts hold is what the rank holds.
TEST(MemoryTable, AddsUpToTheMemoryOfTheRank) {
  testing::for_random_cases(200, [](const testing::RandomCase& drawn, std::uint64_t index) {
    SCOPED_TRACE(index);
    const auto& [model, strategy, batch, num_devices] = drawn;
    const Mesh mesh(strategy, num_devices);
    const std::vector<MemoryByCause> memory = memory_per_stage(model, strategy, batch, mesh, kExact);
    const std::vector<RankTable> tables = rank_tables(model, strategy, batch, mesh, kExact);
    ASSERT_EQ(tables.size(), memory.size());
    for (std::size_t rank = 0; rank < tables.size(); ++rank) {
      SCOPED_TRACE(rank);
      Bytes states;
      std::int64_t dense = 0, expert = 0;
      for (const StagePart& part : tables[rank].parts) {
        EXPECT_GE(part.saved, Bytes::zero()) << name_of(part.kind);
        states += part.states;
        dense += part.dense_parameters;
        expert += part.expert_parameters;
      }
      const auto stages = stages_on_rank(strategy, static_cast<std::int64_t>(rank));
      EXPECT_EQ(dense, flat_buffer(model, stages, strategy, mesh, FlatBufferKind::dense).elements);
      EXPECT_EQ(expert, flat_buffer(model, stages, strategy, mesh, FlatBufferKind::expert).elements);
      // Each part, and each layer of it, pads its own two buffers: by less than one element for each rank that shares.
      const double pieces = 2.0 * static_cast<double>(model.num_layers() + 2 * strategy.vpp + 3);
      EXPECT_NEAR(states / unit::byte, memory[rank].states() / unit::byte,
                  18.0 * pieces * static_cast<double>(num_devices));
    }
  });
}

TEST(MemoryTable, AddsUpToWhatAStageSaves) {
  testing::for_random_cases(200, [](const testing::RandomCase& drawn, std::uint64_t index) {
    SCOPED_TRACE(index);
    const auto& [model, strategy, batch, num_devices] = drawn;
    const Mesh mesh(strategy, num_devices);
    const TableSizes sizes(model, strategy, batch, kExact);
    StageLivesMaker maker(sizes, mesh);
    for (const RankTable& table : rank_tables(model, strategy, batch, mesh, kExact)) {
      for (const StagePart& first : table.parts) {
        Bytes saved;
        std::int64_t num_heads = 0;
        for (const StagePart& part : table.parts) {
          if (part.stage == first.stage) saved += part.saved;
          if (part.kind == Kind::head && part.stage == first.stage) ++num_heads;
        }
        // Through the message neighbours that a stage in the middle has, whatever this one has.
        const std::int64_t last = strategy.num_stages() - 1;
        const StageNeighbours neighbours{.before = first.stage == 0 ? Neighbour::none : Neighbour::previous_rank,
                                         .behind = first.stage == last ? Neighbour::none : Neighbour::next_rank};
        const bool split = strategy.schedule == Schedule::zb_h1 || strategy.schedule == Schedule::zb_h2 ||
                           strategy.schedule == Schedule::zbv;
        const StageLives whole = maker.stage(strategy.stages[static_cast<std::size_t>(first.stage)], neighbours,
                                             {.whole = !split, .split = split});
        EXPECT_LE(num_heads, 1);
        EXPECT_NEAR(saved / unit::byte, whole.activations.saved, 1e-6 * whole.activations.saved);
      }
    }
  });
}

// In the fullest slot its own micro-batch is not all saved yet, or some of it is released, and no other.
TEST(MemoryTable, TimesInFlightIsTheActivationsUpToOneMicroBatch) {
  const Model model = small_mla();
  for (const Schedule schedule : {Schedule::gpipe, Schedule::one_f_one_b}) {
    for (const std::int64_t pp : {1, 2, 4}) {
      Strategy strategy = small_strategy(model, pp, 2);
      strategy.schedule = schedule;
      const Mesh mesh(strategy, 8);
      const std::vector<MemoryByCause> memory = memory_per_stage(model, strategy, kBatch, mesh, kExact);
      const std::vector<RankTable> tables = rank_tables(model, strategy, kBatch, mesh, kExact);
      for (std::size_t rank = 0; rank < tables.size(); ++rank) {
        Bytes one, all;
        for (const StagePart& part : tables[rank].parts) {
          one += part.saved;
          all += part.saved * static_cast<double>(part.in_flight);
        }
        EXPECT_LE(memory[rank].activations, all);
        EXPECT_GE(memory[rank].activations, all - one);
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
    EXPECT_EQ(table.stage, rank);
    for (const StagePart& part : table.parts) EXPECT_EQ(part.in_flight, table.parts.front().in_flight);
    return table.parts.front().in_flight;
  };
  EXPECT_EQ(in_flight(Schedule::gpipe, 1, 1), 16);
  for (std::int64_t rank = 0; rank < 4; ++rank) EXPECT_EQ(in_flight(Schedule::one_f_one_b, 1, rank), 4 - rank);
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
