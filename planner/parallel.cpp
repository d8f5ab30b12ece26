// SPDX-License-Identifier: Apache-2.0
#include "planner/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace orrery::planner {

int num_workers() { return static_cast<int>(std::max(1u, std::thread::hardware_concurrency())); }

void parallel_for(std::int64_t n, const std::function<void(std::int64_t, int)>& work) {
  std::atomic<std::int64_t> next = 0;
  std::mutex mutex;
  std::int64_t failed = n;
  std::exception_ptr failure;
  const auto run = [&](int worker) {
    for (std::int64_t i = next++; i < n; i = next++) {
      try {
        work(i, worker);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (i < failed) {
          failed = i;
          failure = std::current_exception();
        }
        next = n;  // indices below i were handed out already, so the lowest failure is still found
      }
    }
  };
  std::vector<std::thread> others;
  for (int worker = 1; worker < num_workers() && worker < n; ++worker) others.emplace_back(run, worker);
  run(0);
  for (std::thread& thread : others) thread.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace orrery::planner
