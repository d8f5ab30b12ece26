// SPDX-License-Identifier: Apache-2.0
// The rate rule: how fast an activity progresses while others run on the same device. An activity (a compute op, or a
// communication that has started) has remaining work, counted in seconds of undisturbed running, and a rate; when a
// neighbour starts or ends, its rate changes and the end is computed again from what remains. The analytic and the
// SimGrid interpreter both follow this file. Why these rates: docs/design/overlap.md.
#pragma once

#include "base/units.h"
#include "costmodel/cost_model.h"

namespace orrery::costmodel {

/// Communications of a rank that are running.
struct RunningComms {
  int comms = 0;
  int exchanges = 0;  // of tokens, among them

  void add(bool is_exchange, int number = 1) {
    comms += number;
    exchanges += is_exchange ? number : 0;
  }
};

/// How much compute ops are slowed, of one that communications slow by `slowdown` and exchanges by `by_exchange`, which
/// is no less: a second communication takes no further share.
constexpr double compute_rate(double slowdown, double by_exchange, const RunningComms& beside) {
  if (beside.comms == 0) return 1.0;
  return 1.0 / (1.0 + (beside.exchanges > 0 ? by_exchange : slowdown));
}

/// Rate that one participant allows a communication; the communication runs at the least of all participants.
constexpr double comm_rate(const OverlapRule& rule, bool computing) {
  return computing ? 1.0 / (1.0 + rule.comm_slowdown) : 1.0;
}

/// Remaining work of something that runs, and when it will end at its present rate.
class Progress {
 public:
  /// Starts `work` at time `now`.
  void start(Seconds work, double rate, Seconds now) {
    remaining_ = work;
    rate_ = rate;
    since_ = now;
  }
  /// Changes the rate at `now`: what was done until then is done.
  void set_rate(double rate, Seconds now) {
    remaining_ -= rate_ * (now - since_);
    if (remaining_ < Seconds::zero()) remaining_ = Seconds::zero();
    rate_ = rate;
    since_ = now;
  }
  double rate() const { return rate_; }
  Seconds end() const { return since_ + remaining_ / rate_; }

 private:
  Seconds remaining_, since_;
  double rate_ = 1.0;
};

}  // namespace orrery::costmodel
