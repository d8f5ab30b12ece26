// SPDX-License-Identifier: Apache-2.0
// Bytes from one rank to another, in order, without waiting: a ring in shared memory, a socket, or blocks over MPI. It
// knows no messages; stream_transfer.h frames them. Private to `comm/`.
#pragma once

#include <cstddef>
#include <span>

namespace orrery::executor {

/// How a rank learns that bytes can move, which decides how it can sleep until then: nobody tells it, so it has to look
/// again and again (memory, MPI), or the system wakes it (sockets).
enum class Medium { polled, signalled };

class ByteStream {
 public:
  virtual ~ByteStream() = default;

  virtual Medium medium() const = 0;

  /// Whether its bytes stay in the memory of this host.
  virtual bool is_memory() const { return false; }

  /// Moves as many bytes as there is room for, or as there are; returns how many. Only of the writer, or the reader.
  /// `more`: more bytes follow at once, so that small pieces can travel together.
  virtual std::size_t write(std::span<const std::byte> bytes, bool more = false) = 0;
  virtual std::size_t read(std::span<std::byte> bytes) = 0;

  /// Whether nothing will move any more, because the other side has gone. Memory and MPI do not know.
  virtual bool closed() const { return false; }
};

}  // namespace orrery::executor
