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

bool is_lowered(Schedule schedule) { return schedule == Schedule::gpipe || schedule == Schedule::one_f_one_b; }

}  // namespace orrery
