// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

// An exponential that compilers can vectorise: branch-free, no table, no errno. Relative error below 2e-7.
// The polynomial and the split of ln 2 are those of expf in the Cephes library (Moshier, public domain).

namespace orrery::executor {

/// e^x. Arguments outside of -87 .. 88 are clamped, so the result is never zero, subnormal or infinite.
inline float vector_exp(float x) {
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer held in the low mantissa bits
  x = std::min(std::max(x, -87.0F), 88.0F);
  const float shifted = x * 1.44269504088896341F + kRound;
  const float power = shifted - kRound;
  const float rest = (x - power * 0.693359375F) + power * 2.12194440e-4F;
  float sum = 1.9875691500e-4F;
  sum = sum * rest + 1.3981999507e-3F;
  sum = sum * rest + 8.3334519073e-3F;
  sum = sum * rest + 4.1665795894e-2F;
  sum = sum * rest + 1.6666665459e-1F;
  sum = sum * rest + 5.0000001201e-1F;
  sum = sum * rest * rest + rest + 1.0F;
  const std::uint32_t exponent = std::bit_cast<std::uint32_t>(shifted) << 23;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(sum) + exponent);
}

}  // namespace orrery::executor
