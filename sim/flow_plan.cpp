// SPDX-License-Identifier: Apache-2.0
#include "sim/flow_plan.h"

#include "sim/pod_links.h"
#include "sim/sends.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>
#include <variant>

namespace orrery::sim {
namespace {

using costmodel::Leg;
using costmodel::MeetingIndex;
using costmodel::PathClass;
using costmodel::RankOp;
using costmodel::TimedProgram;
using costmodel::TimedRank;

// What SimGrid 3.32 takes for a completion grows with the flows there are (docs/design/simgrid.md).
constexpr std::size_t kFlowsAtOnce = 2000, kMostFlows = 12000;
constexpr std::size_t kAllAtOnce = std::numeric_limits<std::size_t>::max();

bool uses_network(const TimedProgram& timed, MeetingIndex meeting, bool network) {
  const auto legs = timed.time_of(meeting).used_legs();
  return std::ranges::any_of(legs, [&](const Leg& leg) { return is_network(leg.path) == network; });
}

bool needs_closed_form(const TimedProgram& timed, const Cluster& cluster, MeetingIndex meeting) {
  const bool within_nodes = uses_network(timed, meeting, false);
  return std::ranges::any_of(timed.participants_of(meeting), [&](std::uint32_t index) {
    const TimedRank& rank = timed.ranks[index];
    const NodeGroup& group = cluster.groups[cluster.locate(rank.device).group];
    return rank.overlap.comm_slowdown > 0.0 || (within_nodes && group.scale_up.kind == ScaleUpKind::shared_memory);
  });
}

/// Whether pairs of the group exist for every leg: links within a domain and between them.
bool has_pairs(const TimedProgram& timed, MeetingIndex meeting, const MemberGroup& group) {
  std::set<std::int64_t> domains;
  for (const Cluster::Location& member : group.members) domains.insert(member.domain);
  if (uses_network(timed, meeting, true) && domains.size() < 2) return false;
  return !uses_network(timed, meeting, false) || domains.size() < group.members.size();
}

class Planner {
 public:
  Planner(const TimedProgram& timed, const Cluster& cluster, const Fidelities& fidelities,
          std::shared_ptr<Routes> routes)
      : timed_(timed),
        cluster_(cluster),
        fidelities_(fidelities),
        uplinks_bind_(cluster.fabric.oversubscription > 1.0 || timed.disturbances.on_links() ||
                      (routes != nullptr && routes->pods() != nullptr)),
        groups_(std::make_unique<MemberGroups>(timed, cluster)),
        routes_(std::move(routes)) {}

  FlowPlan plan() {
    find_ops();
    for (MeetingIndex meeting = 0; meeting < timed_.meetings.size(); ++meeting) {
      fidelity_.push_back(fidelity_of(meeting));
      note_paths(meeting);
    }
    add_sites();
    std::vector<SiteIndex> site_of_rank;
    for (const TimedRank& rank : timed_.ranks) {
      site_of_rank.push_back(node_sites_.at(cluster_.locate(rank.device).node));
    }
    FlowPlan plan{.fidelity = std::move(fidelity_),
                  .op_of = std::move(op_of_),
                  .site_of_rank = std::move(site_of_rank),
                  .node_sites = std::move(node_sites_),
                  .device_sites = std::move(device_sites_),
                  .groups = std::move(groups_),
                  .shares = uplinks_bind_ ? std::make_unique<LeafShares>(timed_, cluster_) : nullptr,
                  .sites = std::move(sites_),
                  .used = used_,
                  .routes = std::move(routes_),
                  .routed_ends = {},
                  .at_once = 1};
    if (!is_balanced(timed_.load)) plan.at_once = num_at_once(plan.sites);
    if (plan.routes != nullptr) {
      const bool of_pods = plan.routes->pods() != nullptr;
      plan.at_once = of_pods ? num_at_once(plan.sites) : kAllAtOnce;
      if (of_pods) let_nodes_stand(*plan.routes);
      plan.routed_ends = SendMaker(timed_, plan).routed_ends();
    }
    return plan;
  }

 private:
  std::size_t num_at_once(const std::vector<Site>& sites) const {
    const auto senders =
        static_cast<std::size_t>(std::ranges::count_if(sites, [](const Site& site) { return site.num_lanes > 0; }));
    if (senders * static_cast<std::size_t>(timed_.program->mesh.ep()) <= kMostFlows) return kAllAtOnce;
    return std::max<std::size_t>(kFlowsAtOnce / senders, 1);
  }

