// SPDX-License-Identifier: Apache-2.0
// Who the members of a communication are, down to devices, also where one simulated rank stands for many. A folded
// rank's node is then simulated whole: every device of it that does the same sends for itself, and what it sends to
// another node arrives at the device of its own node that is at the same place, as what others send does.
#pragma once

#include "costmodel/op_times.h"
#include "costmodel/timed_program.h"
#include "program/cluster.h"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

namespace orrery::sim {

/// A device, by its node (over the whole cluster) and its place in it.
struct DevicePlace {
  std::int64_t node = 0, device = 0;
  auto operator<=>(const DevicePlace&) const = default;
};

/// One communicator whose traffic is simulated.
struct MemberGroup {
  std::vector<Cluster::Location> members;  // in group order; of a message: sender, receiver
  std::vector<DevicePlace> at;             // of each member, or of the device that stands for it
  std::vector<bool> sends;                 // by member: whether it is simulated itself
};

class MemberGroups {
 public:
  MemberGroups(const costmodel::TimedProgram& timed, const Cluster& cluster);

  /// All groups whose traffic `meeting` stands for; `op` is one of its ops, the send of a message. The reference stays
  /// valid, and is the same for meetings of the same groups. None where the simulated ranks cannot show the traffic:
  /// where several of them stand for members of one group, or the groups of a class lie on nodes in different ways.
  const std::vector<MemberGroup>& of(costmodel::MeetingIndex meeting, costmodel::RankOp op);

  /// Devices that send or receive for a simulated rank: its own, or those of its node that do the same.
  std::vector<DevicePlace> devices_of(std::uint32_t simulated_rank) const;

 private:
  MemberGroup group_of(std::span<const DeviceIndex> devices) const;
  std::vector<MemberGroup> folded(const costmodel::Meeting& meeting, costmodel::RankOp op) const;
  /// Of the ranks in `ids`, a group of which some are simulated.
  MemberGroup folded_group(std::span<const RankId> ids) const;
  bool is_shown(std::span<const RankId> ids, const MemberGroup& group, bool message) const;

  const costmodel::TimedProgram& timed_;
  const Cluster& cluster_;
  bool is_folded_;
  std::vector<std::vector<RankId>> on_node_;  // by simulated rank, when folded: those on its node for which it stands
  std::map<std::tuple<bool, std::uint32_t, std::uint32_t>, std::vector<MemberGroup>> known_;
};

}  // namespace orrery::sim
