// SPDX-License-Identifier: Apache-2.0
// One rank's seat in a run. It hands out the rank's communicators, through shared memory where all members of a group
// are on this host, over streams to its peers (TCP or MPI) where each has its own, and composed of both in between; and
// it keeps its sends and receives moving while the rank waits for something else, in whichever group, so that a full
// ring or socket never blocks a pipeline. There are no globals: ranks can be processes, or threads of one process.
#pragma once

#include "executor/comm/byte_stream.h"
#include "executor/comm/communicator.h"
#include "executor/comm/shm_segment.h"
#include "executor/comm/wait.h"

#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orrery::executor {

class Channel;  // stream_transfer.h
class Peers;    // peers.h
struct Island;  // islands.h

class Endpoint {
 public:
  /// All ranks of the run are on this host.
  /// Requires: 0 <= rank < segment->num_ranks(); one endpoint per rank, used by one thread.
  Endpoint(std::shared_ptr<Segment> segment, int rank);
  /// Some are in other processes of a job, which `peers` reach; the segment is that of this process, with the number of
  /// all ranks.
  Endpoint(std::shared_ptr<Segment> segment, int rank, std::unique_ptr<Peers> peers);
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;
  ~Endpoint();

  int rank() const { return rank_; }
  int size() const { return segment_->num_ranks(); }
  Segment& segment() const { return *segment_; }

  /// This rank's end of the group of `members` (ranks of the run, in the order of the group, this one among them).
  /// Does not wait. The endpoint must outlive the communicator.
  /// Requires: all members ask with the same id and the same list; an id is used for one group only, and asked for
  /// once.
  std::unique_ptr<Communicator> group(std::string_view id, std::span<const int> members);

  /// The group of all ranks, in order.
  std::unique_ptr<Communicator> world();

  /// Says what the rank does from now on (an op's key); communication calls do so themselves.
  void set_key(std::string_view key) { segment_->set_key(rank_, key); }

  /// Moves what can be moved now of all pending sends and receives.
  void progress();

  /// For a rank that polls several transfers and has nothing else to do: waits until `ready()` as a communication call
  /// waits, with time-out. `what`, `key` and `peer` (a rank of the run) say what it mainly waits for.
  /// Throws: BackendError, when that peer is gone, does not come, or the run has been stopped.
  void wait_until(const std::function<bool()>& ready, std::string_view what, std::string_view key, int peer);

  /// Called before each wait of this rank; a test lets it be late there.
  void before_waiting(std::function<void()> hold) { before_waiting_ = std::move(hold); }

  /// Requires: some ranks are elsewhere. Private to `comm/`.
  Peers& peers() { return *peers_; }

  /// Waits until `ready()`, whose news comes by `medium`; in between, keeps other work of the rank moving. Private to
  /// `comm/`.
  template <class Ready>
  void wait(const WaitPlace& place, Medium medium, Ready&& ready) {
    if (before_waiting_) before_waiting_();
    // Longer spinning is fatal when there are more ranks than cores, and each look at sockets asks the system.
    const int num_spins = medium == Medium::polled ? 200 : 10;
    for (int spin = 0; spin < num_spins; ++spin) {
      if (ready()) return;
      spin_pause();
    }
    Patience patience(*segment_, place);
    std::uint64_t moved = num_moved();
    while (!ready()) {
      progress();
      if (num_moved() != moved) {
        patience.renew();
        segment_->count_move(rank_);
      }
      moved = num_moved();
      rest(patience.look(), medium);
    }
  }

 private:
  friend class Channel;
  std::unique_ptr<Communicator> islands_group(std::string_view id, std::span<const int> members,
                                              std::vector<Island> islands);
  void rest(Patience::Rest rest, Medium medium);
  /// Bytes that went over the network until now: a long message may take longer than a time-out.
  std::uint64_t num_moved() const;

  std::shared_ptr<Segment> segment_;
  int rank_;
  std::set<std::string, std::less<>> ids_;
  std::unique_ptr<Peers> peers_;    // null where all ranks are on this host
  std::vector<Channel*> channels_;  // they enter and leave by themselves
  std::function<void()> before_waiting_;
};

}  // namespace orrery::executor
