// SPDX-License-Identifier: Apache-2.0
// What the members of a group that are reached over streams do together: in a phase each rank sends to all of them and
// receives from all of them at the same time, so nobody waits for a turn. The first phase of a collective brings what
// each one posts, then its bytes; later ones bring bytes alone. A pair that has nothing to say in a phase is not waited
// for. Private to `comm/`.
#pragma once

#include "executor/comm/byte_stream.h"
#include "executor/comm/communicator.h"
#include "executor/comm/post.h"

#include <array>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::executor {

class Endpoint;

class StreamPhases {
 public:
  /// What goes to each member of the group and comes from it in one phase. Entries of those that are not reached over
  /// streams do not count, nor a rank's own.
  struct Payload {
    std::vector<std::span<const std::byte>> sends;
    std::vector<std::span<std::byte>> receives;
  };

  /// `members`: ranks of the run, of which `endpoint` is one; `reached`: for each, whether streams lead there.
  StreamPhases(Endpoint& endpoint, std::string id, std::span<const int> members, std::vector<bool> reached);

  Payload nothing() const;

  /// The first phase of a collective, in which a rank is since `arrival`. `bytes` is what all must agree on. The report
  /// is of the peers over streams, and of the bytes of this phase.
  CommReport begin(CollectiveKind kind, std::int64_t bytes, std::string_view key, const Payload& payload,
                   Instant arrival);
  /// A later phase; returns the bytes that it has sent.
  std::int64_t exchange(const Payload& payload);

 private:
  /// The state of one pair in a phase: how much of post and payload is through.
  struct Pair {
    std::array<std::span<const std::byte>, 2> out;
    std::array<std::span<std::byte>, 2> in;
    std::size_t num_sent = 0, num_received = 0;
    bool is_through() const;
  };

  int size() const { return static_cast<int>(members_.size()); }
  std::int64_t move_all(const Payload& payload, std::vector<Pair> pairs);
  /// Moves what can be moved. Throws: InternalError, when the peer is in another collective.
  void move(int peer, Pair& pair);
  ByteStream& stream(int peer);
  PostPlace post_place() const { return {id_, key_, rank_}; }

  Endpoint& endpoint_;
  std::string id_;
  std::vector<int> members_;
  std::vector<bool> reached_;  // by member
  int rank_;
  std::vector<std::unique_ptr<ByteStream>> streams_;  // by member, made when first used
  std::vector<Post> own_posts_, peer_posts_;          // by member
  CollectiveKind kind_ = CollectiveKind::barrier;
  std::string_view key_;
};

/// A part of a buffer.
template <class Byte>
std::span<Byte> part_of(std::span<Byte> buffer, std::int64_t offset, std::int64_t bytes) {
  return buffer.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(bytes));
}

}  // namespace orrery::executor
