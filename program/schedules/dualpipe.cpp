// SPDX-License-Identifier: Apache-2.0
#include "program/schedules/schedules.h"
#include "program/schedules/stage_slots.h"

#include <algorithm>
#include <deque>

namespace orrery::schedules {
namespace {

/// The eight steps that both forms share, on a rank `distance` hops from the end where `near` starts, of `num_hops`
/// ranks up to the middle (or the fold), where the two stages meet.
class BidirectionalOrder {
 public:
  BidirectionalOrder(StageSlots& near, StageSlots& far, std::int64_t distance, std::int64_t num_hops)
      : near_(near), far_(far), distance_(distance), hops_to_middle_(num_hops - 1 - distance) {}

  void emit(std::int64_t num_overlapped_rounds) {
    for (std::int64_t i = 0; i < 2 * hops_to_middle_; ++i) near_.forward();
    for (std::int64_t i = 0; i <= distance_; ++i) {
      near_.forward();
      far_.forward();
    }
    for (std::int64_t i = 0; i < hops_to_middle_; ++i) {
      input_grad(far_);
      oldest_weight_grad();
      far_.forward();
    }
    for (std::int64_t i = 0; i < num_overlapped_rounds; ++i) {
      if (i == 0 && hops_to_middle_ == 0) {
        near_.forward();  // one after the other, so that the forward need not wait for the first gradient
        far_.backward();
      } else {
        near_.forward_beside_backward(far_);
      }
      far_.forward_beside_backward(near_);
    }
    for (std::int64_t i = 0; i < hops_to_middle_; ++i) {
      far_.backward();
      far_.forward_beside_backward(near_);
    }
    drain();
  }

 private:
  /// From half-way on weight gradients are put off, so that input gradients reach the other ranks sooner.
  void drain() {
    const std::int64_t num_backwards = 2 * (distance_ + 1), num_whole = distance_ + 1;
    for (std::int64_t i = 0; i < num_backwards; ++i) {
      StageSlots& stage = i % 2 == 0 ? far_ : near_;
      if (i < num_whole) {
        stage.backward();
      } else {
        input_grad(stage);
      }
    }
    for (std::int64_t i = 0; i < hops_to_middle_; ++i) {
      oldest_weight_grad();
      input_grad(near_);
    }
    for (std::int64_t i = 0; i <= distance_; ++i) oldest_weight_grad();
  }

  void input_grad(StageSlots& stage) {
    stage.input_grad();
    waiting_.push_back(&stage);
  }
  void oldest_weight_grad() {
    waiting_.front()->weight_grad();
    waiting_.pop_front();
  }

  StageSlots &near_, &far_;
  std::int64_t distance_, hops_to_middle_;
  std::deque<StageSlots*> waiting_;  // for a weight gradient, oldest first
};

}  // namespace

std::vector<Slot> dualpipe(const PipelineShape& shape, std::int64_t rank) {
  const std::int64_t p = shape.num_ranks, m = shape.num_micro_batches;
  std::vector<Slot> slots;
  StageSlots first_half(slots, rank, 0, m / 2), second_half(slots, p - 1 - rank, m / 2, m);
  const bool first_is_near = rank < p / 2;
  const std::int64_t distance = std::min(rank, p - 1 - rank);
  BidirectionalOrder order(first_is_near ? first_half : second_half, first_is_near ? second_half : first_half, distance,
                           p / 2);
  order.emit(m / 2 - p + distance + 1);
  return slots;
}

std::vector<Slot> dualpipev(const PipelineShape& shape, std::int64_t rank) {
  const std::int64_t p = shape.num_ranks, m = shape.num_micro_batches;
  std::vector<Slot> slots;
  StageSlots down(slots, rank, 0, m), up(slots, 2 * p - 1 - rank, 0, m);
  BidirectionalOrder(down, up, rank, p).emit(m - 2 * p + rank + 1);
  return slots;
}

}  // namespace orrery::schedules
