// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/square_sum.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace orrery::executor {
namespace {

using Wide = unsigned __int128;

constexpr int kFractionBits = 90;
constexpr std::size_t kNumExponents = 256;
constexpr std::size_t kLargestExponent = 145;  // of |x| < 2^19: its square is below 2^38

/// What an exponent makes of x^2 2^90 = mantissa^2 * 2^shift, rounded, halves upwards: (mantissa^2 + half) >> right, a
/// number of 48 bits, then << left.
struct Scales {
  std::array<std::uint64_t, kNumExponents> half{};
  std::array<std::uint8_t, kNumExponents> right{}, left{};
};

constexpr Scales scales() {
  Scales all;
  for (std::size_t exponent = 0; exponent < kNumExponents; ++exponent) {
    // |x| = mantissa * 2^(max(exponent, 1) - 150)
    const int shift = 2 * (static_cast<int>(exponent == 0 ? 1 : exponent) - 150) + kFractionBits;
    // Squares have 48 bits, so beyond 60 nothing is left anyway.
    all.right[exponent] = static_cast<std::uint8_t>(std::clamp(-shift, 0, 60));
    all.left[exponent] = static_cast<std::uint8_t>(std::clamp(shift, 0, 127));
    if (shift < 0) all.half[exponent] = std::uint64_t{1} << (all.right[exponent] - 1);
  }
  return all;
}

constexpr Scales kScales = scales();

/// Sums by exponent, before they are shifted to the left.
class Buckets {
 public:
  static constexpr std::size_t kMostValues = std::size_t{1} << 16;  // of 48 bits in a sum of 64

  void add(std::span<const float> values) {
    std::size_t i = 0;
    for (; i + kLanes <= values.size(); i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) add(values[i + lane], sums_[lane]);
    }
    for (; i < values.size(); ++i) add(values[i], sums_[0]);
  }

  /// Calls f(sum, exponent) for each that is not zero.
  template <class F>
  void for_each(F&& f) const {
    for (const Sums& sums : sums_) {
      for (std::size_t exponent = 0; exponent < kNumExponents; ++exponent) {
        if (sums[exponent] != 0) f(sums[exponent], exponent);
      }
    }
  }

 private:
  using Sums = std::array<std::uint64_t, kNumExponents>;
  static constexpr std::size_t kLanes = 4;  // so that neighbours with the same exponent do not wait for each other

  static void add(float value, Sums& sums) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const std::size_t exponent = (bits >> 23) & 0xffU;
    const std::uint64_t mantissa = (bits & 0x7fffffU) | (exponent == 0 ? 0U : 0x800000U);
    // An infinity has no mantissa but the implicit bit, so it is not lost either.
    sums[exponent] += (mantissa * mantissa + kScales.half[exponent]) >> kScales.right[exponent];
  }

  std::array<Sums, kLanes> sums_{};
};

}  // namespace

void SquareSum::add(std::span<const float> values) {
  for (; !values.empty(); values = values.subspan(std::min(values.size(), Buckets::kMostValues))) {
    Buckets buckets;
    buckets.add(values.first(std::min(values.size(), Buckets::kMostValues)));
    buckets.for_each([this](std::uint64_t sum, std::size_t exponent) {
      const std::uint8_t left = kScales.left[exponent];
      const Wide term = Wide{sum} << left;
      const bool fits = exponent <= kLargestExponent && (term >> left) == sum;
      merge(from_words({static_cast<std::uint64_t>(term), static_cast<std::uint64_t>(term >> 64), fits ? 0U : 1U}));
    });
  }
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
