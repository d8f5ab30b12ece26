// SPDX-License-Identifier: Apache-2.0
// The memory that the ranks of one run on one host share: who they are, what they do just now, why the run was stopped,
// and the room in which their groups talk. Of ranks on other hosts it says what their host has told this one. It is an
// anonymous file (memfd): it has no name, so nothing is left behind when ranks die, and it reaches another process only
// as an inherited descriptor. It is sparse: a page costs memory once it is touched. One Segment is one mapping, which
// ranks that are threads of one process share.
#pragma once

#include "executor/comm/clock.h"
#include "executor/comm/descriptor.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace orrery::executor {

struct SegmentHeader;  // shm_layout.h
struct RankState;

/// What is fixed when a segment is made, and the same for all ranks.
struct SegmentOptions {
  int num_ranks = 1;
  /// A collective moves at most this much per rank and step.
  std::int64_t chunk_bytes = std::int64_t{1} << 20;
  /// Room of each directed edge between two ranks: what a sender can hand over before the receiver takes any of it. A
  /// message takes 16 bytes more than its length.
  std::int64_t ring_bytes = std::int64_t{64} << 20;
  /// Address space, of which only what is used is backed by memory.
  std::int64_t total_bytes = std::int64_t{64} << 30;
  /// How long a rank may be waited for.
  std::chrono::nanoseconds time_out = std::chrono::seconds(120);
  /// What the clock of the run shows more than the clock of this host.
  std::chrono::nanoseconds clock_offset{};
};

/// Why a run was stopped: the first failure, and no later one.
struct SegmentFailure {
  int rank = -1;
  std::string key;  ///< what the rank did at that time
  std::string text;
  int missing = -1;  ///< the rank that is gone or does not answer, if that is why; -1: `rank` itself said why
};

class Segment {
 public:
  /// Throws: BackendError, when the system gives no memory.
  static std::shared_ptr<Segment> create(const SegmentOptions& options);

  /// Maps the segment that `descriptor` stands for; the descriptor stays with the caller.
  /// Throws: BackendError, when it is no segment of this version.
  static std::shared_ptr<Segment> open(int descriptor);

  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  ~Segment();

  /// For a child that is about to be started; closed by exec unless it is passed on. Only of a created segment.
  int descriptor() const { return descriptor_.number(); }

  int num_ranks() const;
  const SegmentOptions& options() const;

  /// Instants travel between hosts as readings of the clock of the run.
  Instant::rep on_common_clock(Instant own) const { return (own + options().clock_offset).time_since_epoch().count(); }
  Instant on_own_clock(Instant::rep common) const {
    return Instant(Instant::duration(common)) - options().clock_offset;
  }

  /// Says what `rank` does from now on; for messages when it dies or is waited for in vain.
  void set_key(int rank, std::string_view key);
  std::string key(int rank) const;

  /// Counts that something long moves on within the op of `rank`, so that it is not taken for stuck.
  void count_move(int rank);
  std::uint32_t num_moves(int rank) const;

  /// Says that `rank` lives in this process, or that it has ended in good order.
  void set_running(int rank);
  void set_finished(int rank);

  /// Whether `rank` has come and gone, in whatever way. Asks the system: not for inner loops.
  bool gone(int rank) const;

  /// Stops the run: every wait of every rank ends soon. Only the first call counts; returns whether this was it.
  /// `missing`: see SegmentFailure.
  bool fail(int rank, std::string_view text, int missing = -1);
  std::optional<SegmentFailure> failure() const;

  /// Memory, zero at first, that all who ask with this name share; whoever asks first fixes its size.
  /// Throws: BackendError, when the segment is full. Requires: the same size with the same name.
  std::span<std::byte> region(std::string_view name, std::int64_t bytes);

 private:
  Segment(Descriptor descriptor, std::byte* base, std::size_t bytes);
  SegmentHeader& header() const;
  RankState& state(int rank) const;

  Descriptor descriptor_;
  std::byte* base_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace orrery::executor
