// SPDX-License-Identifier: Apache-2.0
// How collectives cut buffers: into parts (one per rank), and parts into pieces that fit into a slot. Private to
// `comm/`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace orrery::executor {

/// Some bytes of a buffer.
struct Piece {
  std::int64_t offset;
  std::int64_t bytes;
};

/// What of `part` moves in one step, when each step moves at most `most` bytes.
inline Piece piece_of(const Piece& part, std::int64_t step, std::int64_t most) {
  const std::int64_t moved = std::min(part.bytes, step * most);
  return {part.offset + moved, std::min(part.bytes - moved, most)};
}

/// Steps to move `bytes`; at least one, since ranks meet even to move nothing.
inline std::int64_t steps_for(std::int64_t bytes, std::int64_t most) {
  return std::max<std::int64_t>(1, (bytes + most - 1) / most);
}

/// Parts of `num_values` values, one per rank, that differ by at most one value.
inline std::vector<Piece> even_parts(std::int64_t num_values, std::int64_t value_bytes, int num_parts) {
  std::vector<Piece> parts(static_cast<std::size_t>(num_parts));
  std::int64_t begin = 0;
  for (int i = 0; i < num_parts; ++i) {
    const std::int64_t count = num_values / num_parts + (i < num_values % num_parts ? 1 : 0);
    parts[static_cast<std::size_t>(i)] = {begin * value_bytes, count * value_bytes};
    begin += count;
  }
  return parts;
}

/// A slot of `slot_bytes` is cut into lanes, one per receiver, on cache lines.
inline std::int64_t lane_bytes(std::int64_t slot_bytes, int num_lanes) { return slot_bytes / num_lanes / 64 * 64; }

inline void copy_bytes(std::byte* target, const std::byte* source, std::int64_t bytes) {
  if (bytes > 0 && target != source) std::memcpy(target, source, static_cast<std::size_t>(bytes));
}

inline std::int64_t ssize_of(const auto& buffer) { return static_cast<std::int64_t>(buffer.size()); }

}  // namespace orrery::executor
