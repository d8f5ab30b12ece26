// SPDX-License-Identifier: Apache-2.0
// What a rank says of the collective that it enters, so that each member of a group sees who came last and whether all
// do the same thing. Private to `comm/`.
#pragma once

#include "executor/comm/clock.h"
#include "executor/comm/communicator.h"

#include <cstdint>
#include <string_view>

namespace orrery::executor {

enum class CollectiveKind : std::int64_t { barrier, all_reduce, reduce_scatter, all_gather, all_to_all_v, broadcast };

std::string_view name_of(CollectiveKind kind);

struct Post {
  CollectiveKind kind;
  std::int64_t bytes;   ///< all ranks must agree on it
  std::int64_t amount;  ///< what follows: steps through shared memory, or bytes for the reader of a stream
  Instant::rep arrival;
};

/// In which collective of which group a rank is.
struct PostPlace {
  std::string_view id;
  std::string_view key;
  int rank;
};

/// Takes the post of one more peer into the report of this rank. Requires: posts are of one clock.
/// Throws: InternalError, when the peer is in another collective, or has other sizes.
void take_post(CommReport& report, const PostPlace& place, const Post& mine, int peer, const Post& post);

/// Throws: InternalError, when `peer` sends another number of bytes than this rank expects.
void check_received(const PostPlace& place, int peer, std::int64_t sent, std::int64_t expected);

/// Throws: InternalError, when blocks are not one per rank inside the buffer.
void check_inside(const Blocks& blocks, int num_ranks, std::int64_t buffer_bytes, std::string_view key);

}  // namespace orrery::executor
