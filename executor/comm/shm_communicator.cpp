// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/shm_communicator.h"

#include "base/check.h"
#include "executor/comm/endpoint.h"
#include "executor/comm/shm_pieces.h"
#include "executor/comm/shm_ring.h"

#include <algorithm>

namespace orrery::executor {
ShmCommunicator::ShmCommunicator(Endpoint& endpoint, std::string_view id, std::span<const int> members)
    : GroupMember(endpoint, id, members), memory_(endpoint.segment(), id, size()) {}

void ShmCommunicator::begin(CollectiveKind kind, std::int64_t bytes, std::string_view key, std::int64_t num_steps) {
  endpoint().set_key(key);
  kind_ = kind;
  key_ = key;
  next_step();
  memory_.post(rank(), half_) = {kind, bytes, num_steps, now().time_since_epoch().count()};
}

void ShmCommunicator::meet() {
  ++num_meetings_;
  memory_.num_meetings(rank()).store(num_meetings_, std::memory_order_release);
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    const std::atomic<std::uint64_t>& theirs = memory_.num_meetings(peer);
    endpoint().wait({endpoint().rank(), name_of(kind_), key_, run_rank(peer)}, Medium::polled,
                    [&] { return theirs.load(std::memory_order_acquire) >= num_meetings_; });
  }
}

CommReport ShmCommunicator::read_posts(std::int64_t bytes_sent) {
  const Post& mine = memory_.post(rank(), half_);
  CommReport report = {.bytes_sent = bytes_sent, .own_arrival = Instant(Instant::duration(mine.arrival))};
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    take_post(report, post_place(key_), mine, peer, memory_.post(peer, half_));
  }
  return report;
}

std::int64_t ShmCommunicator::most_steps() const {
  std::int64_t most = 1;
  for (int member = 0; member < size(); ++member) most = std::max(most, memory_.post(member, half_).amount);
  return most;
}

void ShmCommunicator::check_counts(const Blocks& receives) const {
  for (int peer = 0; peer < size(); ++peer) {
    const std::int64_t sent = memory_.counts(peer, half_)[static_cast<std::size_t>(rank())];
    check_received(post_place(key_), peer, sent, receives.counts[static_cast<std::size_t>(peer)]);
  }
}

CommReport ShmCommunicator::barrier(std::string_view key) {
  begin(CollectiveKind::barrier, 0, key);
  meet();
  return read_posts(0);
}

CommReport ShmCommunicator::broadcast(std::span<std::byte> values, int root, std::string_view key) {
  CHECK(0 <= root && root < size(), root, size(), key);
  const std::int64_t num_steps = steps_for(ssize_of(values), memory_.slot_bytes());
  CommReport report;
  for (std::int64_t step = 0; step < num_steps; ++step) {
    step == 0 ? begin(CollectiveKind::broadcast, ssize_of(values), key) : next_step();
    const Piece piece = piece_of({0, ssize_of(values)}, step, memory_.slot_bytes());
    if (rank() == root) copy_bytes(slot(root), values.data() + piece.offset, piece.bytes);
    meet();
    if (step == 0) report = read_posts(rank() == root ? (size() - 1) * ssize_of(values) : 0);
    if (rank() != root) copy_bytes(values.data() + piece.offset, slot(root), piece.bytes);
  }
  return report;
}

CommReport ShmCommunicator::all_gather(std::span<const std::byte> input, std::span<std::byte> output,
                                       std::string_view key) {
  const std::int64_t block = ssize_of(input);
  CHECK(ssize_of(output) == block * size(), key, block, size(), output.size());
  const std::int64_t num_steps = steps_for(block, memory_.slot_bytes());
  CommReport report;
  copy_bytes(output.data() + rank() * block, input.data(), block);
  for (std::int64_t step = 0; step < num_steps; ++step) {
    step == 0 ? begin(CollectiveKind::all_gather, block, key) : next_step();
    const Piece piece = piece_of({0, block}, step, memory_.slot_bytes());
    copy_bytes(slot(rank()), input.data() + piece.offset, piece.bytes);
    meet();
    if (step == 0) report = read_posts((size() - 1) * block);
    for (int peer = 0; peer < size(); ++peer) {
      if (peer != rank()) copy_bytes(output.data() + peer * block + piece.offset, slot(peer), piece.bytes);
    }
  }
  return report;
}

CommReport ShmCommunicator::all_to_all_v(std::span<const std::byte> input, const Blocks& sends,
                                         std::span<std::byte> output, const Blocks& receives, std::string_view key) {
  check_inside(sends, size(), ssize_of(input), key);
  check_inside(receives, size(), ssize_of(output), key);
  // One lane of the slot for each peer.
  const std::int64_t lane = lane_bytes(memory_.slot_bytes(), size() - 1);
  const auto lane_of = [&](int from, int to) { return slot(from) + (to < from ? to : to - 1) * lane; };

  std::int64_t bytes_sent = 0;
  std::int64_t num_steps = 1;
  for (std::size_t peer = 0; peer < static_cast<std::size_t>(size()); ++peer) {
    if (static_cast<int>(peer) == rank()) continue;
    bytes_sent += sends.counts[peer];
    num_steps = std::max(num_steps, steps_for(sends.counts[peer], lane));
  }
  CommReport report;
  for (std::int64_t step = 0; step < num_steps; ++step) {
    if (step == 0) {
      begin(CollectiveKind::all_to_all_v, 0, key, num_steps);
      std::ranges::copy(sends.counts, memory_.counts(rank(), half_).begin());
    } else {
      next_step();
    }
    for (int peer = 0; peer < size(); ++peer) {
      const auto p = static_cast<std::size_t>(peer);
      if (peer == rank()) continue;
      const Piece piece = piece_of({sends.offsets[p], sends.counts[p]}, step, lane);
      copy_bytes(lane_of(rank(), peer), input.data() + piece.offset, piece.bytes);
    }
    meet();
    if (step == 0) {
      report = read_posts(bytes_sent);
      num_steps = most_steps();
      check_counts(receives);
      const auto own = static_cast<std::size_t>(rank());
      copy_bytes(output.data() + receives.offsets[own], input.data() + sends.offsets[own], sends.counts[own]);
    }
    for (int peer = 0; peer < size(); ++peer) {
      const auto p = static_cast<std::size_t>(peer);
      if (peer == rank()) continue;
      const Piece piece = piece_of({receives.offsets[p], receives.counts[p]}, step, lane);
      copy_bytes(output.data() + piece.offset, lane_of(peer, rank()), piece.bytes);
    }
  }
  return report;
}

std::unique_ptr<ByteStream> ShmCommunicator::open_stream(const std::string& name, Channel::Direction, int) {
  return ShmRing::in(endpoint().segment(), name);
}

}  // namespace orrery::executor
