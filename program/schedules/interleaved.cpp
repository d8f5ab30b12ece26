// SPDX-License-Identifier: Apache-2.0
#include "program/schedules/schedules.h"

#include <algorithm>

#include <fmt/format.h>

namespace orrery::schedules {
namespace {

struct Cell {
  std::int64_t chunk = 0;
  std::int64_t micro_batch = 0;
};

std::int64_t group_of(const PipelineShape& shape) { return shape.micro_batch_group.value_or(shape.num_ranks); }

/// In which order the forwards run, on every rank; backwards follow it with the chunks reversed.
std::vector<Cell> table_of(const PipelineShape& shape) {
  const std::int64_t m = shape.num_micro_batches, group = group_of(shape);
  std::vector<Cell> table;
  table.reserve(static_cast<std::size_t>(m * shape.chunks_per_rank));
  for (std::int64_t first = 0; first < m; first += group) {
    for (std::int64_t chunk = 0; chunk < shape.chunks_per_rank; ++chunk) {
      for (std::int64_t i = first; i < std::min(m, first + group); ++i) table.push_back({chunk, i});
    }
  }
  return table;
}

}  // namespace

std::optional<std::string> interleaved_problem(const PipelineShape& shape) {
  const std::int64_t p = shape.num_ranks, m = shape.num_micro_batches, group = group_of(shape);
  if (m < p) return fmt::format("expected at least {} micro-batches (one per rank), got {}", p, m);
  if (group < p || group > m) {
    return fmt::format("expected groups of {} (ranks) to {} (micro-batches), got {}", p, m, group);
  }
  if (const std::int64_t tail = m % group; tail != 0 && tail < p) {
    return fmt::format("expected {} micro-batches in groups of {} to leave none or at least {} (ranks), got {}", m,
                       group, p, tail);
  }
  return std::nullopt;
}

std::vector<Slot> interleaved(const PipelineShape& shape, std::int64_t rank) {
  const std::int64_t p = shape.num_ranks, v = shape.chunks_per_rank;
  const std::vector<Cell> table = table_of(shape);
  const std::int64_t ahead = 2 * (p - 1 - rank) + (v - 1) * group_of(shape) + (shape.in_pairs ? 1 : 0);
  const std::size_t warm_up = std::min(table.size(), static_cast<std::size_t>(ahead));

  std::vector<Slot> slots;
  slots.reserve(2 * table.size());
  const auto forward = [&](const Cell& cell) {
    slots.push_back({Slot::Kind::forward, cell.chunk * p + rank, cell.micro_batch});
  };
  for (std::size_t i = 0; i < warm_up; ++i) forward(table[i]);
  for (std::size_t i = 0; i < table.size(); ++i) {
    const bool has_forward = warm_up + i < table.size();
    if (has_forward) forward(table[warm_up + i]);
    const Slot backward{Slot::Kind::backward, (v - 1 - table[i].chunk) * p + rank, table[i].micro_batch};
    if (has_forward && shape.in_pairs) {
      slots.back().beside = {.stage = backward.stage, .micro_batch = backward.micro_batch};
    } else {
      slots.push_back(backward);
    }
  }
  return slots;
}

}  // namespace orrery::schedules
