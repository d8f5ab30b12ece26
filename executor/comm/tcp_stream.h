// SPDX-License-Identifier: Apache-2.0
// A stream between two ranks over a connection of its own. Private to `comm/`: `TcpPeers` opens them.
#pragma once

#include "executor/comm/byte_stream.h"
#include "executor/comm/descriptor.h"

#include <array>
#include <compare>
#include <cstdint>

namespace orrery::executor {

class TcpPeers;

/// Which stream a connection is for.
struct StreamName {
  std::uint64_t hash = 0;  ///< of the name that both ends call it
  std::int32_t from = 0;   ///< the rank that connects
  std::int32_t to = 0;
  auto operator<=>(const StreamName&) const = default;
};

/// What the rank that connects says first.
struct StreamHello {
  std::uint64_t magic = 0;
  std::array<char, 64> token_hash{};
  StreamName name;
};

class TcpStream final : public ByteStream {
 public:
  /// Of the rank that connects; `socket` is on its way to the other.
  TcpStream(TcpPeers& peers, const StreamHello& hello, Descriptor socket);
  /// Of the rank that is connected to.
  TcpStream(TcpPeers& peers, const StreamName& name);
  TcpStream(const TcpStream&) = delete;
  TcpStream& operator=(const TcpStream&) = delete;
  ~TcpStream() override;

  Medium medium() const override { return Medium::signalled; }
  std::size_t write(std::span<const std::byte> bytes, bool more = false) override;
  std::size_t read(std::span<std::byte> bytes) override;
  bool closed() const override { return closed_; }

 private:
  friend class TcpPeers;
  /// Whether the connection is there, and the hello has been said.
  bool is_ready();

  TcpPeers& peers_;
  StreamHello hello_;
  bool connects_;
  std::size_t num_said_ = 0;  // bytes of the hello
  Descriptor socket_;
  bool closed_ = false;
  short waits_for_ = 0;  // events of poll for which the last calls had to wait
};

}  // namespace orrery::executor
