// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "costmodel/block_times.h"

#include <algorithm>

namespace orrery::costmodel {

/// What a pipeline rank does for one micro-batch in all of its slots: for bounds, where the order of slots is not
/// asked.
class RankWork {
 public:
  /// `pairs`: exchanges of experts run beside the arithmetic of another micro-batch. `num_slots`: of each stage.
  RankWork(bool pairs, double num_slots) : pairs_(pairs), num_slots_(num_slots) {}

  /// `slots`: of a bound, of a stage of the rank. `sharded`: what one queue has to gather and to reduce beside them.
  void add(const Slots& slots, Seconds sharded) {
    busy_ += slots.times.forward + slots.times.backward();
    loss_.add(slots.loss, 1.0);
    if (pairs_) {
      busy_ -= slots.exchanges;
      exchanges_ += slots.times.forward_exchanges + slots.times.backward_exchanges;
    } else {
      loss_.add_idle(slots.exchanges);
    }
    sharded_ += sharded;
  }

  /// From the first slot to the end of the last one.
  Seconds slots() const { return num_slots_ * (busy_ + loss_.of(exchanges_)); }
  /// From the first slot until all gradients are reduced, too. The first gather may come before.
  Seconds slots_and_reductions() const {
    return num_slots_ * (busy_ + loss_.of(std::max(exchanges_, sharded_ * (1.0 - 1.0 / num_slots_))));
  }

 private:
  bool pairs_;
  double num_slots_;
  Seconds busy_, exchanges_, sharded_;
  LeastLoss loss_;
};

}  // namespace orrery::costmodel
