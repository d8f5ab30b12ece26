// SPDX-License-Identifier: Apache-2.0
#include "executor/checkpoint/background_writer.h"

#include "base/check.h"

#include <utility>

namespace orrery::executor {

BackgroundWriter::~BackgroundWriter() {
  if (thread_.joinable()) thread_.join();
}

void BackgroundWriter::start(std::function<void()> work) {
  CHECK(!thread_.joinable());
  finished_.store(false, std::memory_order_release);
  thread_ = std::thread([this, owned = std::move(work)] {
    const auto begin = std::chrono::steady_clock::now();
    try {
      owned();
    } catch (...) {
      error_ = std::current_exception();
    }
    time_ = std::chrono::steady_clock::now() - begin;
    finished_.store(true, std::memory_order_release);
  });
}

void BackgroundWriter::wait() {
  if (thread_.joinable()) thread_.join();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace orrery::executor
