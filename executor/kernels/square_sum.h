// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>

// The square of the gradient norm, independent of how gradients are cut over ranks. Floating-point sums depend on
// their order; here each square (exact in f64) is rounded to a multiple of 2^-90 and added as a 128-bit integer, and
// integers do not mind the order. The sum may reach 2^38; more, an infinity or a NaN is reported as overflow.

namespace orrery::executor {

class SquareSum {
 public:
  void add(std::span<const float> values);
  void merge(const SquareSum& other);

  bool overflowed() const { return overflowed_; }
  /// The sum, rounded to f64; infinity after an overflow.
  double value() const;

  /// For a message to other ranks: low and high half of the sum, and 1 after an overflow.
  std::array<std::uint64_t, 3> words() const { return {low_, high_, overflowed_ ? 1U : 0U}; }
  static SquareSum from_words(const std::array<std::uint64_t, 3>& words);

 private:
  std::uint64_t low_ = 0;
  std::uint64_t high_ = 0;
  bool overflowed_ = false;
};

}  // namespace orrery::executor
