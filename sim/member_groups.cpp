// SPDX-License-Identifier: Apache-2.0
#include "sim/member_groups.h"

#include "costmodel/op_timer.h"

#include <algorithm>
#include <set>

namespace orrery::sim {

using costmodel::Meeting;
using costmodel::MeetingIndex;
using costmodel::RankOp;
using costmodel::TimedProgram;
using costmodel::TimedRank;

MemberGroups::MemberGroups(const TimedProgram& timed, const Cluster& cluster)
    : timed_(timed),
      cluster_(cluster),
      is_folded_(static_cast<std::int64_t>(timed.ranks.size()) < timed.program->mesh.world()) {
  if (!is_folded_) return;
  on_node_.resize(timed.ranks.size());
  for (std::int32_t r = 0; r < timed.program->mesh.world(); ++r) {
    const std::uint32_t simulated = timed.simulated_of_rank[static_cast<std::size_t>(r)];
    const std::int64_t node = cluster.locate(timed.ranks[simulated].device).node;
    if (cluster.locate(timed.device_of_rank[static_cast<std::size_t>(r)]).node == node) {
      on_node_[simulated].emplace_back(r);
    }
  }
}

std::vector<DevicePlace> MemberGroups::devices_of(std::uint32_t simulated_rank) const {
  std::vector<DevicePlace> places;
  const auto add = [&](DeviceIndex device) {
    const Cluster::Location at = cluster_.locate(device);
    places.push_back({.node = at.node, .device = at.index});
  };
  if (is_folded_) {
    for (const RankId rank : on_node_[simulated_rank]) add(timed_.device_of_rank[rank.index()]);
  } else {
    add(timed_.ranks[simulated_rank].device);
  }
  return places;
}

const std::vector<MemberGroup>& MemberGroups::of(MeetingIndex index, RankOp op) {
  const Meeting& meeting = timed_.meetings[index];
  const auto participants = timed_.participants_of(index);
  const auto key = meeting.message ? std::tuple(true, participants.front(), participants.back())
                                   : std::tuple(false, meeting.first_participant, meeting.num_participants);
  const auto [known, is_new] = known_.try_emplace(key);
  if (!is_new) return known->second;
  if (is_folded_) {
    known->second = folded(meeting, op);
    return known->second;
  }
  std::vector<DeviceIndex> devices;
  for (const std::uint32_t rank : participants) devices.push_back(timed_.ranks[rank].device);
  if (!meeting.message && !timed_.device_of_rank.empty()) {  // in group order
    const Group group = costmodel::group_of(timed_.program->shapes[timed_.op(op).shape]);
    devices.clear();
    for (const RankId member : timed_.program->mesh.members(group, timed_.ranks[op.rank].view.rank)) {
      devices.push_back(timed_.device_of_rank[member.index()]);
    }
  }
  known->second.push_back(group_of(devices));
  return known->second;
}

MemberGroup MemberGroups::group_of(std::span<const DeviceIndex> devices) const {
  MemberGroup group;
  for (const DeviceIndex device : devices) {
    group.members.push_back(cluster_.locate(device));
    group.at.push_back({.node = group.members.back().node, .device = group.members.back().index});
    group.sends.push_back(true);
  }
  return group;
}

std::vector<MemberGroup> MemberGroups::folded(const Meeting& meeting, RankOp op) const {
  if (!meeting.message && meeting.num_participants > 1) return {};
  const Mesh& mesh = timed_.program->mesh;
  const Group kind = costmodel::group_of(timed_.program->shapes[timed_.op(op).shape]);
  std::vector<MemberGroup> groups;
  std::set<std::int64_t> seen;
  for (const RankId rank : on_node_[op.rank]) {
    std::vector<RankId> ids = mesh.members(kind, rank);
    if (meeting.message) {
      ids.insert(ids.begin(), rank);
    } else if (!seen.insert(mesh.group_index(kind, rank)).second) {
      continue;
    }
    groups.push_back(folded_group(ids));
    if (!is_shown(ids, groups.back(), meeting.message)) return {};
  }
  return groups;
}

MemberGroup MemberGroups::folded_group(std::span<const RankId> ids) const {
  MemberGroup group;
  for (const RankId id : ids) {
    const Cluster::Location at = cluster_.locate(timed_.device_of_rank[id.index()]);
    const TimedRank& stand_in = timed_.ranks[timed_.simulated_of_rank[id.index()]];
    const std::int64_t node = cluster_.locate(stand_in.device).node;
    group.members.push_back(at);
    group.at.push_back({.node = node, .device = at.index});
    group.sends.push_back(at.node == node);
  }
  return group;
}

bool MemberGroups::is_shown(std::span<const RankId> ids, const MemberGroup& group, bool message) const {
  std::map<std::int64_t, std::vector<DevicePlace>> by_node;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::vector<DevicePlace> simulated = devices_of(timed_.simulated_of_rank[ids[i].index()]);
    if (std::ranges::find(simulated, group.at[i]) == simulated.end()) return false;
    by_node[group.members[i].node].push_back(group.at[i]);
  }
  for (auto& [node, places] : by_node) std::ranges::sort(places);
  return message || std::ranges::all_of(by_node, [&](const auto& of) { return of.second == by_node.begin()->second; });
}

}  // namespace orrery::sim