  /// How many nodes of its pod each simulated node stands for.
  void let_nodes_stand(Routes& routes) const {
    if (timed_.device_of_rank.empty()) return;
    const auto node_of = [&](DeviceIndex device) { return cluster_.locate(device).node; };
    std::map<std::int64_t, std::set<std::int64_t>> stands_for;
    for (std::size_t r = 0; r < timed_.simulated_of_rank.size(); ++r) {
      const std::int64_t node = node_of(timed_.device_of_rank[r]);
      const std::int64_t simulated = node_of(timed_.ranks[timed_.simulated_of_rank[r]].device);
      if (routes.pods()->of(node) == routes.pods()->of(simulated)) stands_for[simulated].insert(node);
    }
    std::map<std::int64_t, std::optional<std::int64_t>> of_pod;
    for (const auto& [simulated, nodes] : stands_for) {
      const auto number = static_cast<std::int64_t>(nodes.size());
      const auto [pod, is_new] = of_pod.try_emplace(routes.pods()->of(simulated), number);
      if (pod->second != number) pod->second.reset();
    }
    for (const auto& [simulated, nodes] : stands_for) routes.let_stand(simulated, of_pod[routes.pods()->of(simulated)]);
  }

  void find_ops() {
    op_of_.assign(timed_.meetings.size(), {.rank = ~std::uint32_t{0}});
    for (std::uint32_t rank = 0; rank < timed_.ranks.size(); ++rank) {
      const std::vector<MeetingIndex>& meetings = timed_.ranks[rank].meeting;
      for (OpIndex op = 0; op < meetings.size(); ++op) {
        const MeetingIndex meeting = meetings[op];
        if (meeting == costmodel::kNoMeeting || op_of_[meeting].rank != ~std::uint32_t{0}) continue;
        if (timed_.participants_of(meeting).front() == rank) op_of_[meeting] = {.rank = rank, .op = op};
      }
    }
  }

  Fidelity fidelity_of(MeetingIndex meeting) {
    const Fidelity asked = fidelities_.of(timed_.op(op_of_[meeting]).key.op);
    const costmodel::CommTime& time = timed_.time_of(meeting);
    if (asked == Fidelity::l0 || needs_closed_form(timed_, cluster_, meeting)) return Fidelity::l0;
    if (asked == Fidelity::l1 || time.num_legs == 0) return Fidelity::l1;
    if (timed_.meetings[meeting].message && asked == Fidelity::l2 && routes_ == nullptr) return Fidelity::l1;
    const std::vector<MemberGroup>& groups = groups_->of(meeting, op_of_[meeting]);
    const bool shown = !groups.empty() && std::ranges::all_of(groups, [&](const MemberGroup& group) {
      return has_pairs(timed_, meeting, group);
    });
    return shown ? asked : Fidelity::l1;
  }

  void note_paths(MeetingIndex meeting) {
    if (fidelity_[meeting] == Fidelity::l0) return;
    for (const Leg& leg : timed_.time_of(meeting).used_legs()) {
      used_[static_cast<std::size_t>(leg.path)] = true;
      // What stays below a leaf goes by rail though the whole communication is wider.
      const bool apart = fidelity_[meeting] > Fidelity::l1 || (uplinks_bind_ && !timed_.meetings[meeting].message);
      if (apart && leg.path == PathClass::spine) used_[static_cast<std::size_t>(PathClass::rail)] = true;
    }
  }

