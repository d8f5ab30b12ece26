// SPDX-License-Identifier: Apache-2.0
// Ranks as threads of the test: what the thread sanitizer can see, unlike ranks that are processes.
#pragma once

#include "executor/comm/shm_endpoint.h"

#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace orrery::executor::testing {

/// Runs `body` on each rank of a new segment and returns what each rank died of; empty for those that did not.
inline std::vector<std::string> errors_of_ranks(const SegmentOptions& options,
                                                const std::function<void(ShmEndpoint&)>& body) {
  const auto segment = Segment::create(options);
  std::vector<std::string> errors(static_cast<std::size_t>(options.num_ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < options.num_ranks; ++rank) {
    threads.emplace_back([&, rank] {
      ShmEndpoint endpoint(segment, rank);
      try {
        body(endpoint);
      } catch (const std::exception& error) {
        errors[static_cast<std::size_t>(rank)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

/// The same, when no rank may fail.
inline void run_ranks(const SegmentOptions& options, const std::function<void(ShmEndpoint&)>& body) {
  for (const std::string& error : errors_of_ranks(options, body)) {
    if (!error.empty()) throw std::runtime_error(error);
  }
}

/// Small chunks and rings, so that small messages already take several steps.
inline SegmentOptions small_segment(int num_ranks) {
  return {.num_ranks = num_ranks,
          .chunk_bytes = 4096,
          .ring_bytes = 4096,
          .total_bytes = std::int64_t{1} << 26,
          .time_out = std::chrono::seconds(60)};
}

}  // namespace orrery::executor::testing
