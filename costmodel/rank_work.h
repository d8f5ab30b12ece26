// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "costmodel/block_times.h"
#include "costmodel/slots_alone.h"

#include <algorithm>

namespace orrery::costmodel {

/// What a pipeline rank does in all of its slots: for bounds, where the order of slots is not asked.
class RankWork {
 public:
  /// `num_slots`: of each stage.
  explicit RankWork(double num_slots) : num_slots_(num_slots) {}

  /// `slots`: of a bound, of a stage of the rank. `sharded`: what one queue has to gather and to reduce for a
  /// micro-batch beside them. `alone`: of the slots, those that wait for their exchanges; in the others these run
  /// beside the arithmetic of another micro-batch.
  void add(const Slots& slots, Seconds sharded, const SlotsAlone& alone) {
    const double forwards = num_slots_ - alone.forwards, backwards = num_slots_ - alone.backwards;  // in pairs
    busy_ += num_slots_ * (slots.times.forward + slots.times.backward()) - forwards * slots.waited_exchanges.forward -
             backwards * slots.waited_exchanges.backward;
    hidden_ += forwards * slots.times.forward_exchanges + backwards * slots.times.backward_exchanges;
    loss_.add(slots.loss, num_slots_);
    idle_ += alone.forwards * slots.waited_exchanges.forward + alone.backwards * slots.waited_exchanges.backward;
    sharded_ += num_slots_ * sharded;
  }
  /// Of a schedule without pairs.
  void add(const Slots& slots, Seconds sharded) { add(slots, sharded, {num_slots_, num_slots_}); }

  /// From the first slot to the end of the last one. Exchanges are one queue: none runs while another is waited for.
  Seconds slots() const { return busy_ + loss_.of(hidden_); }
  /// The same as if nothing slowed arithmetic: of parts of a rank these add up.
  Seconds without_loss() const { return busy_; }
  /// From the first slot until all gradients are reduced, too. The first gather may come before.
  Seconds slots_and_reductions() const {
    LeastLoss beside = loss_;
    beside.add_idle(idle_);
    return busy_ + std::max(loss_.of(hidden_), beside.of(sharded_ * (1.0 - 1.0 / num_slots_)));
  }

 private:
  double num_slots_;
  Seconds busy_, hidden_, sharded_;
  Seconds idle_;  // while exchanges are waited for
  LeastLoss loss_;
};

}  // namespace orrery::costmodel
