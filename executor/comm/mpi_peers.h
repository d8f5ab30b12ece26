// SPDX-License-Identifier: Apache-2.0
// The streams of one rank to the ranks of other processes over MPI, for networks that MPI knows better than TCP. MPI
// keeps messages of different tags apart, so each direction of a stream has one; a writer says hello on tag 0, with the
// name of the stream and the tag. Nothing here waits, and MPI wakes nobody: who waits looks again and again. That a
// peer has died, MPI may not know; the launchers of the job do. Private to `comm/`, but for `mpi_peers`.
#pragma once

#include "executor/comm/mpi_block.h"
#include "executor/comm/peers.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace orrery::executor {

class MpiPeers final : public Peers {
 public:
  /// Starts MPI, if nobody has; waits for the other ranks to do so. Throws: BackendError, as MpiWorld does.
  MpiPeers(int rank, int num_ranks);
  MpiPeers(const MpiPeers&) = delete;
  MpiPeers& operator=(const MpiPeers&) = delete;
  ~MpiPeers() override;

  /// Never: each process has one rank.
  int host_of(int rank) const override { return rank; }  // each has a segment of its own
  std::unique_ptr<ByteStream> open(std::string_view name, int peer, bool opens) override;
  Medium medium() const override { return Medium::polled; }
  void sleep(std::chrono::nanoseconds time) override;
  std::uint64_t num_moved() const override { return num_moved_; }
  /// Waits until all have taken what was sent to them, and, if it has started MPI, for all others to leave, too.
  void leave() override;

 private:
  friend class MpiStream;
  struct Hello {
    std::uint64_t name;
    std::int64_t tag;
  };

  /// Tells the peer under which tag the stream `name` comes from now on; returns the tag.
  int announce(std::uint64_t name, int peer);
  /// The tag that the peer has told, once; none if it has not yet.
  std::optional<int> take_tag(std::uint64_t name, int peer);
  /// Keeps the buffer of what is under way.
  void see_off(MpiBlock block);

  MpiWorld world_;
  std::vector<int> num_tags_;                           // by peer: how many this rank has told it
  std::vector<std::unique_ptr<MpiBlock>> next_hellos_;  // by peer, from the first look for one
  std::map<std::pair<int, std::uint64_t>, int> told_;   // by peer and name: tags that nobody here has asked for yet
  std::vector<MpiBlock> under_way_;                     // of hellos and of streams that are gone
  std::uint64_t num_moved_ = 0;
};

/// MpiPeers. Throws: BackendError, as they do; ConfigError, when this build has no MPI.
std::unique_ptr<Peers> mpi_peers(int rank, int num_ranks);

}  // namespace orrery::executor
