// SPDX-License-Identifier: Apache-2.0
#include "planner/parallel.h"

#include "base/errors.h"

#include <atomic>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

TEST(ParallelFor, CallsEachIndexOnce) {
  std::vector<std::atomic<int>> calls(1000);
  parallel_for(1000, [&](std::int64_t i, int) { ++calls[static_cast<std::size_t>(i)]; });
  for (const std::atomic<int>& count : calls) EXPECT_EQ(count, 1);
}

TEST(ParallelFor, NeverRunsOneWorkerTwiceAtATime) {
  std::vector<std::atomic<int>> running(static_cast<std::size_t>(num_workers()));
  std::atomic<bool> overlapped = false;
  parallel_for(1000, [&](std::int64_t, int worker) {
    if (++running[static_cast<std::size_t>(worker)] > 1) overlapped = true;
    --running[static_cast<std::size_t>(worker)];
  });
  EXPECT_FALSE(overlapped);
}

TEST(ParallelFor, DoesNothingForNoWork) {
  parallel_for(0, [](std::int64_t, int) { FAIL(); });
}

TEST(ParallelFor, ThrowsWhatTheLowestIndexThrew) {
  const auto work = [](std::int64_t i, int) {
    if (i >= 3) throw ConfigError("index " + std::to_string(i));
  };
  for (int repeat = 0; repeat < 100; ++repeat) {
    try {
      parallel_for(50, work);
      FAIL() << "expected an exception";
    } catch (const ConfigError& error) {
      EXPECT_STREQ(error.what(), "index 3");
    }
  }
}

}  // namespace
}  // namespace orrery::planner
