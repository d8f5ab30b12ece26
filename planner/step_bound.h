// SPDX-License-Identifier: Apache-2.0
// The first bound of a search: a few sums over ranks instead of a walk over slots. Each rank has to wait for the first
// micro-batch to reach it, to do all its slots, and its last input gradient has to reach the first stage. Weaker than
// costmodel/lower_bound.h, and never above it.
#pragma once

#include "base/units.h"
#include "costmodel/block_times.h"
#include "costmodel/slots_alone.h"
#include "program/strategy.h"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace orrery::planner {

class StepBound {
 public:
  StepBound(const Strategy& strategy, std::int64_t num_micro_batches);

  /// Least times of the slots of chunk `chunk` of pipeline rank `rank`.
  void set_stage(std::size_t rank, std::size_t chunk, const costmodel::Slots& slots);
  /// Between `stage` and the one behind it.
  void set_message(std::int64_t stage, Seconds time) { messages_[static_cast<std::size_t>(stage)] = time; }
  /// What comes behind the last slot of a rank (costmodel/closed_step_end.h).
  void set_end(std::size_t rank, Seconds sync, Seconds load, Seconds update) { ends_[rank] = {sync, load, update}; }

  /// What the queue of sharded parameters has to do for a micro-batch on that chunk.
  void set_sharded(std::size_t rank, std::size_t chunk, Seconds of_micro_batch) {
    if (std::exchange(ranks_[rank].sharded[chunk], of_micro_batch) == of_micro_batch) return;
    ranks_[rank].sums.reset();
    slots_end_.clear();
  }
  /// What a queue of the rank is busy with in all its slots together, beside them.
  void set_queue(std::size_t rank, Seconds of_micro_batch) { queues_[rank] = slots_per_stage_ * of_micro_batch; }

  /// Of a step without its end.
  Seconds of_slots() const;
  /// Of a step, whose gradient norm takes `norm`.
  Seconds of_step(Seconds norm) const;

 private:
  /// Of all slots of a rank: until they end, until what is reduced beside them ends, and what others wait for.
  struct Sums {
    Seconds slots, reduced, urgent;
  };
  struct Rank {
    std::vector<std::int64_t> stages;
    std::vector<costmodel::Slots> slots;
    std::vector<Seconds> sharded;
    std::vector<costmodel::SlotsAlone> alone;
    std::optional<Sums> sums = {};  // none: to be computed again
  };
  struct End {
    Seconds sync, load, update;
  };
  const Sums& sums_of(Rank& rank) const;
  /// When the last slot of each rank has ended at the earliest.
  const std::vector<Seconds>& slots_end() const;

  const bool splits_;
  const std::int64_t num_stages_;
  const double slots_per_stage_;
  mutable std::vector<Rank> ranks_;
  std::vector<Seconds> messages_;
  std::vector<End> ends_;
  std::vector<Seconds> queues_;
  mutable std::vector<Seconds> down_, up_, slots_end_;  // the last empty: to be computed again
  mutable std::vector<Seconds> reduced_;                // by rank: when slots and what is reduced beside them are done
};

}  // namespace orrery::planner
