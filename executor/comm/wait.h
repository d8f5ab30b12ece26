// SPDX-License-Identifier: Apache-2.0
// How a rank waits for a peer: it gives its core away, then sleeps for short times, so that more ranks than cores get
// along. It stops waiting when the run has been stopped, when the peer is gone and when the time-out is over. Private
// to `comm/`; the loop is `Endpoint::wait`.
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

/// The pauses of one wait, after spinning has not helped. Requires: the place outlives it; its peer may change.
class Patience {
 public:
  Patience(Segment& segment, const WaitPlace& place);

  enum class Rest { give_way, sleep };
  /// Looks whether there is still something to wait for, and says how to let others run until the next look.
  /// Throws: BackendError, and stops the run, when there is nothing left to wait for.
  Rest look();

  /// Starts the time-out anew, since something has moved.
  void renew() { start_ = now(); }

 private:
  Segment& segment_;
  const WaitPlace& place_;
  Instant start_;
  Instant next_look_;
  int num_looks_ = 0;
  int gone_peer_ = -1;
};

/// Throws: BackendError, when the run has been stopped.
void throw_if_stopped(Segment& segment, const WaitPlace& place);

/// For a peer that closed a stream before it was through. Waits a little for somebody who knows why, on the peer's host
/// or another one. Throws: BackendError, always, and stops the run.
[[noreturn]] void throw_lost_peer(Segment& segment, const WaitPlace& place);

/// Tells the processor that this is a spin loop.
inline void spin_pause() { __builtin_ia32_pause(); }

}  // namespace orrery::executor
