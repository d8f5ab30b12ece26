// SPDX-License-Identifier: Apache-2.0
// Ranks of several processes, over one stream for each pair, whatever carries it (peers.h). In a phase of a collective
// each rank sends to all others and receives from all of them at the same time, so nobody waits for a turn: first what
// it posts, then its bytes. Parts of sums go to their owner, who adds them up in the order of the ranks, so that
// results have the bits of those through shared memory. Private to `comm/`.
#pragma once

#include "executor/comm/byte_stream.h"
#include "executor/comm/group_member.h"
#include "executor/comm/shm_pieces.h"

#include <array>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace orrery::executor {

class StreamCommunicator final : public GroupMember {
 public:
  using GroupMember::GroupMember;

  CommReport all_gather(std::span<const std::byte> input, std::span<std::byte> output, std::string_view key) override;
  CommReport all_to_all_v(std::span<const std::byte> input, const Blocks& sends, std::span<std::byte> output,
                          const Blocks& receives, std::string_view key) override;
  CommReport broadcast(std::span<std::byte> values, int root, std::string_view key) override;
  CommReport barrier(std::string_view key) override;

 protected:
  CommReport do_all_reduce(SumType type, std::span<std::byte> values, std::string_view key) override;
  CommReport do_reduce_scatter(SumType type, std::span<const std::byte> input, std::span<std::byte> output,
                               std::string_view key) override;
  std::unique_ptr<ByteStream> open_stream(const std::string& name, Channel::Direction direction, int peer) override;

 private:
  /// What goes to each member and comes from it in one phase; a rank's own entries do not count.
  struct Payload {
    std::vector<std::span<const std::byte>> sends;
    std::vector<std::span<std::byte>> receives;
  };
  /// The state of one pair in a phase: how much of post and payload is through.
  struct Pair {
    std::array<std::span<const std::byte>, 2> out;
    std::array<std::span<std::byte>, 2> in;
    std::size_t num_sent = 0, num_received = 0;
    bool is_through() const;
  };

  Payload nothing() const;
  /// The first phase of a collective. `bytes` is what all must agree on.
  CommReport begin(CollectiveKind kind, std::int64_t bytes, std::string_view key, const Payload& payload);
  /// A later phase, without posts; `pairs` may hold them.
  void exchange(const Payload& payload, std::vector<Pair> pairs);
  /// Moves what can be moved. Throws: InternalError, when the peer is in another collective.
  void move(int peer, Pair& pair);
  ByteStream& stream(int peer);
  /// The phase that brings each part of `input` to its owner, and the sum of the own one into `target`.
  CommReport sum(CollectiveKind kind, SumType type, std::span<const std::byte> input, const std::vector<Piece>& parts,
                 std::span<std::byte> target, std::string_view key);

  std::vector<std::unique_ptr<ByteStream>> streams_;  // by member, made when first used
  std::vector<Post> own_posts_, peer_posts_;          // by member
  std::vector<std::byte> room_;                       // parts of sums that came from the peers
  CommReport report_;
  CollectiveKind kind_ = CollectiveKind::barrier;
  std::string_view key_;
};

}  // namespace orrery::executor
