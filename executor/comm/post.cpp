// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/post.h"

#include "base/check.h"

namespace orrery::executor {

std::string_view name_of(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::barrier:
      return "barrier";
    case CollectiveKind::all_reduce:
      return "all_reduce";
    case CollectiveKind::reduce_scatter:
      return "reduce_scatter";
    case CollectiveKind::all_gather:
      return "all_gather";
    case CollectiveKind::all_to_all_v:
      return "all_to_all_v";
    case CollectiveKind::broadcast:
      return "broadcast";
  }
  CHECK(false, kind);
  return "";
}

void take_post(CommReport& report, const PostPlace& place, const Post& mine, int peer, const Post& post) {
  CHECK(post.kind == mine.kind && post.bytes == mine.bytes, place.id, place.key, place.rank, name_of(mine.kind),
        mine.bytes, peer, name_of(post.kind), post.bytes);
  const Instant arrival{Instant::duration(post.arrival)};
  if (report.last_peer < 0 || arrival > report.last_arrival) {
    report.last_peer = peer;
    report.last_arrival = arrival;
  }
}

void check_received(const PostPlace& place, int peer, std::int64_t sent, std::int64_t expected) {
  CHECK(sent == expected, place.id, place.key, place.rank, peer, sent, expected);
}

void check_inside(const Blocks& blocks, int num_ranks, std::int64_t buffer_bytes, std::string_view key) {
  const auto n = static_cast<std::size_t>(num_ranks);
  CHECK(blocks.counts.size() == n && blocks.offsets.size() == n, key, blocks.counts.size(), blocks.offsets.size(), n);
  for (std::size_t i = 0; i < n; ++i)
    CHECK(blocks.counts[i] >= 0 && blocks.offsets[i] >= 0 && blocks.offsets[i] + blocks.counts[i] <= buffer_bytes, key,
          i, blocks.offsets[i], blocks.counts[i], buffer_bytes);
}

}  // namespace orrery::executor
