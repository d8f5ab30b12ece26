// SPDX-License-Identifier: Apache-2.0
// Who of several players earned what: the Shapley value, a player's part averaged over all orders in which they might
// have come in. It is the only rule that shares the whole out, treats equals alike and gives nothing to who changes
// nothing. Source: L. S. Shapley, A value for n-person games (1953).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace orrery::planner {

/// Parts as fractions of one denominator, so that they add up to the whole without rounding.
struct Attribution {
  std::vector<std::int64_t> numerators;  // of each player
  std::int64_t denominator = 1;

  double of(std::size_t player) const {
    return static_cast<double>(numerators[player]) / static_cast<double>(denominator);
  }
};

inline constexpr int kMaxPlayers = 8;

/// `values`: of each coalition, where bit i of the index says that player i is in it; 2^n of them, in any unit. The sum
/// of the parts is values.back() - values.front(), exactly.
/// Requires: n <= kMaxPlayers, and values of less than 2^46. Complexity: n 2^n.
Attribution shapley(std::span<const std::int64_t> values);

}  // namespace orrery::planner
