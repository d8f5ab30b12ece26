// SPDX-License-Identifier: Apache-2.0
#include "planner/explain/shapley.h"

#include "base/check.h"

#include <array>
#include <bit>

namespace orrery::planner {

Attribution shapley(std::span<const std::int64_t> values) {
  CHECK(std::has_single_bit(values.size()), values.size());
  const int n = std::countr_zero(values.size());
  CHECK(n <= kMaxPlayers, n);
  std::array<std::int64_t, kMaxPlayers + 1> factorial{1};
  for (std::size_t i = 1; i <= kMaxPlayers; ++i) factorial[i] = factorial[i - 1] * static_cast<std::int64_t>(i);
  const auto ways = [&](int count) { return factorial[static_cast<std::size_t>(count)]; };

  Attribution out{.numerators = std::vector<std::int64_t>(static_cast<std::size_t>(n)), .denominator = ways(n)};
  for (std::size_t coalition = 0; coalition < values.size(); ++coalition) {
    const int size = std::popcount(coalition);
    for (std::size_t player = 0; player < out.numerators.size(); ++player) {
      const std::size_t with = coalition | std::size_t{1} << player;
      if (with == coalition) continue;
      // Orders in which exactly this coalition is there before the player comes in.
      out.numerators[player] += ways(size) * ways(n - size - 1) * (values[with] - values[coalition]);
    }
  }
  return out;
}

}  // namespace orrery::planner
