// SPDX-License-Identifier: Apache-2.0
// As much of MPI as the streams need: a world of ranks, and blocks of bytes that go to one of them or come from it
// while nobody waits. The source file is the only one that sees mpi.h. Private to `comm/`: `MpiPeers` and its streams.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace orrery::executor {

/// The first `num_ranks` processes of MPI's world, with their messages apart from those of all other such worlds.
class MpiWorld {
 public:
  /// Starts MPI unless this process has, and waits for the others; all make it at the same time.
  /// Throws: BackendError, when MPI does not know this process as `rank` of at least `num_ranks`.
  MpiWorld(int rank, int num_ranks);
  MpiWorld(const MpiWorld&) = delete;
  MpiWorld& operator=(const MpiWorld&) = delete;
  ~MpiWorld();

  /// Ends MPI if this world has started it, and waits for the others. Requires: no block is under way.
  void finish();

 private:
  friend class MpiBlock;
  struct State;
  std::unique_ptr<State> state_;
};

/// A buffer, and the message that is on its way from it or into it.
class MpiBlock {
 public:
  MpiBlock(const MpiWorld& world, std::size_t num_bytes);
  MpiBlock(MpiBlock&&) noexcept;
  MpiBlock& operator=(MpiBlock&&) noexcept;
  /// MPI may go on reading a buffer whose message nobody takes, so that one is never freed: its run has failed, and the
  /// process is about to end.
  ~MpiBlock();

  std::span<std::byte> room();

  /// Sends the first `num_bytes` of the room. Messages of one tag arrive in their order. Requires: not under way.
  void send(std::size_t num_bytes, int peer, int tag);
  /// Receives the next message of this tag, which the room has to hold. Requires: not under way.
  void receive(int peer, int tag);

  /// Looks how it goes: whether the room is still MPI's.
  bool is_under_way();
  /// How long the message was that has come.
  std::size_t num_received() const;
  /// Whether MPI has given the message up: its error is of no use, but that the peer is lost.
  bool has_failed() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace orrery::executor
