// SPDX-License-Identifier: Apache-2.0
#include "sim/flow_plan.h"

#include "base/check.h"

#include <algorithm>
#include <bitset>
#include <map>
#include <utility>

namespace orrery::sim {
namespace {

using costmodel::Leg;
using costmodel::MeetingIndex;
using costmodel::PathClass;
using costmodel::TimedProgram;
using costmodel::TimedRank;

/// Shared memory has no link, and communication that compute slows down has no fixed size: a flow cannot be slowed
/// once it is under way.
bool needs_closed_form(const TimedProgram& timed, const Cluster& cluster, MeetingIndex meeting) {
  const auto legs = timed.meetings[meeting].time.used_legs();
  const bool within_nodes = std::ranges::any_of(legs, [](const Leg& leg) { return leg.path == PathClass::node; });
  return std::ranges::any_of(timed.participants_of(meeting), [&](std::uint32_t index) {
    const TimedRank& rank = timed.ranks[index];
    const NodeGroup& group = cluster.groups[cluster.locate(rank.device).group];
    return rank.overlap.comm_slowdown > 0.0 || (within_nodes && group.scale_up.kind == ScaleUpKind::shared_memory);
  });
}

/// Queues on which a rank has flows: it has at most one communication under way on each of them.
std::int64_t num_flow_queues(const TimedProgram& timed, const TimedRank& rank, const std::vector<bool>& as_flows) {
  const std::vector<Op>& ops = timed.class_of(rank).ops;
  std::bitset<kNumQueues> queues;
  for (OpIndex op = 0; op < ops.size(); ++op) {
    const MeetingIndex meeting = rank.meeting[op];
    if (meeting != costmodel::kNoMeeting && as_flows[meeting]) queues.set(static_cast<std::size_t>(ops[op].queue));
  }
  return static_cast<std::int64_t>(queues.count());
}

/// A node and how many members of a communication are on it.
struct Sender {
  SiteIndex site = 0;
  double num_members = 0.0;
};

std::vector<Sender> senders_of(const TimedProgram& timed, const FlowPlan& plan, MeetingIndex meeting) {
  auto participants = timed.participants_of(meeting);
  if (timed.meetings[meeting].message) participants = participants.first(1);
  std::vector<Sender> senders;
  for (const std::uint32_t rank : participants) {
    const SiteIndex site = plan.site_of_rank[rank];
    auto sender = std::ranges::find(senders, site, &Sender::site);
    if (sender == senders.end()) sender = senders.insert(sender, {.site = site});
    sender->num_members += static_cast<double>(timed.ranks[rank].represents_on_node);
  }
  return senders;
}

/// The nodes of the simulated ranks, ascending.
std::vector<Site> node_sites(const TimedProgram& timed, const Cluster& cluster, const std::vector<bool>& as_flows) {
  std::map<std::int64_t, Site> sites;
  for (const TimedRank& rank : timed.ranks) {
    const std::int64_t node = cluster.locate(rank.device).node;
    Site& site = sites[node];
    site.node = node;
    site.num_lanes += num_flow_queues(timed, rank, as_flows);
    site.like_it = std::max(site.like_it, rank.nodes_on_leaf);
  }
  std::vector<Site> all;
  for (const auto& [node, site] : sites) all.push_back(site);
  return all;
}

}  // namespace

FlowPlan plan_flows(const TimedProgram& timed, const Cluster& cluster, Fidelity fidelity) {
  std::vector<bool> as_flows;
  PathClasses used = {};
  for (MeetingIndex meeting = 0; meeting < timed.meetings.size(); ++meeting) {
    as_flows.push_back(fidelity == Fidelity::l1 && !needs_closed_form(timed, cluster, meeting));
    if (!as_flows.back()) continue;
    for (const Leg& leg : timed.meetings[meeting].time.used_legs()) used[static_cast<std::size_t>(leg.path)] = true;
  }
  std::vector<Site> sites = node_sites(timed, cluster, as_flows);
  std::vector<SiteIndex> site_of_rank;
  for (const TimedRank& rank : timed.ranks) {
    const auto site = std::ranges::lower_bound(sites, cluster.locate(rank.device).node, {}, &Site::node);
    site_of_rank.push_back(static_cast<SiteIndex>(site - sites.begin()));
  }
  return {.as_flows = std::move(as_flows),
          .site_of_rank = std::move(site_of_rank),
          .network = Network(cluster, std::move(sites), used)};
}

void append_sends(const TimedProgram& timed, const FlowPlan& plan, MeetingIndex meeting, Sends& sends) {
  CHECK(plan.as_flows[meeting], meeting);
  const std::vector<Sender> senders = senders_of(timed, plan, meeting);
  for (const Leg& leg : timed.meetings[meeting].time.used_legs()) {
    if (leg.bytes <= Bytes::zero()) continue;
    for (std::size_t i = 0; i < senders.size(); ++i) {
      SiteIndex to = senders[(i + 1) % senders.size()].site;
      if (leg.path == PathClass::node) to = senders[i].site;
      if (timed.meetings[meeting].message) to = plan.site_of_rank[timed.participants_of(meeting).back()];
      sends.entries.push_back({.send = {.from = senders[i].site, .cap = leg.bandwidth * senders[i].num_members},
                               .first_part = static_cast<std::uint32_t>(sends.parts.size()),
                               .num_parts = 1});
      sends.parts.push_back({.path = leg.path, .to = to, .size = leg.bytes * senders[i].num_members});
    }
  }
}

}  // namespace orrery::sim
