// SPDX-License-Identifier: Apache-2.0
// How a segment is laid out: a header, the state of each rank, then regions in the order in which they were first asked
// for. Fresh pages are zero, and zero is the valid first state of everything here. Private to `comm/`.
#pragma once

#include "executor/comm/atomic_text.h"
#include "executor/comm/shm_segment.h"

#include <array>
#include <atomic>
#include <cstdint>

namespace orrery::executor {

/// Two cache lines: the adjacent-line prefetcher makes pairs of them travel together.
inline constexpr std::size_t kLineBytes = 128;
inline constexpr std::size_t kPageBytes = 4096;
inline constexpr std::uint64_t kSegmentMagic = 0x4f52524552590001;  // "ORRERY", layout 1

constexpr std::size_t round_up(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }

struct alignas(kLineBytes) RankState {
  std::atomic<std::int32_t> process;  ///< 0 until the rank has come
  std::atomic<bool> finished;
  std::atomic<std::uint32_t> num_moves;
  AtomicText<192> key;
};

struct RegionEntry {
  std::atomic<std::uint64_t> name_hash;  ///< 0: free
  std::atomic<std::uint64_t> offset;     ///< 0: not known yet
  std::uint64_t bytes;                   ///< written before `offset`
};

enum class FailureState : std::int32_t { none, being_written, known };

struct SegmentHeader {
  std::atomic<std::uint64_t> magic;
  SegmentOptions options;

  alignas(kLineBytes) std::atomic<FailureState> failure;
  std::int32_t failed_rank;  ///< these four are written before `failure` becomes known
  std::int32_t missing_rank;
  AtomicText<192> failed_key;
  AtomicText<1536> failure_text;

  alignas(kLineBytes) std::atomic<std::uint64_t> next_free;
  std::array<RegionEntry, 4096> regions;
};

}  // namespace orrery::executor
