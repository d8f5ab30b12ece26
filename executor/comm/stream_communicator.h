// SPDX-License-Identifier: Apache-2.0
// Ranks of several processes, over one stream for each pair, whatever carries it (peers.h). Parts of sums go to their
// owner, who adds them up in the order of the ranks, so that results have the bits of those through shared memory.
// Private to `comm/`.
#pragma once

#include "executor/comm/group_member.h"
#include "executor/comm/shm_pieces.h"
#include "executor/comm/stream_phases.h"

#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace orrery::executor {

class StreamCommunicator final : public GroupMember {
 public:
  /// Requires: at least two members.
  StreamCommunicator(Endpoint& endpoint, std::string_view id, std::span<const int> members);

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
  using Payload = StreamPhases::Payload;

  CommReport begin(CollectiveKind kind, std::int64_t bytes, std::string_view key, const Payload& payload) {
    return phases_.begin(kind, bytes, key, payload, now());
  }
  /// The phase that brings each part of `input` to its owner, and the sum of the own one into `target`.
  CommReport sum(CollectiveKind kind, SumType type, std::span<const std::byte> input, const std::vector<Piece>& parts,
                 std::span<std::byte> target, std::string_view key);

  StreamPhases phases_;
  std::vector<std::byte> room_;  // parts of sums that came from the peers
};

}  // namespace orrery::executor
