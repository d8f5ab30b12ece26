// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/executor/comm/delays.h"

#include "tests/unit/executor/comm/every_backend.h"

#include <atomic>
#include <numeric>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

class Delays : public testing::OfEveryBackend {};
ORRERY_INSTANTIATE_BACKENDS(Delays);

/// What rank 0 has after collectives of many chunks and a ring of messages, with ranks that are late by `seed`.
std::vector<float> exchanged(testing::Backend backend, std::uint64_t seed, std::atomic<int>& num_waits) {
  std::vector<float> result;
  testing::run_ranks(backend, testing::small_segment(4), [&](Endpoint& endpoint) {
    endpoint.before_waiting([&num_waits, late = testing::delays_of(seed, endpoint.rank())] {
      ++num_waits;
      late();
    });
    const auto world = endpoint.world();
    std::vector<float> values(5000);
    std::iota(values.begin(), values.end(), 0.1F + static_cast<float>(endpoint.rank()));
    for (int round = 0; round < 5; ++round) {
      world->all_reduce(std::span<float>(values), "reduce");
      for (float& value : values) value *= 0.3F;
      std::vector<float> received(values.size());
      const auto sent = world->start_send(std::as_bytes(std::span(values)), (endpoint.rank() + 1) % 4, "send");
      world->receive(std::as_writable_bytes(std::span(received)), (endpoint.rank() + 3) % 4, "receive");
      sent->wait();
      values = received;
    }
    if (endpoint.rank() == 0) result = values;
  });
  return result;
}

TEST_P(Delays, NobodyWhoIsLateChangesABit) {
  std::atomic<int> num_waits = 0;
  const std::vector<float> expected = exchanged(GetParam(), 1, num_waits);
  constexpr int kCalls = 4 * 5 * 3;  // ranks, rounds, calls
  EXPECT_GT(num_waits, kCalls) << "ranks wait within a collective, too";
  for (std::uint64_t seed = 2; seed < 8; ++seed) EXPECT_EQ(exchanged(GetParam(), seed, num_waits), expected) << seed;
}

}  // namespace
}  // namespace orrery::executor
