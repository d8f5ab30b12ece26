// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace orrery::planner {

/// The divisors of `n` up to `at_most`, ascending. Requires: n >= 1.
inline std::vector<std::int64_t> divisors(std::int64_t n, std::int64_t at_most) {
  std::vector<std::int64_t> all;
  for (std::int64_t d = 1; d <= std::min(n, at_most); ++d) {
    if (n % d == 0) all.push_back(d);
  }
  return all;
}

}  // namespace orrery::planner
