// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/stream_transfer.h"

#include "base/check.h"
#include "executor/comm/endpoint.h"

#include <algorithm>

namespace orrery::executor {

Channel::Channel(Endpoint& endpoint, std::unique_ptr<ByteStream> stream, Direction direction, int peer_in_group,
                 int peer)
    : endpoint_(endpoint),
      stream_(std::move(stream)),
      direction_(direction),
      peer_in_group_(peer_in_group),
      peer_(peer) {
  endpoint_.channels_.push_back(this);
}

Channel::~Channel() { std::erase(endpoint_.channels_, this); }

void Channel::progress() {
  while (!posted_.empty() && posted_.front()->advance()) posted_.pop_front();
}

StreamTransfer::StreamTransfer(Channel& channel, std::span<std::byte> message, std::string_view key)
    : channel_(channel), message_(message), key_(key) {
  const Instant posted = now();
  header_ = {static_cast<std::int64_t>(message.size()), channel.endpoint_.segment().on_common_clock(posted)};
  report_.last_peer = channel.peer_in_group_;
  report_.last_arrival = posted;
  if (channel.direction_ == Channel::Direction::send) {
    report_.bytes_sent = header_.bytes;
    if (!channel.stream_->is_memory()) report_.bytes_on_network = header_.bytes;
  }
  channel_.posted_.push_back(this);
  channel_.progress();
}

StreamTransfer::~StreamTransfer() {
  if (!done_) std::erase(channel_.posted_, this);
}

bool StreamTransfer::test() {
  if (!look()) throw_if_stopped(channel_.endpoint_.segment(), place());
  return done_;
}

CommReport StreamTransfer::wait() {
  channel_.endpoint_.set_key(key_);
  channel_.endpoint_.wait(place(), channel_.stream_->medium(), [this] { return look(); });
  return report_;
}

bool StreamTransfer::look() {
  channel_.progress();
  if (!done_ && channel_.stream_->closed()) throw_lost_peer(channel_.endpoint_.segment(), place());
  return done_;
}

bool StreamTransfer::advance() {
  const bool receiving = channel_.direction_ == Channel::Direction::receive;
  if (moved_ < sizeof(Header)) {
    if (!move(std::as_writable_bytes(std::span(&header_, 1)), 0, /*more=*/!message_.empty())) return false;
    if (receiving) {
      CHECK(header_.bytes == static_cast<std::int64_t>(message_.size()), key_, channel_.peer_, header_.bytes,
            message_.size());
      report_.last_arrival = channel_.endpoint_.segment().on_own_clock(header_.posted);
    }
  }
  if (!move(message_, sizeof(Header))) return false;
  if (!receiving) report_.last_arrival = now();  // for a sender the peer has come when it has made room
  return done_ = true;
}

bool StreamTransfer::move(std::span<std::byte> piece, std::size_t begin, bool more) {
  const std::span<std::byte> rest = piece.subspan(moved_ - begin);
  ByteStream& stream = *channel_.stream_;
  moved_ += channel_.direction_ == Channel::Direction::send ? stream.write(rest, more) : stream.read(rest);
  return moved_ == begin + piece.size();
}

WaitPlace StreamTransfer::place() const {
  const bool sending = channel_.direction_ == Channel::Direction::send;
  return {channel_.endpoint_.rank(), sending ? "send" : "receive", key_, channel_.peer_};
}

}  // namespace orrery::executor
