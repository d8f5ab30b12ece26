// SPDX-License-Identifier: Apache-2.0
// What a rank's end of a group is, whatever carries its collectives: who is in it, and one stream of messages for each
// direction and peer, opened when it is first used. Private to `comm/`: `Endpoint::group` makes them.
#pragma once

#include "executor/comm/communicator.h"
#include "executor/comm/post.h"
#include "executor/comm/stream_transfer.h"

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::executor {

class GroupMember : public Communicator {
 public:
  /// Requires: at least two members.
  GroupMember(Endpoint& endpoint, std::string_view id, std::span<const int> members);

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(members_.size()); }

  std::unique_ptr<Transfer> start_send(std::span<const std::byte> message, int peer, std::string_view key) override;
  std::unique_ptr<Transfer> start_receive(std::span<std::byte> message, int peer, std::string_view key) override;

 protected:
  /// This rank's end of the stream `name`, which no other pair of ranks uses.
  virtual std::unique_ptr<ByteStream> open_stream(const std::string& name, Channel::Direction direction, int peer) = 0;

  Endpoint& endpoint() { return endpoint_; }
  const std::string& id() const { return id_; }
  /// The rank of the run that is `member` here.
  int run_rank(int member) const { return members_[static_cast<std::size_t>(member)]; }
  PostPlace post_place(std::string_view key) const { return {id_, key, rank_}; }

 private:
  Channel& channel(Channel::Direction direction, int peer);

  Endpoint& endpoint_;
  std::string id_;
  std::vector<int> members_;  // ranks of the run
  int rank_;
  std::array<std::vector<std::unique_ptr<Channel>>, 2> channels_;  // by direction and peer
};

}  // namespace orrery::executor
