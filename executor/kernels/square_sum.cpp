// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/square_sum.h"

#include <bit>
#include <cmath>
#include <limits>

namespace orrery::executor {
namespace {

using Wide = unsigned __int128;

constexpr int kFractionBits = 90;
constexpr std::uint32_t kLargestExponent = 145;  // of |x| < 2^19: its square is below 2^38

/// round(x^2 * 2^90), halves upwards. Requires: |x| < 2^19.
Wide scaled_square(std::uint32_t exponent, std::uint32_t fraction) {
  const std::uint64_t mantissa = exponent == 0 ? fraction : fraction | 0x800000U;
  // |x| = mantissa * 2^(max(exponent, 1) - 150), so x^2 2^90 = mantissa^2 * 2^shift.
  const int shift = 2 * (static_cast<int>(exponent == 0 ? 1 : exponent) - 150) + kFractionBits;
  const Wide square = Wide{mantissa} * mantissa;
  if (shift >= 0) return square << shift;
  if (shift < -64) return 0;  // the square has 48 bits
  return (square + (Wide{1} << (-shift - 1))) >> -shift;
}

}  // namespace

void SquareSum::add(std::span<const float> values) {
  Wide sum = (Wide{high_} << 64) | low_;
  bool overflowed = overflowed_;
  for (const float value : values) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t exponent = (bits >> 23) & 0xffU;
    if (exponent > kLargestExponent) {
      overflowed = true;
      continue;
    }
    const Wide before = sum;
    sum += scaled_square(exponent, bits & 0x7fffffU);
    overflowed = overflowed || sum < before;
  }
  low_ = static_cast<std::uint64_t>(sum);
  high_ = static_cast<std::uint64_t>(sum >> 64);
  overflowed_ = overflowed;
}

void SquareSum::merge(const SquareSum& other) {
  const Wide mine = (Wide{high_} << 64) | low_;
  const Wide sum = mine + ((Wide{other.high_} << 64) | other.low_);
  low_ = static_cast<std::uint64_t>(sum);
  high_ = static_cast<std::uint64_t>(sum >> 64);
  overflowed_ = overflowed_ || other.overflowed_ || sum < mine;
}

double SquareSum::value() const {
  if (overflowed_) return std::numeric_limits<double>::infinity();
  return std::ldexp(static_cast<double>((Wide{high_} << 64) | low_), -kFractionBits);
}

SquareSum SquareSum::from_words(const std::array<std::uint64_t, 3>& words) {
  SquareSum sum;
  sum.low_ = words[0];
  sum.high_ = words[1];
  sum.overflowed_ = words[2] != 0;
  return sum;
}

}  // namespace orrery::executor
