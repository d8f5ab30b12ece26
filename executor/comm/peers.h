// SPDX-License-Identifier: Apache-2.0
// The ranks of other processes of a job as one rank reaches them, each stream apart from all others: over TCP
// (tcp_peers.h) or MPI (mpi_peers.h). Private to `comm/`, but for those who make one.
#pragma once

#include "executor/comm/byte_stream.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

namespace orrery::executor {

class Peers {
 public:
  virtual ~Peers() = default;

  /// A number of the host of a rank: ranks with the same one share a segment, and need no streams.
  virtual int host_of(int rank) const = 0;

  /// One end of a stream that both ranks call `name`, and no other two streams of theirs. Does not wait. Exactly one of
  /// them says `opens`. Requires: the stream goes before the peers.
  virtual std::unique_ptr<ByteStream> open(std::string_view name, int peer, bool opens) = 0;

  /// Of all its streams.
  virtual Medium medium() const = 0;

  /// Sleeps until a stream that had to wait can go on, if that is signalled, but not longer than `time`.
  virtual void sleep(std::chrono::nanoseconds time) = 0;

  /// Bytes that have moved until now.
  virtual std::uint64_t num_moved() const = 0;

  /// The last call of a rank that is through with a run that has not failed, when its streams are gone: what was handed
  /// over still arrives.
  virtual void leave() {}
};

/// Makes the peers of `rank`, of `num_ranks`.
using MakePeers = std::function<std::unique_ptr<Peers>(int rank, int num_ranks)>;

}  // namespace orrery::executor
