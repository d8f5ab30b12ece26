// SPDX-License-Identifier: Apache-2.0
// Which ranks of a program are simulated. When nothing tells the ranks of a class apart (balanced load, sequences
// of one document, one kind of device, no noise), the first of them stands for all; where some are disturbed, one for
// each of those that differ by it (rank_colours.h), or one in each replica; else every rank is simulated. Not an
// interpreter: it only picks and answers who meets whom among the picked.
#pragma once

#include "program/cluster.h"
#include "program/rank_devices.h"
#include "program/step_program.h"
#include "traces/interpreter.h"

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace orrery::costmodel {

struct SimulatedRank {
  RankView view;
  DeviceIndex device;
  std::int64_t represents = 1;
  std::int64_t represents_on_node = 1;
  std::int64_t nodes_on_leaf = 1;
};

class SimulatedRanks {
 public:
  /// `device_of_rank`: empty means that ranks are in the order of the strategy.
  SimulatedRanks(const StepProgram& program, const Cluster& cluster, std::span<const DeviceIndex> device_of_rank,
                 const RunInput& input);

  const std::vector<SimulatedRank>& ranks() const { return ranks_; }
  /// Whether one rank stands for its class.
  bool folded() const { return folded_; }
  DeviceIndex device_of(RankId rank) const { return devices_.of(rank); }
  /// Index into ranks() of `rank`, or of the rank that stands for it.
  std::uint32_t index_of(RankId rank) const;
  /// Indices into ranks() of the members of a group, lowest first.
  std::vector<std::uint32_t> members(Group group, RankId rank) const;
  /// The lowest of them. Requires: the group is within one pipeline rank.
  std::uint32_t leader(Group group, RankId rank) const;
  /// Equal for simulated ranks whose groups of that kind are the same communicator, or one that they stand for.
  std::int64_t communicator(Group group, RankId rank) const;
  /// Devices of the members of the group of `rank`: one list, or when folded one for each way in which the groups of
  /// the class lie on the cluster (some within a node, some across two), since the slowest of them decides.
  /// For a pipeline edge: rank, then peer.
  std::vector<std::vector<DeviceIndex>> devices(Group group, RankId rank) const;
  /// Group of the cluster that `device` is in: devices of one group are alike.
  std::size_t device_group(DeviceIndex device) const { return cluster_.locate(device).group; }

 private:
  std::vector<DeviceIndex> devices_of_members(Group group, RankId rank) const;
  void fold();

  const StepProgram& program_;
  const Cluster& cluster_;
  const RankDevices devices_;
  bool folded_ = false;
  std::vector<std::uint32_t> colours_;                                       // by rank, when some are disturbed
  mutable std::map<std::pair<Group, std::int64_t>, std::uint32_t> leaders_;  // likewise, by group
  std::vector<SimulatedRank> ranks_;              // when folded: one for each class or colour, in order
  std::vector<std::vector<RankId>> equal_ranks_;  // likewise: those for which it stands
};

}  // namespace orrery::costmodel
