// SPDX-License-Identifier: Apache-2.0
// Equal ways: where a route may go on by any of several links, a balanced network gives each of them its share, and one
// that hashes flows (ECMP) sends the whole flow by one that only looks random.
#pragma once

#include "base/rng.h"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace orrery::topology {

class Ways {
 public:
  /// Each way takes an equal share.
  static Ways balanced() { return Ways(); }

  /// The flow that `flow` names takes one way, drawn with `seed`. Draws on different levels are independent.
  static Ways drawn(std::uint64_t seed, std::uint64_t flow) {
    Ways ways;
    ways.drawn_ = CounterRng(seed, flow);
    return ways;
  }

  /// The way with this number wherever a route has several, counted round.
  static Ways numbered(std::size_t number) {
    Ways ways;
    ways.number_ = number;
    return ways;
  }

  /// Calls visit(way, share) for those of `num` ways that carry something of `share`. `level` tells one choice of a
  /// route from the next. Requires: num > 0.
  template <class F>
  void over(std::size_t num, double share, std::uint64_t level, const F& visit) const {
    if (drawn_) {
      visit(static_cast<std::size_t>(drawn_->below(level, num)), share);
      return;
    }
    if (number_) {
      visit(*number_ % num, share);
      return;
    }
    for (std::size_t way = 0; way < num; ++way) visit(way, share / static_cast<double>(num));
  }

 private:
  Ways() = default;

  std::optional<CounterRng> drawn_;
  std::optional<std::size_t> number_;
};

}  // namespace orrery::topology
