// SPDX-License-Identifier: Apache-2.0
// One rank's seat in a shared segment. It hands out the rank's communicators and keeps its sends and receives moving
// while the rank waits for something else, in whichever group, so that a full ring never blocks a pipeline.
// There are no globals: ranks can be processes, or threads of one process.
#pragma once

#include "executor/comm/communicator.h"
#include "executor/comm/shm_segment.h"

#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace orrery::executor {

class ShmChannel;  // shm_transfer.h

class ShmEndpoint {
 public:
  /// Requires: 0 <= rank < segment->num_ranks(); one endpoint per rank, used by one thread.
  ShmEndpoint(std::shared_ptr<Segment> segment, int rank);
  ShmEndpoint(const ShmEndpoint&) = delete;
  ShmEndpoint& operator=(const ShmEndpoint&) = delete;
  ~ShmEndpoint();

  int rank() const { return rank_; }
  int size() const { return segment_->num_ranks(); }
  Segment& segment() const { return *segment_; }

  /// This rank's end of the group of `members` (ranks of the segment, in the order of the group, this one among them).
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
  /// waits, with time-out. `what`, `key` and `peer` (a rank of the segment) say what it mainly waits for.
  /// Throws: BackendError, when that peer is gone, does not come, or the run has been stopped.
  void wait_until(const std::function<bool()>& ready, std::string_view what, std::string_view key, int peer);

 private:
  friend class ShmChannel;
  std::shared_ptr<Segment> segment_;
  int rank_;
  std::vector<ShmChannel*> channels_;  // they enter and leave by themselves
};

}  // namespace orrery::executor
