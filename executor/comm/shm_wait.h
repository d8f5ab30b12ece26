// SPDX-License-Identifier: Apache-2.0
// How a rank waits for a peer: it spins for about a microsecond, then gives its core away, then sleeps for short
// times, so that more ranks than cores get along. It stops waiting when the run has been stopped, when the peer is gone
// and when the time-out is over. Private to `comm/`.
#pragma once

#include "executor/comm/clock.h"
#include "executor/comm/shm_segment.h"

#include <string_view>

namespace orrery::executor {

/// What a rank waits for, in words.
struct WaitPlace {
  int rank;               ///< who waits
  std::string_view what;  ///< in which call: all_reduce, receive, ...
  std::string_view key;   ///< for which op
  int peer;               ///< for whom; all numbers are ranks of the segment
};

/// The pauses of one wait, after spinning has not helped.
class Patience {
 public:
  Patience(Segment& segment, const WaitPlace& place);

  /// Lets others run for a while. Call it again only if the wait is not over.
  /// Throws: BackendError, and stops the run, when there is nothing left to wait for.
  void pause();

 private:
  [[noreturn]] void give_up(const std::string& why);

  Segment& segment_;
  WaitPlace place_;
  Instant start_;
  Instant next_look_;
  int num_yields_ = 0;
  bool peer_gone_ = false;
};

/// Throws: BackendError, when the run has been stopped.
void throw_if_stopped(Segment& segment, const WaitPlace& place);

/// Tells the processor that this is a spin loop.
inline void spin_pause() { __builtin_ia32_pause(); }

/// Waits until `ready()`; in between, calls `meanwhile()`, which keeps other work of the rank moving.
template <class Ready, class Meanwhile>
void wait_until(Segment& segment, const WaitPlace& place, Ready&& ready, Meanwhile&& meanwhile) {
  constexpr int kSpins = 200;  // longer spinning is fatal when there are more ranks than cores
  for (int spin = 0; spin < kSpins; ++spin) {
    if (ready()) return;
    spin_pause();
  }
  Patience patience(segment, place);
  while (!ready()) {
    meanwhile();
    patience.pause();
  }
}

}  // namespace orrery::executor
