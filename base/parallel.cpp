// SPDX-License-Identifier: Apache-2.0
#include "base/parallel.h"

#include "base/errors.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr int kMostWorkers = 1024;

}  // namespace

int num_workers() {
  const char* wanted = std::getenv("ORRERY_THREADS");
  if (wanted == nullptr || *wanted == '\0') {
    return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  }
  const std::string_view text = wanted;
  int count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || count < 1 || count > kMostWorkers) {
    throw ConfigError(
        fmt::format("ORRERY_THREADS: expected a number of threads from 1 to {}, got \"{}\"", kMostWorkers, text));
  }
  return count;
}

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
  const int workers = num_workers();
  std::vector<std::thread> others;
  for (int worker = 1; worker < workers && worker < n; ++worker) others.emplace_back(run, worker);
  run(0);
  for (std::thread& thread : others) thread.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace orrery
