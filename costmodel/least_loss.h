// SPDX-License-Identifier: Apache-2.0
// What a rank at least loses to communication that nothing waits for: for bounds. Each second of it runs either beside
// arithmetic, which then does less (costmodel/rate_rule.h), or beside nothing, which costs the whole second. Arithmetic
// that is slowed by s has room for 1 + s seconds of communication to each of its own, and loses s / (1 + s) of each. To
// fill the cheapest room first loses least; how much that is, is convex in the communication, so every slope gives a
// line below it, and lines of parts can be added up: stages need no lists of their ops.
#pragma once

#include "base/units.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace orrery::costmodel {

class LeastLoss {
 public:
  /// Arithmetic of `time`, which a communication beside it slows by `slowdown`.
  void add(Seconds time, double slowdown) {
    const double s = std::max(slowdown, 0.0);
    for (std::size_t i = 0; i < kSlopes.size(); ++i) {
      spared_[i] += time * ((1.0 + s) * std::max(0.0, kSlopes[i] - s / (1.0 + s)));
    }
  }
  /// Time in which communication costs nothing: another one is waited for.
  void add_idle(Seconds time) { add(time, 0.0); }
  void add(const LeastLoss& other, double count) {
    for (std::size_t i = 0; i < kSlopes.size(); ++i) spared_[i] += count * other.spared_[i];
  }

  /// By which all that was added takes longer with communication of `time` on one queue.
  Seconds of(Seconds time) const {
    Seconds most;
    for (std::size_t i = 0; i < kSlopes.size(); ++i) most = std::max(most, kSlopes[i] * time - spared_[i]);
    return most;
  }

 private:
  static constexpr std::array kSlopes{0.02, 0.05, 0.08, 0.11, 0.14, 0.17, 0.2, 0.25, 0.3, 0.4, 0.5, 1.0};
  std::array<Seconds, kSlopes.size()> spared_{};  // of slope times communication
};

}  // namespace orrery::costmodel
