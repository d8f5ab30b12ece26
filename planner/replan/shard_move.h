// SPDX-License-Identifier: Apache-2.0
// What has to travel when training goes on in another layout, on what is left of the devices: each of them needs what
// it holds afterwards and did not hold before. Some of it other devices have; what only lost devices had has to come
// from a checkpoint.
#pragma once

#include "base/units.h"
#include "planner/replan/holdings.h"
#include "program/cluster.h"

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace orrery::planner {

/// Bytes of training state by what they are.
struct StateBytes {
  Bytes weights, masters, moments;

  Bytes total() const { return weights + masters + moments; }
  StateBytes& operator+=(const StateBytes& other);
  StateBytes operator-(const StateBytes& other) const;
  bool operator==(const StateBytes&) const = default;
};

/// What one rank of the new layout gets.
struct RankMove {
  StateBytes inside;           // from devices of its scale-up domain
  StateBytes outside;          // from others that are left
  StateBytes from_checkpoint;  // that nobody who is left holds
};

struct ShardMove {
  std::vector<RankMove> of_rank;
  /// Of all ranks together.
  StateBytes received() const;
  StateBytes from_checkpoint() const;
  /// The rank that gets most from others; the first of several.
  RankId busiest() const;
};

class ShardMover {
 public:
  /// `device_of_rank`: of the old layout, one for each of its ranks. `lost`: by old rank. `cluster` and `before`
  /// must outlive it. Requires: not all are lost.
  ShardMover(const Cluster& cluster, const Holdings& before, std::span<const DeviceIndex> device_of_rank,
             const std::vector<bool>& lost);

  /// What only lost ranks held, each element once.
  const StateBytes& lost_alone() const { return lost_alone_; }

  /// The move to `after`, whose ranks are on `device_of_rank`, devices that are left.
  /// Complexity: boxes of all ranks before and after, times the devices of a domain.
  ShardMove move_to(const Holdings& after, std::span<const DeviceIndex> device_of_rank) const;

 private:
  StateBytes bytes_of(std::size_t list, StateKind kind, std::int64_t elements) const;
  void find_lost(std::size_t list, const std::vector<bool>& lost);
  /// One list of all ranks of a scale-up domain, which look at the same neighbours.
  void move_list(std::size_t list, std::int64_t domain, std::span<const RankId> ranks, const Holdings& after,
                 std::span<const DeviceIndex> device_of_rank, ShardMove& move) const;

  const Cluster& cluster_;
  const Holdings& before_;
  /// Devices that are left and their ranks in the old layout, by scale-up domain.
  std::map<std::int64_t, std::vector<std::pair<DeviceIndex, RankId>>> left_in_domain_;
  Held lost_;  // what only lost ranks held
  StateBytes lost_alone_;
};

}  // namespace orrery::planner
