// SPDX-License-Identifier: Apache-2.0
// Ranks that are late, at random but repeatably: who reads shared memory too early, or relies on an order that nobody
// promises, has more than one interleaving to get away with. All tests with ranks as threads are late when
// ORRERY_DELAY_SEED names a seed, as the preset `tsan` does.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <thread>

namespace orrery::executor::testing {

/// The seed in the environment, if there is one.
inline std::optional<std::uint64_t> delay_seed() {
  const char* const text = std::getenv("ORRERY_DELAY_SEED");
  if (text == nullptr || *text == '\0') return std::nullopt;
  return std::stoull(text);
}

/// For Endpoint::before_waiting of one rank: one call in four gives its core away, one in 32 sleeps up to 200 us.
inline std::function<void()> delays_of(std::uint64_t seed, int rank) {
  return [random = std::mt19937_64(seed * 1'000'003 + static_cast<std::uint64_t>(rank))]() mutable {
    const std::uint64_t draw = random();
    if (draw % 32 == 0) std::this_thread::sleep_for(std::chrono::microseconds(1 + draw / 32 % 200));
    if (draw % 4 == 1) std::this_thread::yield();
  };
}

}  // namespace orrery::executor::testing
