// SPDX-License-Identifier: Apache-2.0
// Which communications of a timed program travel as flows, at which fidelity, and between which sites. What each of
// them sends is in sim/sends.h. Nothing here runs.
#pragma once

#include "costmodel/op_times.h"
#include "costmodel/timed_program.h"
#include "program/cluster.h"
#include "program/fidelity.h"
#include "sim/leaf_shares.h"
#include "sim/member_groups.h"
#include "sim/network.h"
#include "sim/routes.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

namespace orrery::sim {

struct FlowPlan {
  std::vector<Fidelity> fidelity;        // by meeting, as it is run: L0 is closed form
  std::vector<costmodel::RankOp> op_of;  // by meeting: one of its ops, of a message the send
  std::vector<SiteIndex> site_of_rank;   // by simulated rank: its node
  std::map<std::int64_t, SiteIndex> node_sites;
  std::map<DevicePlace, SiteIndex> device_sites;  // where something is at L3
  std::unique_ptr<MemberGroups> groups;           // where something is at L2 or L3
  std::unique_ptr<LeafShares> shares;             // where uplinks can be full, at L1
  std::vector<Site> sites;
  SiteIndex first_site = 0;         // of the network, once the plan is in one
  PathClasses used = {};            // path classes that carry flows
  std::shared_ptr<Routes> routes;   // of flows in pairs; null: none has one of its own
  std::set<RoutedEnd> routed_ends;  // that they can have
  /// Pairs of one sender that are under way at a time, at L2 and L3. Equal ones go one after the other, and all senders
  /// keep step. Where sizes differ that would leave hot receivers idle, and on routes of their own links: there all go
  /// at once, each as heavy as it is large, so that they end at few dates. Of different sizes and more than 12 000 in
  /// an exchange only as many as SimGrid takes for long: 2000 over the number of sites.
  std::size_t at_once = 1;

  std::int64_t node_of(SiteIndex site) const { return sites[site - first_site].node; }
  bool is_flow(costmodel::MeetingIndex meeting) const { return fidelity[meeting] != Fidelity::l0; }
};

/// Shared memory has no link, and a flow cannot be slowed by compute once it is under way: such communications are L0
/// whatever was asked. Where the simulated ranks cannot show pairs (sim/member_groups.h), L2 and L3 are L1; so is a
/// message at L2, which has only one pair of nodes.
/// `routes`: of the pairs of L2 and L3, messages at L2 among them; null where flows know ports alone.
/// Complexity: linear in the ops of the simulated ranks.
FlowPlan plan_flows(const costmodel::TimedProgram& timed, const Cluster& cluster, const Fidelities& fidelities,
                    std::shared_ptr<Routes> routes = nullptr);

/// Whether a router makes the pairs of the communication of `op` differ.
bool is_decided(const costmodel::TimedProgram& timed, costmodel::RankOp op);

/// Whether some communication is to be shown in pairs, L2 or L3.
bool are_in_pairs(const Fidelities& fidelities);

/// What is simulated where nobody said at which level, `fidelities` being those that stand in the program: L2 where
/// groups meet on cables between routers, since only flows in pairs take them. Returns whether that changes something.
bool prefer_pairs(Fidelities& fidelities, const Cluster& cluster);

/// Whether a rank that stands for others would change the step: in pairs, the first and the last node of a ring below a
/// leaf use its uplinks and those between do not; and so where flows have routes of their own, which are of one pair
/// and of no other. Every rank is then to be simulated (RunInput::all_ranks).
bool need_every_rank(const Fidelities& fidelities, const Cluster& cluster, bool links_change, bool hashed = false);

/// The network of one job or several: the sites of all, which share the ports of their nodes. Its indices of sites are
/// those of the plans from then on. `links_change`: any port can bind then.
/// Throws: ConfigError when the cluster does not give a bandwidth that is needed.
/// Requires: of several jobs every rank is simulated, else they cannot know what they share; `plans` were in no
/// network.
Network join_network(const Cluster& cluster, std::span<FlowPlan> plans, bool links_change);

}  // namespace orrery::sim
