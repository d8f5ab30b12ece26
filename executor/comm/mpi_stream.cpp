// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/mpi_stream.h"

#include "executor/comm/mpi_peers.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace orrery::executor {

MpiStream::MpiStream(MpiPeers& peers, std::uint64_t name, int peer) : peers_(peers), name_(name), peer_(peer) {
  sends_.reserve(kMostUnderWay);  // blocks stay where they are
}

MpiStream::~MpiStream() {
  for (MpiBlock& block : sends_) peers_.see_off(std::move(block));
}

MpiBlock* MpiStream::block_to_fill() {
  if (filled_ != nullptr) return filled_;
  const auto idle = std::ranges::find_if(sends_, [](MpiBlock& block) { return !block.is_under_way(); });
  if (idle != sends_.end()) {
    closed_ = closed_ || idle->has_failed();
    return filled_ = &*idle;
  }
  if (sends_.size() == kMostUnderWay) return nullptr;
  return filled_ = &sends_.emplace_back(peers_.world_, kBlockBytes);
}

void MpiStream::flush() {
  if (!own_tag_) own_tag_ = peers_.announce(name_, peer_);
  std::exchange(filled_, nullptr)->send(std::exchange(num_filled_, 0), peer_, *own_tag_);
}

std::size_t MpiStream::write(std::span<const std::byte> bytes, bool more) {
  std::size_t done = 0;
  while (done < bytes.size() && !closed_) {
    MpiBlock* block = block_to_fill();
    if (block == nullptr) break;
    const std::size_t count = std::min(bytes.size() - done, kBlockBytes - num_filled_);
    std::memcpy(block->room().data() + num_filled_, bytes.data() + done, count);
    done += count;
    num_filled_ += count;
    if (num_filled_ == kBlockBytes || (done == bytes.size() && !more)) flush();
  }
  peers_.num_moved_ += done;
  return done;
}

bool MpiStream::is_announced() {
  if (peer_tag_) return true;
  peer_tag_ = peers_.take_tag(name_, peer_);
  if (!peer_tag_) return false;
  for (std::size_t i = 0; i < kReceivesAhead; ++i)
    receives_.emplace_back(peers_.world_, kBlockBytes).receive(peer_, *peer_tag_);
  return true;
}

std::size_t MpiStream::read(std::span<std::byte> bytes) {
  if (!is_announced()) return 0;
  std::size_t done = 0;
  while (done < bytes.size() && !closed_) {
    MpiBlock& block = receives_[first_];
    if (block.is_under_way()) break;
    closed_ = block.has_failed();
    if (closed_) break;
    const std::size_t count = std::min(bytes.size() - done, block.num_received() - num_read_);
    std::memcpy(bytes.data() + done, block.room().data() + num_read_, count);
    done += count;
    num_read_ += count;
    if (num_read_ < block.num_received()) continue;
    num_read_ = 0;
    block.receive(peer_, *peer_tag_);
    first_ = (first_ + 1) % receives_.size();
  }
  peers_.num_moved_ += done;
  return done;
}

}  // namespace orrery::executor
