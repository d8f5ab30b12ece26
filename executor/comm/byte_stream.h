// SPDX-License-Identifier: Apache-2.0
// Bytes from one rank to another, in order, without waiting: a ring in shared memory or a socket. It knows no messages;
// stream_transfer.h frames them. Private to `comm/`.
#pragma once

#include <cstddef>
#include <span>

namespace orrery::executor {

/// What carries bytes, which decides how a rank can sleep until there are more.
enum class Medium { memory, network };

class ByteStream {
 public:
  virtual ~ByteStream() = default;

  virtual Medium medium() const = 0;

  /// Moves as many bytes as there is room for, or as there are; returns how many. Only of the writer, or the reader.
  virtual std::size_t write(std::span<const std::byte> bytes) = 0;
  virtual std::size_t read(std::span<std::byte> bytes) = 0;

  /// Whether nothing will move any more, because the other side has gone. Memory does not know.
  virtual bool closed() const { return false; }
};

}  // namespace orrery::executor
