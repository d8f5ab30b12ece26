// SPDX-License-Identifier: Apache-2.0
#include "sim/leaf_shares.h"

#include "base/check.h"
#include "costmodel/op_timer.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

namespace orrery::sim {
namespace {

using costmodel::MeetingIndex;
using costmodel::RankOp;

double ratio(std::int64_t part, std::int64_t all) {
  return all == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(all);
}

/// Each member to those of all other domains.
double share_of_exchange(std::span<const Cluster::Location> members, const Cluster::Location& from) {
  std::int64_t others = 0, below = 0;
  for (const Cluster::Location& member : members) {
    if (member.domain == from.domain) continue;
    ++others;
    if (member.leaf == from.leaf) ++below;
  }
  return ratio(below, others);
}

/// From each place of a cycle to the next one, by all that lie below the leaf of `from`.
double share_of_cycle(std::span<const Cluster::Location> cycle, const Cluster::Location& from) {
  std::int64_t hops = 0, below = 0;
  for (std::size_t i = 0; i < cycle.size(); ++i) {
    const Cluster::Location& next = cycle[(i + 1) % cycle.size()];
    if (cycle[i].leaf != from.leaf || cycle[i].domain == next.domain) continue;
    ++hops;
    if (next.leaf == from.leaf) ++below;
  }
  return ratio(below, hops);
}

}  // namespace

double share_below_leaf(Pattern pattern, std::span<const Cluster::Location> members, const Cluster::Location& from) {
  CHECK(pattern != Pattern::message);
  if (pattern == Pattern::all_to_all || pattern == Pattern::two_level) return share_of_exchange(members, from);
  if (pattern == Pattern::shift) return share_of_cycle(members, from);
  // A ring goes through domains in their order, whatever that of the group is (sim/pair_traffic.cpp).
  std::vector<Cluster::Location> domains(members.begin(), members.end());
  std::ranges::sort(domains, {}, &Cluster::Location::domain);
  const auto repeated = std::ranges::unique(domains, {}, &Cluster::Location::domain);
  domains.erase(repeated.begin(), repeated.end());
  return share_of_cycle(domains, from);
}

SharesBelow LeafShares::shares(Pattern pattern, std::span<const Cluster::Location> members,
                               const Cluster::Location& from) const {
  SharesBelow below{.leaf = share_below_leaf(pattern, members, from), .pod = 1.0};
  if (!pods_.bind()) return below;
  std::vector<Cluster::Location> in_pods;
  for (const Cluster::Location& member : members) in_pods.push_back(pods_.as_leaf(member));
  below.pod = share_below_leaf(pattern, in_pods, pods_.as_leaf(from));
  return below;
}

SharesBelow LeafShares::of(MeetingIndex meeting, RankOp op, Pattern pattern, std::uint32_t rank) {
  std::vector<Cluster::Location> members;
  if (timed_.device_of_rank.empty()) {  // no mesh says who the members are
    for (const std::uint32_t member : timed_.participants_of(meeting)) {
      members.push_back(cluster_.locate(timed_.ranks[member].device));
    }
    return shares(pattern, members, cluster_.locate(timed_.ranks[rank].device));
  }
  const Group kind = costmodel::group_of(timed_.program->shapes[timed_.op(op).shape]);
  const auto [known, is_new] = known_.try_emplace({pattern, kind, rank});
  if (!is_new) return known->second;
  const Mesh& mesh = timed_.program->mesh;
  const auto place_of = [&](RankId id) { return cluster_.locate(timed_.device_of_rank[id.index()]); };
  std::set<std::pair<std::int64_t, std::int64_t>> asked;  // groups, and leaves with members of them
  for (std::size_t r = 0; r < timed_.simulated_of_rank.size(); ++r) {
    if (timed_.simulated_of_rank[r] != rank) continue;
    const RankId id(static_cast<std::int32_t>(r));
    const Cluster::Location from = place_of(id);
    if (!asked.insert({mesh.group_index(kind, id), from.leaf}).second) continue;
    members.clear();
    for (const RankId member : mesh.members(kind, id)) members.push_back(place_of(member));
    const SharesBelow here = shares(pattern, members, from);
    known->second.leaf = std::min(known->second.leaf, here.leaf);
    known->second.pod = std::min(known->second.pod, here.pod);
  }
  return known->second;
}

}  // namespace orrery::sim
