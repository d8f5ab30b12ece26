// SPDX-License-Identifier: Apache-2.0
#include "program/schedule.h"

#include "base/check.h"
#include "program/schedules/schedules.h"

#include <fmt/format.h>

namespace orrery {
namespace {

using SlotMaker = std::vector<Slot> (*)(const PipelineShape&, std::int64_t rank);

SlotMaker maker_of(Schedule schedule) {
  switch (schedule) {
    case Schedule::gpipe:
      return schedules::gpipe;
    case Schedule::one_f_one_b:
      return schedules::one_f_one_b;
    case Schedule::interleaved:
      return schedules::interleaved;
    case Schedule::zb_h1:
      return schedules::zb_h1;
    case Schedule::zb_h2:
      return schedules::zb_h2;
    case Schedule::zbv:
      return schedules::zbv;
    case Schedule::dualpipe:
      return schedules::dualpipe;
    case Schedule::dualpipev:
      return schedules::dualpipev;
  }
  return nullptr;
}

/// Whether each rank holds two stages, p apart as the arms of a V.
bool is_v_shaped(Schedule schedule) { return schedule == Schedule::zbv || schedule == Schedule::dualpipev; }

std::optional<std::string> chunk_problem(Schedule schedule, std::int64_t chunks) {
  const char* expected = nullptr;
  if (schedule == Schedule::interleaved) {
    if (chunks < 2) expected = "at least 2 chunks per rank";
  } else if (is_v_shaped(schedule)) {
    if (chunks != 2) expected = "2 chunks per rank";
  } else if (chunks != 1) {
    expected = "1 chunk per rank";
  }
  if (expected == nullptr) return std::nullopt;
  return fmt::format("expected {}, got {}", expected, chunks);
}

}  // namespace

std::optional<std::string> order_problem(Schedule schedule, const PipelineShape& shape) {
  if (std::optional<std::string> problem = chunk_problem(schedule, shape.chunks_per_rank)) return problem;
  const std::int64_t p = shape.num_ranks, m = shape.num_micro_batches;
  if (schedule == Schedule::interleaved) return schedules::interleaved_problem(shape);
  if (schedule == Schedule::dualpipe) {
    if (p % 2 != 0) return fmt::format("expected an even number of ranks, got {}", p);
    if (m % 2 != 0) return fmt::format("expected an even number of micro-batches, got {}", m);
  }
  if ((schedule == Schedule::dualpipe || schedule == Schedule::dualpipev) && m < 2 * p) {
    return fmt::format("expected at least {} micro-batches (2 per rank), got {}", 2 * p, m);
  }
  return std::nullopt;
}

std::vector<Slot> slots_of(Schedule schedule, const PipelineShape& shape, std::int64_t rank) {
  const std::optional<std::string> problem = order_problem(schedule, shape);
  CHECK(!problem, problem.value_or(""));
  CHECK(rank >= 0 && rank < shape.num_ranks, rank, shape.num_ranks);
  return maker_of(schedule)(shape, rank);
}

namespace {

PipelineShape shape_of(const Strategy& strategy, std::int64_t num_micro_batches) {
  return {.num_ranks = strategy.pp,
          .chunks_per_rank = strategy.vpp,
          .num_micro_batches = num_micro_batches,
          .in_pairs = strategy.overlap.ep_batch_level};
}

/// Whether the second stage of each rank belongs to a way back, from the last rank to the first.
bool comes_back(Schedule schedule) { return is_v_shaped(schedule) || schedule == Schedule::dualpipe; }

std::int64_t stages_of_rank(const Strategy& strategy) { return comes_back(strategy.schedule) ? 2 : strategy.vpp; }

std::int64_t stage_of(const Strategy& strategy, std::int64_t rank, std::int64_t chunk) {
  CHECK(rank >= 0 && rank < strategy.pp && chunk >= 0 && chunk < stages_of_rank(strategy), rank, chunk);
  const bool is_way_back = chunk == 1 && comes_back(strategy.schedule);
  return is_way_back ? strategy.num_stages() - 1 - rank : chunk * strategy.pp + rank;
}

}  // namespace

std::optional<std::string> schedule_problem(const Strategy& strategy, std::int64_t num_micro_batches) {
  return order_problem(strategy.schedule, shape_of(strategy, num_micro_batches));
}

std::vector<Slot> slots_of(const Strategy& strategy, std::int64_t num_micro_batches, std::int64_t rank) {
  return slots_of(strategy.schedule, shape_of(strategy, num_micro_batches), rank);
}

std::vector<std::int64_t> stages_of(const Strategy& strategy, std::int64_t rank) {
  std::vector<std::int64_t> stages(static_cast<std::size_t>(stages_of_rank(strategy)));
  for (std::size_t chunk = 0; chunk < stages.size(); ++chunk) {
    stages[chunk] = stage_of(strategy, rank, static_cast<std::int64_t>(chunk));
  }
  return stages;
}

bool runs_pairs(const Strategy& strategy) {
  return strategy.overlap.ep_batch_level || strategy.schedule == Schedule::dualpipe ||
         strategy.schedule == Schedule::dualpipev;
}

double slots_per_stage(const Strategy& strategy, std::int64_t num_micro_batches) {
  return (strategy.schedule == Schedule::dualpipe ? 0.5 : 1.0) * static_cast<double>(num_micro_batches);
}

StageNeighbours neighbours_of(const Strategy& strategy, std::int64_t rank, std::size_t chunk) {
  const std::int64_t stage = stage_of(strategy, rank, static_cast<std::int64_t>(chunk));
  const bool is_way_back = chunk == 1 && comes_back(strategy.schedule);
  StageNeighbours out = {.before = is_way_back ? Neighbour::next_rank : Neighbour::previous_rank,
                         .behind = is_way_back ? Neighbour::previous_rank : Neighbour::next_rank};
  // At the turn of a V, and everywhere on a single rank.
  const bool turns = is_v_shaped(strategy.schedule) && rank == strategy.pp - 1;
  if (strategy.pp == 1) out = {Neighbour::same_rank, Neighbour::same_rank};
  if (turns) (is_way_back ? out.before : out.behind) = Neighbour::same_rank;
  if (stage == 0) out.before = Neighbour::none;
  if (stage == strategy.num_stages() - 1) out.behind = Neighbour::none;
  return out;
}

}  // namespace orrery
