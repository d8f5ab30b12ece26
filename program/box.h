// SPDX-License-Identifier: Apache-2.0
// Rectangles of a whole weight: how a layout says which part of it a rank holds, and a checkpoint what lies where.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace orrery {

/// A rectangle of a whole weight.
struct Box {
  std::int64_t row = 0, rows = 0, col = 0, cols = 0;

  std::int64_t size() const { return rows * cols; }
  bool operator==(const Box&) const = default;
  auto operator<=>(const Box&) const = default;
};

/// What two boxes have in common; size() == 0 if nothing.
inline Box common(const Box& a, const Box& b) {
  const std::int64_t row = std::max(a.row, b.row), col = std::max(a.col, b.col);
  return {row, std::max<std::int64_t>(std::min(a.row + a.rows, b.row + b.rows) - row, 0), col,
          std::max<std::int64_t>(std::min(a.col + a.cols, b.col + b.cols) - col, 0)};
}

/// What of `box` none of `taken` covers, as boxes that do not overlap.
std::vector<Box> without(const Box& box, std::span<const Box> taken);

}  // namespace orrery
