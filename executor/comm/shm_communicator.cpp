// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/shm_communicator.h"

#include "base/check.h"
#include "executor/comm/shm_pieces.h"
#include "executor/comm/shm_wait.h"

#include <algorithm>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

void check_inside(const Blocks& blocks, int num_ranks, std::int64_t buffer_bytes, std::string_view key) {
  const auto n = static_cast<std::size_t>(num_ranks);
  CHECK(blocks.counts.size() == n && blocks.offsets.size() == n, key, blocks.counts.size(), blocks.offsets.size(), n);
  for (std::size_t i = 0; i < n; ++i)
    CHECK(blocks.counts[i] >= 0 && blocks.offsets[i] >= 0 && blocks.offsets[i] + blocks.counts[i] <= buffer_bytes, key,
          i, blocks.offsets[i], blocks.counts[i], buffer_bytes);
}

}  // namespace

ShmCommunicator::ShmCommunicator(ShmEndpoint& endpoint, std::string_view id, std::span<const int> members)
    : endpoint_(endpoint),
      id_(id),
      members_(members.begin(), members.end()),
      rank_(static_cast<int>(std::ranges::find(members_, endpoint.rank()) - members_.begin())),
      memory_(endpoint.segment(), id, size()) {
  CHECK(members_.size() >= 2 && rank_ < size(), id, members_.size(), endpoint.rank());
  CHECK(memory_.join(rank_), id, rank_);  // else two communicators would count the same meetings
  for (auto& channels : channels_) channels.resize(members_.size());
}

void ShmCommunicator::begin(CollectiveKind kind, std::int64_t bytes, std::string_view key, std::int64_t num_steps) {
  endpoint_.set_key(key);
  kind_ = kind;
  key_ = key;
  next_step();
  memory_.post(rank_, half_) = {kind, bytes, num_steps, now().time_since_epoch().count()};
}

void ShmCommunicator::meet() {
  ++num_meetings_;
  memory_.num_meetings(rank_).store(num_meetings_, std::memory_order_release);
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank_) continue;
    const std::atomic<std::uint64_t>& theirs = memory_.num_meetings(peer);
    wait_until(
        endpoint_.segment(), {endpoint_.rank(), name_of(kind_), key_, members_[static_cast<std::size_t>(peer)]},
        [&] { return theirs.load(std::memory_order_acquire) >= num_meetings_; }, [&] { endpoint_.progress(); });
  }
}

CommReport ShmCommunicator::read_posts(std::int64_t bytes_sent) {
  const Post& mine = memory_.post(rank_, half_);
  CommReport report = {.bytes_sent = bytes_sent, .own_arrival = Instant(Instant::duration(mine.arrival))};
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank_) continue;
    const Post& post = memory_.post(peer, half_);
    CHECK(post.kind == mine.kind && post.bytes == mine.bytes, id_, key_, rank_, name_of(mine.kind), mine.bytes, peer,
          name_of(post.kind), post.bytes);
    const Instant arrival{Instant::duration(post.arrival)};
    if (report.last_peer < 0 || arrival > report.last_arrival) {
      report.last_peer = peer;
      report.last_arrival = arrival;
    }
  }
  return report;
}

std::int64_t ShmCommunicator::most_steps() const {
  std::int64_t most = 1;
  for (int member = 0; member < size(); ++member) most = std::max(most, memory_.post(member, half_).num_steps);
  return most;
}

void ShmCommunicator::check_counts(const Blocks& receives) const {
  for (std::size_t peer = 0; peer < members_.size(); ++peer) {
    const std::int64_t sent = memory_.counts(static_cast<int>(peer), half_)[static_cast<std::size_t>(rank_)];
    CHECK(sent == receives.counts[peer], id_, key_, rank_, peer, sent, receives.counts[peer]);
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
    if (rank_ == root) copy_bytes(slot(root), values.data() + piece.offset, piece.bytes);
    meet();
    if (step == 0) report = read_posts(rank_ == root ? (size() - 1) * ssize_of(values) : 0);
    if (rank_ != root) copy_bytes(values.data() + piece.offset, slot(root), piece.bytes);
  }
  return report;
}

