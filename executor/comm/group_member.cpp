// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/group_member.h"

#include "base/check.h"
#include "executor/comm/endpoint.h"

#include <algorithm>

#include <fmt/format.h>

namespace orrery::executor {

GroupMember::GroupMember(Endpoint& endpoint, std::string_view id, std::span<const int> members)
    : endpoint_(endpoint),
      id_(id),
      members_(members.begin(), members.end()),
      rank_(static_cast<int>(std::ranges::find(members_, endpoint.rank()) - members_.begin())) {
  CHECK(members_.size() >= 2 && rank_ < std::ssize(members_), id, members_.size(), endpoint.rank());
  for (auto& channels : channels_) channels.resize(members_.size());
}

Channel& GroupMember::channel(Channel::Direction direction, int peer) {
  CHECK(0 <= peer && peer < size() && peer != rank_, id_, peer, rank_, size());
  const bool sending = direction == Channel::Direction::send;
  auto& channel = channels_[sending ? 0 : 1][static_cast<std::size_t>(peer)];
  if (!channel) {
    const std::string name = fmt::format("{} {}>{}", id_, sending ? rank_ : peer, sending ? peer : rank_);
    channel = std::make_unique<Channel>(endpoint_, open_stream(name, direction, peer), direction, peer, run_rank(peer));
  }
  return *channel;
}

std::unique_ptr<Transfer> GroupMember::start_send(std::span<const std::byte> message, int peer, std::string_view key) {
  // A transfer serves both directions; the one that sends only reads its message.
  const std::span<std::byte> bytes(const_cast<std::byte*>(message.data()), message.size());
  return std::make_unique<StreamTransfer>(channel(Channel::Direction::send, peer), bytes, key);
}

std::unique_ptr<Transfer> GroupMember::start_receive(std::span<std::byte> message, int peer, std::string_view key) {
  return std::make_unique<StreamTransfer>(channel(Channel::Direction::receive, peer), message, key);
}

}  // namespace orrery::executor
