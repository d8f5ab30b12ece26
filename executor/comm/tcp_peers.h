// SPDX-License-Identifier: Apache-2.0
// The connections of one rank to ranks of other hosts: one for each stream that two ranks share, so that no stream can
// stand in the way of another. Who connects says which stream of which rank it wants and proves with the token of the
// job that it belongs to it; anybody else is sent away. Nothing here waits: a connection is made while its streams are
// used. Private to `comm/`.
#pragma once

#include "executor/comm/peers.h"
#include "executor/comm/tcp_socket.h"
#include "executor/comm/tcp_stream.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::executor {

/// What a rank needs to find the others.
struct TcpSeat {
  Descriptor listener;           ///< where others reach this rank; listening already when they learn of it
  std::vector<HostPort> places;  ///< by rank: where it listens, in numbers
  std::vector<int> hosts;        ///< by rank: ranks with the same number share a segment
  std::string token;             ///< of the job, the same for all; a secret
};

class TcpPeers final : public Peers {
 public:
  TcpPeers(TcpSeat seat, int rank);
  TcpPeers(const TcpPeers&) = delete;
  TcpPeers& operator=(const TcpPeers&) = delete;
  ~TcpPeers() override;

  int host_of(int rank) const override { return seat_.hosts[static_cast<std::size_t>(rank)]; }
  /// A connection; the rank that `opens` the stream connects.
  std::unique_ptr<ByteStream> open(std::string_view name, int peer, bool opens) override;
  Medium medium() const override { return Medium::signalled; }
  void sleep(std::chrono::nanoseconds time) override;
  std::uint64_t num_moved() const override { return num_moved_; }

 private:
  friend class TcpStream;
  /// The connection that the peer has made for a stream; none if it has not yet.
  std::optional<Descriptor> take_connection(const StreamName& name);
  void greet_newcomers();

  struct Newcomer {
    Descriptor socket;
    StreamHello hello;
    std::size_t num_read = 0;
  };

  TcpSeat seat_;
  int rank_;
  std::array<char, 64> token_hash_;
  std::vector<Newcomer> newcomers_;               // they have not said all of who they are
  std::map<StreamName, Descriptor> connections_;  // nobody here has asked for them yet
  std::vector<TcpStream*> streams_;               // they enter and leave by themselves
  bool awaits_connection_ = false;                // whether the last looks at streams missed one
  std::uint64_t num_moved_ = 0;
};

}  // namespace orrery::executor
