// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/strategy.h"

#include <cstdint>
#include <vector>

// In which order a pipeline rank works on its micro-batches. A schedule is only an order of slots; what a slot
// contains is the lowering's business. A new schedule is one file in program/schedules/, one line in schedule.cpp,
// one test. Orders: Huang et al. (GPipe); Narayanan et al. (PipeDream-flush, 1F1B).

namespace orrery {

struct Slot {
  enum class Kind : std::uint8_t { forward, backward, input_grad, weight_grad };
  Kind kind = Kind::forward;
  std::int64_t stage = 0;  // virtual stage
  std::int64_t micro_batch = 0;
  bool operator==(const Slot&) const = default;
};

struct PipelineShape {
  std::int64_t num_ranks = 1;          // p
  std::int64_t chunks_per_rank = 1;    // v
  std::int64_t num_micro_batches = 1;  // m
};

/// The slots of pipeline rank `rank`, in order.
/// Requires: a schedule for which is_lowered(schedule).
std::vector<Slot> slots_of(Schedule schedule, const PipelineShape& shape, std::int64_t rank);

/// Whether `slots_of` knows this schedule.
bool is_lowered(Schedule schedule);

}  // namespace orrery
