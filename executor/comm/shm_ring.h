// SPDX-License-Identifier: Apache-2.0
// A stream of bytes from one rank to another through a ring in shared memory: one writer, one reader, two counters.
// It knows no messages; shm_transfer.h frames them. Private to `comm/`.
#pragma once

#include "executor/comm/shm_layout.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace orrery::executor {

struct RingCounters {
  alignas(kLineBytes) std::atomic<std::uint64_t> written;
  alignas(kLineBytes) std::atomic<std::uint64_t> read;
};

class ShmRing {
 public:
  /// Requires: `memory` holds the counters and at least one byte, and was zero before its first use.
  explicit ShmRing(std::span<std::byte> memory);

  static std::int64_t memory_bytes(std::int64_t capacity) {
    return static_cast<std::int64_t>(sizeof(RingCounters)) + capacity;
  }

  /// Moves as many bytes as there is room for, or as there are; returns how many. Only of the writer, or the reader.
  std::size_t write(std::span<const std::byte> bytes);
  std::size_t read(std::span<std::byte> bytes);

 private:
  RingCounters* counters_;
  std::span<std::byte> room_;
};

}  // namespace orrery::executor
