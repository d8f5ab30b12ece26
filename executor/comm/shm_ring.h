// SPDX-License-Identifier: Apache-2.0
// A stream of bytes from one rank to another through a ring in shared memory: one writer, one reader, two counters.
// Private to `comm/`.
#pragma once

#include "executor/comm/byte_stream.h"
#include "executor/comm/shm_layout.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace orrery::executor {

struct RingCounters {
  alignas(kLineBytes) std::atomic<std::uint64_t> written;
  alignas(kLineBytes) std::atomic<std::uint64_t> read;
};

class ShmRing final : public ByteStream {
 public:
  /// Requires: `memory` holds the counters and at least one byte, and was zero before its first use.
  explicit ShmRing(std::span<std::byte> memory);

  /// The ring that both of its ranks call `name`, as large as the segment says.
  static std::unique_ptr<ShmRing> in(Segment& segment, std::string_view name);

  static std::int64_t memory_bytes(std::int64_t capacity) {
    return static_cast<std::int64_t>(sizeof(RingCounters)) + capacity;
  }

  Medium medium() const override { return Medium::polled; }
  bool is_memory() const override { return true; }
  std::size_t write(std::span<const std::byte> bytes, bool more = false) override;
  std::size_t read(std::span<std::byte> bytes) override;

 private:
  RingCounters* counters_;
  std::span<std::byte> room_;
};

}  // namespace orrery::executor
