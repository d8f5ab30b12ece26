// SPDX-License-Identifier: Apache-2.0
#include "executor/checkpoint/shard_writer.h"

#include "base/check.h"

#include <utility>

namespace orrery::executor {

ShardWriter::~ShardWriter() {
  if (thread_.joinable()) thread_.join();
}

void ShardWriter::start(const std::filesystem::path& checkpoint, std::int64_t rank, std::vector<PieceToWrite> pieces) {
  CHECK(!thread_.joinable(), checkpoint.string());
  finished_.store(false, std::memory_order_release);
  thread_ = std::thread([this, checkpoint, rank, owned = std::move(pieces)]() mutable {
    const auto begin = std::chrono::steady_clock::now();
    try {
      write_shard(checkpoint, rank, owned);
    } catch (...) {
      error_ = std::current_exception();
    }
    write_time_ = std::chrono::steady_clock::now() - begin;
    finished_.store(true, std::memory_order_release);
  });
}

void ShardWriter::wait() {
  if (thread_.joinable()) thread_.join();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace orrery::executor