CommReport ShmCommunicator::all_gather(std::span<const std::byte> input, std::span<std::byte> output,
                                       std::string_view key) {
  const std::int64_t block = ssize_of(input);
  CHECK(ssize_of(output) == block * size(), key, block, size(), output.size());
  const std::int64_t num_steps = steps_for(block, memory_.slot_bytes());
  CommReport report;
  copy_bytes(output.data() + rank_ * block, input.data(), block);
  for (std::int64_t step = 0; step < num_steps; ++step) {
    step == 0 ? begin(CollectiveKind::all_gather, block, key) : next_step();
    const Piece piece = piece_of({0, block}, step, memory_.slot_bytes());
    copy_bytes(slot(rank_), input.data() + piece.offset, piece.bytes);
    meet();
    if (step == 0) report = read_posts((size() - 1) * block);
    for (int peer = 0; peer < size(); ++peer) {
      if (peer != rank_) copy_bytes(output.data() + peer * block + piece.offset, slot(peer), piece.bytes);
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
  for (std::size_t peer = 0; peer < members_.size(); ++peer) {
    if (static_cast<int>(peer) == rank_) continue;
    bytes_sent += sends.counts[peer];
    num_steps = std::max(num_steps, steps_for(sends.counts[peer], lane));
  }
  CommReport report;
  for (std::int64_t step = 0; step < num_steps; ++step) {
    if (step == 0) {
      begin(CollectiveKind::all_to_all_v, 0, key, num_steps);
      std::ranges::copy(sends.counts, memory_.counts(rank_, half_).begin());
    } else {
      next_step();
    }
    for (int peer = 0; peer < size(); ++peer) {
      const auto p = static_cast<std::size_t>(peer);
      if (peer == rank_) continue;
      const Piece piece = piece_of({sends.offsets[p], sends.counts[p]}, step, lane);
      copy_bytes(lane_of(rank_, peer), input.data() + piece.offset, piece.bytes);
    }
    meet();
    if (step == 0) {
      report = read_posts(bytes_sent);
      num_steps = most_steps();
      check_counts(receives);
      const auto own = static_cast<std::size_t>(rank_);
      copy_bytes(output.data() + receives.offsets[own], input.data() + sends.offsets[own], sends.counts[own]);
    }
    for (int peer = 0; peer < size(); ++peer) {
      const auto p = static_cast<std::size_t>(peer);
      if (peer == rank_) continue;
      const Piece piece = piece_of({receives.offsets[p], receives.counts[p]}, step, lane);
      copy_bytes(output.data() + piece.offset, lane_of(peer, rank_), piece.bytes);
    }
  }
  return report;
}

ShmChannel& ShmCommunicator::channel(ShmChannel::Direction direction, int peer) {
  CHECK(0 <= peer && peer < size() && peer != rank_, id_, peer, rank_, size());
  const auto p = static_cast<std::size_t>(peer);
  auto& channel = channels_[direction == ShmChannel::Direction::send ? 0 : 1][p];
  if (!channel) {
    const bool sending = direction == ShmChannel::Direction::send;
    const std::string name = fmt::format("{} {}>{}", id_, sending ? rank_ : peer, sending ? peer : rank_);
    const ShmRing ring(
        endpoint_.segment().region(name, ShmRing::memory_bytes(endpoint_.segment().options().ring_bytes)));
    channel = std::make_unique<ShmChannel>(endpoint_, ring, direction, peer, members_[p]);
  }
  return *channel;
}

std::unique_ptr<Transfer> ShmCommunicator::start_send(std::span<const std::byte> message, int peer,
                                                      std::string_view key) {
  // A transfer serves both directions; the one that sends only reads its message.
  const std::span<std::byte> bytes(const_cast<std::byte*>(message.data()), message.size());
  return std::make_unique<ShmTransfer>(channel(ShmChannel::Direction::send, peer), bytes, key);
}

std::unique_ptr<Transfer> ShmCommunicator::start_receive(std::span<std::byte> message, int peer, std::string_view key) {
  return std::make_unique<ShmTransfer>(channel(ShmChannel::Direction::receive, peer), message, key);
}

}  // namespace orrery::executor
