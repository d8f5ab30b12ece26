// SPDX-License-Identifier: Apache-2.0
#include "base/parallel.h"

#include "base/errors.h"
#include "tests/unit/base/threads.h"

#include <atomic>
#include <barrier>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace orrery {
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

TEST(ParallelFor, HasAsManyWorkersAsTheEnvironmentSays) {
  for (const int wanted : {1, 2, 7}) {
    const testing::Threads threads(std::to_string(wanted));
    ASSERT_EQ(num_workers(), wanted);
    std::mutex mutex;
    std::set<std::thread::id> seen;
    std::barrier all(wanted);  // passed only if as many run at the same time
    parallel_for(wanted, [&](std::int64_t, int worker) {
      EXPECT_LT(worker, wanted);
      all.arrive_and_wait();
      const std::lock_guard lock(mutex);
      seen.insert(std::this_thread::get_id());
    });
    EXPECT_EQ(seen.size(), wanted);
  }
}

TEST(ParallelFor, RefusesWhatIsNoNumberOfThreads) {
  for (const char* wrong : {"0", "-1", "two", "2x", "100000"}) {
    const testing::Threads threads(wrong);
    EXPECT_THROW(num_workers(), ConfigError) << wrong;
  }
}

}  // namespace
}  // namespace orrery