  /// A site can send in as many communications at once as its ranks have queues with flows, and its groups on each.
  void add_sites() {
    std::map<DevicePlace, std::int64_t> device_lanes;
    std::map<std::int64_t, Site> nodes;
    for (std::uint32_t index = 0; index < timed_.ranks.size(); ++index) {
      const TimedRank& rank = timed_.ranks[index];
      // By queue: how many sends of its node are in one communication, one for each group at L2; 0 without flows.
      std::array<std::int64_t, kNumQueues> node_sends{};
      std::array<bool, kNumQueues> device_sends{};
      bool receives = false;  // by itself though nodes send
      const std::vector<Op>& ops = timed_.class_of(rank).ops;
      for (OpIndex op = 0; op < ops.size(); ++op) {
        const MeetingIndex meeting = rank.meeting[op];
        if (meeting == costmodel::kNoMeeting || fidelity_[meeting] == Fidelity::l0) continue;
        const auto queue = static_cast<std::size_t>(ops[op].queue);
        if (fidelity_[meeting] == Fidelity::l3) {
          device_sends[queue] = true;
          continue;
        }
        if (fidelity_[meeting] == Fidelity::l2 && is_decided(timed_, {.rank = index, .op = op})) receives = true;
        const std::int64_t sends = fidelity_[meeting] == Fidelity::l2 ? rank.represents_on_node : 1;
        node_sends[queue] = std::max(node_sends[queue], sends);
      }
      const std::int64_t node = cluster_.locate(rank.device).node;
      Site& site = nodes[node];
      site.node = node;
      site.like_it = std::max(site.like_it, rank.nodes_on_leaf);
      for (const std::int64_t sends : node_sends) site.num_lanes += sends;
      const std::int64_t lanes = std::ranges::count(device_sends, true);
      if (lanes == 0 && !receives) continue;
      for (const DevicePlace& place : groups_->devices_of(index)) device_lanes[place] += lanes;
    }
    for (const auto& [node, site] : nodes) {
      node_sites_[node] = static_cast<SiteIndex>(sites_.size());
      sites_.push_back(site);
    }
    for (const auto& [place, lanes] : device_lanes) {
      device_sites_[place] = static_cast<SiteIndex>(sites_.size());
      sites_.push_back(
          {.node = place.node, .device = place.device, .num_lanes = lanes, .like_it = nodes.at(place.node).like_it});
    }
  }

  const TimedProgram& timed_;
  const Cluster& cluster_;
  const Fidelities& fidelities_;
  const bool uplinks_bind_;
  std::unique_ptr<MemberGroups> groups_;
  std::shared_ptr<Routes> routes_;
  std::vector<Fidelity> fidelity_;
  std::vector<RankOp> op_of_;
  PathClasses used_ = {};
  std::vector<Site> sites_;
  std::map<std::int64_t, SiteIndex> node_sites_;
  std::map<DevicePlace, SiteIndex> device_sites_;
};

}  // namespace

FlowPlan plan_flows(const TimedProgram& timed, const Cluster& cluster, const Fidelities& fidelities,
                    std::shared_ptr<Routes> routes) {
  return Planner(timed, cluster, fidelities, std::move(routes)).plan();
}

bool is_decided(const TimedProgram& timed, RankOp op) {
  return !is_balanced(timed.load) && std::holds_alternative<ExchangeShape>(timed.program->shapes[timed.op(op).shape]);
}

bool are_in_pairs(const Fidelities& fidelities) {
  return fidelities.of_others > Fidelity::l1 ||
         std::ranges::any_of(fidelities.of_op, [](const auto& op) { return op.second > Fidelity::l1; });
}

bool prefer_pairs(Fidelities& fidelities, const Cluster& cluster) {
  if (fidelities != Fidelities() || !topology::has_routers(cluster.fabric)) return false;
  fidelities = Fidelity::l2;
  return true;
}

bool need_every_rank(const Fidelities& fidelities, const Cluster& cluster, bool links_change, bool hashed) {
  const bool uplinks_bind = links_change || cluster.fabric.oversubscription > 1.0;
  return are_in_pairs(fidelities) && (have_routes(cluster, hashed) || PodLinks(cluster).bind() ||
                                      (uplinks_bind && cluster.fabric.nodes_per_leaf > 1));
}

Network join_network(const Cluster& cluster, std::span<FlowPlan> plans, bool links_change) {
  std::vector<Site> sites;
  PathClasses used = {};
  std::set<RoutedEnd> ends;
  for (FlowPlan& plan : plans) {
    const auto first = static_cast<SiteIndex>(sites.size());
    plan.first_site = first;
    for (SiteIndex& site : plan.site_of_rank) site += first;
    for (auto& [node, site] : plan.node_sites) site += first;
    for (auto& [place, site] : plan.device_sites) site += first;
    sites.insert(sites.end(), plan.sites.begin(), plan.sites.end());
    for (std::size_t path = 0; path < kNumPathClasses; ++path) used[path] |= plan.used[path];
    for (RoutedEnd end : plan.routed_ends) {
      end.to += first;
      ends.insert(end);
    }
  }
  Network network(cluster, std::move(sites), used);
  if (!ends.empty()) network.set_routes(plans.front().routes, std::move(ends));
  if (links_change) network.let_all_bind();
  return network;
}

}  // namespace orrery::sim
