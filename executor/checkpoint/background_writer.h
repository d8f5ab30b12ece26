// SPDX-License-Identifier: Apache-2.0
// Brings things to the disk while a rank trains on: a thread does it, on a copy that was made at the end of a step.
// One piece of work at a time.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <thread>

namespace orrery::executor {

class BackgroundWriter {
 public:
  BackgroundWriter() = default;
  BackgroundWriter(const BackgroundWriter&) = delete;
  BackgroundWriter& operator=(const BackgroundWriter&) = delete;
  ~BackgroundWriter();

  /// Requires: the last work was waited for; `work` uses nothing that its rank changes.
  void start(std::function<void()> work);
  /// Whether wait() would return, or throw, at once.
  bool finished() const { return finished_.load(std::memory_order_acquire); }
  /// Throws: what the work has thrown.
  void wait();

  /// Of the last work that was waited for.
  std::chrono::duration<double> time() const { return time_; }

 private:
  std::thread thread_;
  std::atomic<bool> finished_ = true;
  std::exception_ptr error_;
  std::chrono::duration<double> time_{};
};

}  // namespace orrery::executor
