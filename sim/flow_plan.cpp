// SPDX-License-Identifier: Apache-2.0
#include "sim/flow_plan.h"

#include "base/check.h"

#include <algorithm>
#include <bitset>
#include <map>

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
  std::int64_t node = 0;
  double num_members = 0.0;
};

std::vector<Sender> senders_of(const TimedProgram& timed, const FlowPlan& plan, MeetingIndex meeting) {
  auto participants = timed.participants_of(meeting);
  if (timed.meetings[meeting].message) participants = participants.first(1);
  std::vector<Sender> senders;
  for (const std::uint32_t rank : participants) {
    const std::int64_t node = plan.node_of[rank];
    auto sender = std::ranges::find(senders, node, &Sender::node);
    if (sender == senders.end()) sender = senders.insert(sender, {.node = node});
    sender->num_members += static_cast<double>(timed.ranks[rank].represents_on_node);
  }
  return senders;
}

}  // namespace

FlowPlan plan_flows(const TimedProgram& timed, const Cluster& cluster, Fidelity fidelity) {
  FlowPlan plan;
  for (MeetingIndex meeting = 0; meeting < timed.meetings.size(); ++meeting) {
    plan.as_flows.push_back(fidelity == Fidelity::l1 && !needs_closed_form(timed, cluster, meeting));
    if (!plan.as_flows.back()) continue;
    for (const Leg& leg : timed.meetings[meeting].time.used_legs()) {
      plan.used[static_cast<std::size_t>(leg.path)] = true;
    }
  }
  std::map<std::int64_t, std::int64_t> num_flows;
  for (const TimedRank& rank : timed.ranks) {
    plan.node_of.push_back(cluster.locate(rank.device).node);
    num_flows[plan.node_of.back()] += num_flow_queues(timed, rank, plan.as_flows);
  }
  for (const auto& [node, number] : num_flows) plan.nodes.push_back({.node = node, .num_flows = number});
  return plan;
}

void append_flows(const TimedProgram& timed, const FlowPlan& plan, MeetingIndex meeting, std::vector<Flow>& flows) {
  CHECK(plan.as_flows[meeting], meeting);
  const std::vector<Sender> senders = senders_of(timed, plan, meeting);
  for (const Leg& leg : timed.meetings[meeting].time.used_legs()) {
    if (leg.bytes <= Bytes::zero()) continue;
    for (std::size_t i = 0; i < senders.size(); ++i) {
      std::int64_t to = senders[(i + 1) % senders.size()].node;
      if (leg.path == PathClass::node) to = senders[i].node;
      if (timed.meetings[meeting].message) to = plan.node_of[timed.participants_of(meeting).back()];
      flows.push_back({.path = leg.path,
                       .from = senders[i].node,
                       .to = to,
                       .size = leg.bytes * senders[i].num_members,
                       .cap = leg.bandwidth * senders[i].num_members});
    }
  }
}

}  // namespace orrery::sim
