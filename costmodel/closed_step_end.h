// SPDX-License-Identifier: Apache-2.0
// Times of what data-parallel ranks exchange and of the optimizer, for costmodel/closed_form.cpp: at the end of a step,
// or in its slots where parameters are sharded.
#pragma once

#include "costmodel/closed_timer.h"
#include "costmodel/pipeline_walk.h"
#include "program/flat_buffer.h"
#include "program/strategy.h"

#include <vector>

namespace orrery::costmodel {

struct StepEndTimes {
  Seconds weights_gather;  // of overlapped buckets, what the first forward waits for
  Seconds gradient_sync;   // from the last backward until the rank's shard of the gradients is complete and squared
  Seconds states_load;     // from the last backward until offloaded states are there
  Seconds update;          // optimizer, gather of parameters, and the states' way back
};

class ClosedStepEnd {
 public:
  /// `timer` is asked about the rank that it has entered.
  ClosedStepEnd(const Model& model, const Strategy& strategy, const Mesh& mesh, ClosedTimer& timer);

  /// Of a rank with these stages, whose first slot is like `slots` and last backward, too: they hide overlapped
  /// buckets.
  StepEndTimes times(const std::vector<StageLayout>& layouts, const SlotTimes& slots);

  /// The same as if later slots and the next step hid all that they can: for a bound.
  StepEndTimes least_times(const std::vector<StageLayout>& layouts);

  /// The same of a rank of which only the sizes of its buffers are known: without Muon's products and what several
  /// ranks hold alike.
  StepEndTimes least_times(const FlatBuffer& dense, const FlatBuffer& expert);

  /// Reductions of a stage that go on beside later slots.
  struct Reductions {
    Seconds all;    // of one micro-batch
    Seconds last;   // of the unit that is done last
    Seconds queue;  // of the busier of the two communicators, gathers of one micro-batch included
  };
  /// ZeRO 2 and 3: weights are gathered one unit ahead of the arithmetic, so that each slot of this stage waits for its
  /// first unit and then takes as long as the longer of both; reductions slow the arithmetic that they run beside.
  Reductions shard_slots(const StageLayout& layout, SlotTimes& slots);

  /// What the queue of sharded dense or expert parameters is busy with for one micro-batch of a stage: for a bound.
  Seconds sharded_queue(const StageLayout& layout, bool dense);

 private:
  struct Buffer {
    FlatBuffer flat;
    int zero = 0;
    bool dense = true;

    std::int64_t owned() const { return zero >= 1 ? flat.shard() : flat.padded; }
    std::int64_t owned_muon() const { return zero >= 1 ? flat.muon_shard() : flat.muon; }
  };
  /// Trained elements of what is gathered and reduced as one.
  struct Unit {
    std::int64_t dense = 0, expert = 0;
  };
  /// What travels in slots, by unit; empty where it does so at the end of the step.
  struct UnitTimes {
    std::vector<Seconds> gather, scatter, replicas;
  };
  UnitTimes unit_times(const StageLayout& layout, bool dense);
  /// Of forward and backward.
  Seconds gathers_of(const UnitTimes& units, const StageLayout& layout, bool dense) const;
  Buffer buffer_of(const std::vector<StageLayout>& layouts, bool dense) const;
  StepEndTimes times(const Buffer& dense, const Buffer& expert, const std::vector<StageLayout>& layouts);
  Seconds reduced(const Buffer& buffer);
  Seconds gathered(const Buffer& buffer);
  double num_buckets(const Buffer& buffer) const;
  Seconds repeated(const std::vector<StageLayout>& layouts);
  Seconds updated(const Buffer& buffer, const std::vector<StageLayout>& layouts);
  Seconds muon_products(const Buffer& buffer, const std::vector<StageLayout>& layouts);
  std::int64_t offloaded_bytes(const Buffer& buffer) const;
  std::vector<Unit> units_of(const StageLayout& layout) const;

  const Model& model_;
  const Strategy& strategy_;
  const Mesh& mesh_;
  ClosedTimer& timer_;
};

}  // namespace orrery::costmodel
