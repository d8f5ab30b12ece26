// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/strategy.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

// In which order a pipeline rank works on its micro-batches. A schedule is only an order of slots; what a slot
// contains is the lowering's business, and how long it takes nobody's here. A new schedule is one file in
// program/schedules/, one line in schedule.cpp, one test. What each costs: docs/design/schedules.md.

namespace orrery {

struct Slot {
  /// A backward is both gradients at once; schedules without bubbles split it in two.
  enum class Kind : std::uint8_t { forward, backward, input_grad, weight_grad };
  /// A whole backward that runs at the same time as the forward whose slot it is in.
  struct Backward {
    std::int64_t stage = 0;
    std::int64_t micro_batch = 0;
    bool operator==(const Backward&) const = default;
  };

  Kind kind = Kind::forward;
  std::int64_t stage = 0;  // virtual stage
  std::int64_t micro_batch = 0;
  /// Set only on a forward: whoever leaves it out loses a backward, and the program does not verify.
  std::optional<Backward> beside = {};
  bool operator==(const Slot&) const = default;
};

struct PipelineShape {
  std::int64_t num_ranks = 1;          // p
  std::int64_t chunks_per_rank = 1;    // v; there are p v stages
  std::int64_t num_micro_batches = 1;  // m; those of both directions together in DualPipe
  /// Interleaved only: micro-batches that pass a chunk before the rank goes on to its next chunk; p when not set.
  std::optional<std::int64_t> micro_batch_group = {};
  /// 1F1B and interleaved only: forwards and backwards in turn share a slot, so that one hides the exchanges of the
  /// other; a rank then warms up with a forward more. Source: Megatron-LM, --overlap-moe-expert-parallel-comm.
  bool in_pairs = false;
};

/// Why `schedule` has no order for this shape: "expected 2 chunks per rank, got 1". Nothing: it has one.
std::optional<std::string> order_problem(Schedule schedule, const PipelineShape& shape);

/// Whether `slots_of` knows an order.
inline bool has_order(Schedule schedule, const PipelineShape& shape) { return !order_problem(schedule, shape); }

/// The slots of pipeline rank `rank`, in order.
/// Requires: has_order(schedule, shape) and a rank of the shape.
std::vector<Slot> slots_of(Schedule schedule, const PipelineShape& shape, std::int64_t rank);

/// Why the schedule of `strategy` has no order for its ranks and stages and `num_micro_batches` of a pipeline.
std::optional<std::string> schedule_problem(const Strategy& strategy, std::int64_t num_micro_batches);

/// The slots of pipeline rank `rank` under `strategy`.
/// Requires: !schedule_problem(strategy, num_micro_batches).
std::vector<Slot> slots_of(const Strategy& strategy, std::int64_t num_micro_batches, std::int64_t rank);

/// The virtual stages that pipeline rank `rank` holds, in chunk order; each is an index into Strategy::stages.
/// Interleaved: rank, p + rank, ...; V shapes: rank and 2p - 1 - rank. In DualPipe two ranks hold each stage: rank
/// runs stage rank for one half of the micro-batches and p - 1 - rank for the other.
std::vector<std::int64_t> stages_of(const Strategy& strategy, std::int64_t rank);

/// Whether a forward and a backward share slots, so that one hides the exchanges of the other.
bool runs_pairs(const Strategy& strategy);

/// Micro-batches that a rank runs on each of its stages: half of `num_micro_batches` in DualPipe, where two ranks hold
/// each stage.
double slots_per_stage(const Strategy& strategy, std::int64_t num_micro_batches);

/// Where a neighbouring stage runs, seen from the rank of a stage. Ranks form a ring: the one after the last is the
/// first.
enum class Neighbour : std::uint8_t { none, same_rank, next_rank, previous_rank };

/// Around one stage of a rank: what makes its input and what takes its output.
struct StageNeighbours {
  Neighbour before = Neighbour::none;  // none: the first stage
  Neighbour behind = Neighbour::none;  // none: the last stage
  bool operator==(const StageNeighbours&) const = default;
};

/// The neighbours of chunk `chunk` of rank `rank`: of stages_of(strategy, rank)[chunk].
StageNeighbours neighbours_of(const Strategy& strategy, std::int64_t rank, std::size_t chunk);

}  // namespace orrery
