// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/shm_ring.h"

#include <algorithm>
#include <cstring>

namespace orrery::executor {
namespace {

// The counter moves after each piece, so that both sides can copy at the same time.
constexpr std::size_t kPieceBytes = std::size_t{256} << 10;

}  // namespace

ShmRing::ShmRing(std::span<std::byte> memory)
    : counters_(reinterpret_cast<RingCounters*>(memory.data())), room_(memory.subspan(sizeof(RingCounters))) {}

std::unique_ptr<ShmRing> ShmRing::in(Segment& segment, std::string_view name) {
  return std::make_unique<ShmRing>(segment.region(name, memory_bytes(segment.options().ring_bytes)));
}

std::size_t ShmRing::write(std::span<const std::byte> bytes, bool /*more*/) {
  std::uint64_t written = counters_->written.load(std::memory_order_relaxed);
  std::size_t done = 0;
  while (done < bytes.size()) {
    const std::size_t used = written - counters_->read.load(std::memory_order_acquire);
    const std::size_t place = written % room_.size();
    const std::size_t piece = std::min({bytes.size() - done, room_.size() - used, room_.size() - place, kPieceBytes});
    if (piece == 0) break;
    std::memcpy(room_.data() + place, bytes.data() + done, piece);
    done += piece;
    written += piece;
    counters_->written.store(written, std::memory_order_release);
  }
  return done;
}

std::size_t ShmRing::read(std::span<std::byte> bytes) {
  std::uint64_t read = counters_->read.load(std::memory_order_relaxed);
  std::size_t done = 0;
  while (done < bytes.size()) {
    const std::size_t waiting = counters_->written.load(std::memory_order_acquire) - read;
    const std::size_t place = read % room_.size();
    const std::size_t piece = std::min({bytes.size() - done, waiting, room_.size() - place, kPieceBytes});
    if (piece == 0) break;
    std::memcpy(bytes.data() + done, room_.data() + place, piece);
    done += piece;
    read += piece;
    counters_->read.store(read, std::memory_order_release);
  }
  return done;
}

}  // namespace orrery::executor
