// SPDX-License-Identifier: Apache-2.0
// Random numbers without state: the value is a function of (seed, stream, index), so that a weight, a token or a
// load is the same however the work is split over ranks. Philox4x32-10, of Salmon, Moraes, Dror and Shaw, "Parallel
// random numbers: as easy as 1, 2, 3" (SC 2011); the tests use the known answers published with it.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace orrery {

/// The Philox4x32 bijection with 10 rounds: 128 random bits for a counter under a key.
constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// Random numbers of one stream: `CounterRng(seed, stream).uniform(index)`. Streams and indices are independent.
class CounterRng {
 public:
  constexpr CounterRng(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}

  /// 64 random bits.
  constexpr std::uint64_t bits(std::uint64_t index) const { return block(index)[0]; }

  /// Uniform in [0, 1), a multiple of 2^-53.
  constexpr double uniform(std::uint64_t index) const { return unit_interval(bits(index)); }

  /// Uniform in 0 .. n-1; biased by at most n / 2^64. Requires: n > 0.
  constexpr std::uint64_t below(std::uint64_t index, std::uint64_t n) const {
    return static_cast<std::uint64_t>((static_cast<__uint128_t>(bits(index)) * n) >> 64);
  }

  /// Standard normal, by the Box-Muller transform.
  double normal(std::uint64_t index) const {
    const std::array<std::uint64_t, 2> random = block(index);
    const double radius = std::sqrt(-2.0 * std::log(1.0 - unit_interval(random[0])));
    return radius * std::cos(2.0 * std::numbers::pi * unit_interval(random[1]));
  }

 private:
  static constexpr double unit_interval(std::uint64_t random) { return static_cast<double>(random >> 11) * 0x1.0p-53; }

  constexpr std::array<std::uint64_t, 2> block(std::uint64_t index) const {
    const std::array<std::uint32_t, 4> out =
        philox({low(index), high(index), low(stream_), high(stream_)}, {low(seed_), high(seed_)});
    return {std::uint64_t{out[1]} << 32 | out[0], std::uint64_t{out[3]} << 32 | out[2]};
  }
  static constexpr std::uint32_t low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
  static constexpr std::uint32_t high(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }

  std::uint64_t seed_;
  std::uint64_t stream_;
};

}  // namespace orrery
