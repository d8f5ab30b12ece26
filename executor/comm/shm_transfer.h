// SPDX-License-Identifier: Apache-2.0
// Messages on a ring: each is a header and its bytes. A ShmChannel is one rank's end of one directed edge, with the
// transfers posted on it, oldest first; only the oldest may move, which keeps messages in order. A message may be
// longer than the ring: it then moves in pieces, as the peer makes room. Private to `comm/`.
#pragma once

#include "executor/comm/communicator.h"
#include "executor/comm/shm_endpoint.h"
#include "executor/comm/shm_ring.h"
#include "executor/comm/shm_wait.h"

#include <array>
#include <cstdint>
#include <deque>
#include <string>

namespace orrery::executor {

class ShmTransfer;

class ShmChannel {
 public:
  enum class Direction { send, receive };

  /// `peer_in_group` is what reports call the peer, `peer` its rank in the segment.
  ShmChannel(ShmEndpoint& endpoint, ShmRing ring, Direction direction, int peer_in_group, int peer);
  ShmChannel(const ShmChannel&) = delete;
  ShmChannel& operator=(const ShmChannel&) = delete;
  ~ShmChannel();

  /// Moves what can be moved of the posted transfers.
  void progress();

 private:
  friend class ShmTransfer;
  ShmEndpoint& endpoint_;
  ShmRing ring_;
  Direction direction_;
  int peer_in_group_;
  int peer_;
  std::deque<ShmTransfer*> posted_;
};

class ShmTransfer final : public Transfer {
 public:
  /// For a send the bytes are only read. Requires: the channel outlives the transfer.
  ShmTransfer(ShmChannel& channel, std::span<std::byte> message, std::string_view key);
  ShmTransfer(const ShmTransfer&) = delete;
  ShmTransfer& operator=(const ShmTransfer&) = delete;
  ~ShmTransfer() override;

  bool test() override;
  CommReport wait() override;

 private:
  friend class ShmChannel;
  struct Header {
    std::int64_t bytes;
    Instant::rep posted;
  };

  /// Moves bytes of this message; true when it is through.
  bool advance();
  /// Moves as much of `piece` as possible, of which `begin` bytes of the message stand before it; true when it is
  /// through.
  bool move(std::span<std::byte> piece, std::size_t begin);
  WaitPlace place() const;

  ShmChannel& channel_;
  std::span<std::byte> message_;
  std::string key_;
  Header header_;
  std::size_t moved_ = 0;  // bytes of header and message
  bool done_ = false;
  CommReport report_;
};

}  // namespace orrery::executor
