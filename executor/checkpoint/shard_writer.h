// SPDX-License-Identifier: Apache-2.0
// Writes the shard of a rank while the rank trains on: the pieces are a copy, made at the end of a step, and a thread
// brings them to the disk. One save at a time.
#pragma once

#include "executor/checkpoint/checkpoint.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <thread>
#include <vector>

namespace orrery::executor {

class ShardWriter {
 public:
  ShardWriter() = default;
  ShardWriter(const ShardWriter&) = delete;
  ShardWriter& operator=(const ShardWriter&) = delete;
  ~ShardWriter();

  /// Requires: the last save was waited for.
  void start(const std::filesystem::path& checkpoint, std::int64_t rank, std::vector<PieceToWrite> pieces);
  /// Whether wait() would return, or throw, at once.
  bool finished() const { return finished_.load(std::memory_order_acquire); }
  /// Throws: BackendError, when the shard could not be written.
  void wait();

  /// Of the last save that was waited for.
  std::chrono::duration<double> write_time() const { return write_time_; }

 private:
  std::thread thread_;
  std::atomic<bool> finished_ = true;
  std::exception_ptr error_;
  std::chrono::duration<double> write_time_{};
};

}  // namespace orrery::executor
