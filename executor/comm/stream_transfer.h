// SPDX-License-Identifier: Apache-2.0
// Messages on a stream: each is a header and its bytes. A Channel is one rank's end of one directed edge, with the
// transfers posted on it, oldest first; only the oldest may move, which keeps messages in order. A message may be
// longer than the stream has room for: it then moves in pieces, as the peer makes room. Private to `comm/`.
#pragma once

#include "executor/comm/byte_stream.h"
#include "executor/comm/communicator.h"
#include "executor/comm/wait.h"

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

namespace orrery::executor {

class Endpoint;
class StreamTransfer;

class Channel {
 public:
  enum class Direction { send, receive };

  /// `peer_in_group` is what reports call the peer, `peer` its rank in the run.
  Channel(Endpoint& endpoint, std::unique_ptr<ByteStream> stream, Direction direction, int peer_in_group, int peer);
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  ~Channel();

  /// Moves what can be moved of the posted transfers.
  void progress();

  /// Whether something is posted whose news comes by `medium`.
  bool waits_for(Medium medium) const { return !posted_.empty() && stream_->medium() == medium; }

 private:
  friend class StreamTransfer;
  Endpoint& endpoint_;
  std::unique_ptr<ByteStream> stream_;
  Direction direction_;
  int peer_in_group_;
  int peer_;
  std::deque<StreamTransfer*> posted_;
};

class StreamTransfer final : public Transfer {
 public:
  /// For a send the bytes are only read. Requires: the channel outlives the transfer.
  StreamTransfer(Channel& channel, std::span<std::byte> message, std::string_view key);
  StreamTransfer(const StreamTransfer&) = delete;
  StreamTransfer& operator=(const StreamTransfer&) = delete;
  ~StreamTransfer() override;

  bool test() override;
  CommReport wait() override;

 private:
  friend class Channel;
  struct Header {
    std::int64_t bytes;
    Instant::rep posted;
  };

  /// Moves bytes of this message; true when it is through.
  bool advance();
  /// Moves as much of `piece` as possible, of which `begin` bytes of the message stand before it; true when it is
  /// through. `more`: another piece follows at once.
  bool move(std::span<std::byte> piece, std::size_t begin, bool more = false);
  /// Whether it is through. Throws: BackendError, when it never will be.
  bool look();
  WaitPlace place() const;

  Channel& channel_;
  std::span<std::byte> message_;
  std::string key_;
  Header header_;
  std::size_t moved_ = 0;  // bytes of header and message
  bool done_ = false;
  CommReport report_;
};

}  // namespace orrery::executor
