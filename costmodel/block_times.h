// SPDX-License-Identifier: Apache-2.0
// Times of the blocks of a stage for costmodel/closed_form.cpp: sums over the ops of a layer or an end of the model,
// where communication comes behind arithmetic, or beside the arithmetic that the lowering enqueues with it.
#pragma once

#include "costmodel/closed_timer.h"
#include "costmodel/layer_ops.h"
#include "costmodel/least_loss.h"
#include "costmodel/pipeline_walk.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

namespace orrery::costmodel {

/// Arithmetic beside which communication of a block runs.
enum class Beside : std::uint8_t {
  products_forward,
  products_backward,
  core_forward,
  core_again,
  core_backward,
  shared_forward
};
inline constexpr std::size_t kNumBeside = static_cast<std::size_t>(Beside::shared_forward) + 1;

/// What a block does for one micro-batch: compute takes the same everywhere, communication depends on where it is.
struct BlockTimes {
  Seconds forward, input_grad, weight_grad;                 // arithmetic
  Seconds host_forward, host_input_grad, host_weight_grad;  // to enqueue it, communication included
  Seconds forward_excess, backward_excess;                  // of SlotTimes
  Seconds again;                                            // of input_grad, what recomputation runs
  std::array<Seconds, kNumBeside> beside{};                 // of arithmetic, what communication can run beside
  std::array<Seconds, kNumBeside> lost{};                   // by which that is longer beside communication
  OverlapRule usual;                                        // of the device
  LeastLoss loss;                                           // of arithmetic
  bool extrapolated = false;                                // a time of it
  struct Communication {
    LayerOp op;
    std::optional<Beside> with;  // none: alone
    double hidden = 0.0;         // share of it that can run beside
  };
  std::vector<Communication> communication;

  /// Of blocks of one device that become one.
  BlockTimes& operator+=(const BlockTimes& other);
};

/// Communication as if nothing ran beside it, so that parts of a block add up.
BlockTimes block_times(const std::vector<LayerOp>& ops, ClosedTimer& timer);

/// Says beside what each communication of a whole block runs, as the lowering enqueues it.
void place_communication(BlockTimes& block, const Strategy& strategy);

/// Hides all communication that the next arithmetic on the queue may not wait for, and lets none slow what is beside
/// it: a block takes at least what is left (costmodel/lower_bound.h).
void keep_what_is_waited_for(BlockTimes& block, const Strategy& strategy);

/// What a slot has its device and its host do, communication as if nothing hid it.
struct HostWindow {
  Seconds device, host;
  Seconds left;  // of communication beside arithmetic, what outlasts it

  /// By which the host is late.
  Seconds missing() const { return std::max(Seconds::zero(), host - device); }
};

/// The windows of one stage and micro-batch (costmodel/host_time.h).
struct HostWindows {
  HostWindow forward, input_grad, weight_grad;
};

/// Slots of one stage and micro-batch.
struct Slots {
  struct Passes {
    Seconds forward, backward;
  };

  SlotTimes times;              // without the message
  Seconds communication;        // of forward and backward, what is not arithmetic
  Passes waited_exchanges;      // of experts, in `times` as if nothing hid them
  bool waits_for_host = false;  // in one of its windows, communication as if nothing hid it
  LeastLoss loss;               // of arithmetic; idle while the host or a communication, but no exchange, is waited for
};

/// Of each different communication of a block all that there is, on the rank that `timer` has entered.
std::vector<Seconds> communication_times(const BlockTimes& block, ClosedTimer& timer);

/// Adds `num_blocks` of them. `communication`: the times of its communication on their rank.
void add_block(const BlockTimes& block, double num_blocks, const std::vector<Seconds>& communication, Slots& slots,
               HostWindows& windows);

/// What a block runs again, communication included.
Seconds time_again(const BlockTimes& block, const std::vector<Seconds>& communication);

/// Lengthens slots by what the host is late; a whole backward is one window.
void wait_for_host(const HostWindows& windows, const Strategy& strategy, SlotTimes& slots);

/// The same at least.
void wait_for_host_at_least(const HostWindows& windows, const Strategy& strategy, SlotTimes& slots);

/// Whether the host is late in one of them.
bool waits_for_host(const HostWindows& windows, const Strategy& strategy);

/// Whether the schedule has slots for the two gradients apart, and no whole backward beside them.
bool splits_backward(const Strategy& strategy);

}  // namespace orrery::costmodel
