// SPDX-License-Identifier: Apache-2.0
// The slots of one stage, appended to the order of its rank: each call takes the stage's next micro-batch of that
// kind. Orders that interleave several stages are then written as their papers draw them.
#pragma once

#include "program/schedule.h"

#include <cstdint>
#include <vector>

namespace orrery::schedules {

class StageSlots {
 public:
  /// Micro-batches first_micro_batch .. end_micro_batch - 1; calls beyond them add nothing.
  StageSlots(std::vector<Slot>& out, std::int64_t stage, std::int64_t first_micro_batch, std::int64_t end_micro_batch)
      : out_(out),
        stage_(stage),
        end_(end_micro_batch),
        next_forward_(first_micro_batch),
        next_backward_(first_micro_batch),
        next_weight_grad_(first_micro_batch) {}

  void forward() { add(Slot::Kind::forward, next_forward_++); }
  void backward() {
    add(Slot::Kind::backward, next_backward_++);
    ++next_weight_grad_;
  }
  void input_grad() { add(Slot::Kind::input_grad, next_backward_++); }
  void weight_grad() { add(Slot::Kind::weight_grad, next_weight_grad_++); }

  /// The next forward, and beside it the next backward of `other`. Requires: both are left.
  void forward_beside_backward(StageSlots& other) {
    forward();
    out_.back().beside = {.stage = other.stage_, .micro_batch = other.next_backward_++};
    ++other.next_weight_grad_;
  }

  /// The micro-batch of the next slot of each kind; a backward counts as both gradients.
  std::int64_t next_forward() const { return next_forward_; }
  std::int64_t next_backward() const { return next_backward_; }
  std::int64_t next_weight_grad() const { return next_weight_grad_; }

 private:
  void add(Slot::Kind kind, std::int64_t micro_batch) {
    if (micro_batch < end_) out_.push_back({kind, stage_, micro_batch});
  }

  std::vector<Slot>& out_;
  std::int64_t stage_, end_;
  std::int64_t next_forward_, next_backward_, next_weight_grad_;
};

}  // namespace orrery::schedules
