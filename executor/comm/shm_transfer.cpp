// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/shm_transfer.h"

#include "base/check.h"

#include <algorithm>

namespace orrery::executor {

ShmChannel::ShmChannel(ShmEndpoint& endpoint, ShmRing ring, Direction direction, int peer_in_group, int peer)
    : endpoint_(endpoint), ring_(ring), direction_(direction), peer_in_group_(peer_in_group), peer_(peer) {
  endpoint_.channels_.push_back(this);
}

ShmChannel::~ShmChannel() { std::erase(endpoint_.channels_, this); }

void ShmChannel::progress() {
  while (!posted_.empty() && posted_.front()->advance()) posted_.pop_front();
}

ShmTransfer::ShmTransfer(ShmChannel& channel, std::span<std::byte> message, std::string_view key)
    : channel_(channel), message_(message), key_(key) {
  const Instant posted = now();
  header_ = {static_cast<std::int64_t>(message.size()), posted.time_since_epoch().count()};
  report_.last_peer = channel.peer_in_group_;
  report_.last_arrival = posted;
  if (channel.direction_ == ShmChannel::Direction::send) report_.bytes_sent = header_.bytes;
  channel_.posted_.push_back(this);
  channel_.progress();
}

ShmTransfer::~ShmTransfer() {
  if (!done_) std::erase(channel_.posted_, this);
}

bool ShmTransfer::test() {
  channel_.progress();
  if (!done_) throw_if_stopped(channel_.endpoint_.segment(), place());
  return done_;
}

CommReport ShmTransfer::wait() {
  channel_.endpoint_.set_key(key_);
  const auto ready = [this] {
    channel_.progress();
    return done_;
  };
  wait_until(channel_.endpoint_.segment(), place(), ready, [this] { channel_.endpoint_.progress(); });
  return report_;
}

bool ShmTransfer::advance() {
  const bool receiving = channel_.direction_ == ShmChannel::Direction::receive;
  if (moved_ < sizeof(Header)) {
    if (!move(std::as_writable_bytes(std::span(&header_, 1)), 0)) return false;
    if (receiving) {
      CHECK(header_.bytes == static_cast<std::int64_t>(message_.size()), key_, channel_.peer_, header_.bytes,
            message_.size());
      report_.last_arrival = Instant(Instant::duration(header_.posted));
    }
  }
  if (!move(message_, sizeof(Header))) return false;
  if (!receiving) report_.last_arrival = now();  // for a sender the peer has come when it has made room
  return done_ = true;
}

bool ShmTransfer::move(std::span<std::byte> piece, std::size_t begin) {
  const std::span<std::byte> rest = piece.subspan(moved_ - begin);
  moved_ += channel_.direction_ == ShmChannel::Direction::send ? channel_.ring_.write(rest) : channel_.ring_.read(rest);
  return moved_ == begin + piece.size();
}

WaitPlace ShmTransfer::place() const {
  const bool sending = channel_.direction_ == ShmChannel::Direction::send;
  return {channel_.endpoint_.rank(), sending ? "send" : "receive", key_, channel_.peer_};
}

}  // namespace orrery::executor
