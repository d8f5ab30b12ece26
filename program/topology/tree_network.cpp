// SPDX-License-Identifier: Apache-2.0
// Leaf switches below spines, of one or several planes; with pods, spines below cores.
#include "base/check.h"
#include "program/topology/network.h"
#include "program/topology/uplinks.h"

#include <algorithm>
#include <map>
#include <vector>

#include <fmt/format.h>

namespace orrery::topology {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

class Tree : public Network {
 public:
  Tree(LinkGraph& graph, const Cluster& cluster, std::size_t group)
      : group_(group), num_nics_(cluster.groups[group].nics->per_node), num_planes_(cluster.fabric.planes) {
    const Fabric& fabric = cluster.fabric;
    const NodeGroup& nodes = cluster.groups[group];
    if (cluster.groups.size() > 1) prefix_ = fmt::format("{}.", nodes.name);
    has_pods_ = fabric.pods.has_value();
    has_rails_ = fabric.kind == FabricKind::rail_leaf_spine;
    num_rails_ = has_rails_ ? nodes.nics->rails : 1;
    const std::int64_t num_leaves = divide_up(nodes.num_nodes, fabric.nodes_per_leaf);
    leaves_of_pod_ = fabric.pods ? fabric.pods->leaves : num_leaves;

    const Upwards up = uplinks_of_switch(cluster, group);
    num_uplinks_ = static_cast<std::size_t>(up.num_links);
    for (std::int64_t leaf = 0; leaf < num_leaves; ++leaf) {
      for (std::int64_t rail = 0; rail < num_rails_; ++rail) add_leaf(graph, leaf, rail, num_leaves, up.each);
    }
    if (fabric.pods && num_leaves > leaves_of_pod_) add_cores(graph, *fabric.pods, up.each);
  }

  PlaceIndex switch_of(std::int64_t leaf, std::int64_t nic) const override {
    return leaves_[static_cast<std::size_t>(leaf * num_rails_ + nic % num_rails_)];
  }

  bool joins(std::int64_t rail, std::int64_t other) const override {
    return !has_rails_ || rail == other || rail % num_planes_ == other % num_planes_;
  }

  void route(PlaceIndex from, PlaceIndex to, double share, const Ways& ways, const LinkVisitor& visit) const override {
    const Leaf &source = at_.at(from), &destination = at_.at(to);
    CHECK(!source.uplinks.empty() && !destination.uplinks.empty(), from, to);
    ways.over(num_uplinks_, share, 0, [&](std::size_t i, double part) {
      visit(source.uplinks[i], part);
      if (source.pod != destination.pod) {
        const Spine &below = spines_.at(source.spines[i]), &above = spines_.at(destination.spines[i]);
        ways.over(below.cores.size(), part, 1, [&](std::size_t core, double rest) {
          visit(below.cores[core], rest);
          visit(reverse(above.cores[core]), rest);
        });
      }
      visit(reverse(destination.uplinks[i]), part);
    });
  }

 private:
  struct Leaf {
    std::int64_t pod = 0;
    std::vector<LinkIndex> uplinks;  // to the spines of its planes, in their order
    std::vector<PlaceIndex> spines;
  };
  struct Spine {
    std::vector<LinkIndex> cores;
  };

  std::int64_t plane_of(std::int64_t rail, std::int64_t uplink) const {
    return has_rails_ ? rail % num_planes_ : uplink / (static_cast<std::int64_t>(num_uplinks_) / num_planes_);
  }

  void add_leaf(LinkGraph& graph, std::int64_t leaf, std::int64_t rail, std::int64_t num_leaves,
                std::optional<BytesPerSecond> uplink) {
    std::string name = fmt::format("{}leaf{}", prefix_, leaf);
    if (has_rails_) name += fmt::format(".rail{}", rail);
    const PlaceIndex place = graph.add({PlaceKind::leaf, name, group_});
    leaves_.push_back(place);
    Leaf& added = at_[place];
    added.pod = leaf / leaves_of_pod_;
    const bool rails_meet = has_rails_ && num_planes_ < num_rails_;
    if (num_leaves == 1 && !rails_meet) return;  // nothing to reach by a spine
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(num_uplinks_); ++i) {
      const std::int64_t plane = plane_of(rail, i);
      std::string spine_name = prefix_;
      if (has_pods_) spine_name += fmt::format("pod{}.", added.pod);
      spine_name += fmt::format("plane{}.spine{}", plane, i);
      auto [spine, is_new] = spine_named_.try_emplace(spine_name);
      if (is_new) spine->second = graph.add({PlaceKind::spine, spine_name, group_, plane});
      if (is_new) spine_order_.push_back({spine->second, plane, i});
      added.spines.push_back(spine->second);
      added.uplinks.push_back(graph.join(place, spine->second, LinkKind::uplink, uplink));
      ++num_leaves_of_[spine->second];
    }
  }

  void add_cores(LinkGraph& graph, const Pods& pods, std::optional<BytesPerSecond> uplink) {
    std::int64_t below = 0;  // of a spine of a full pod
    for (const auto& [spine, number] : num_leaves_of_) below = std::max(below, number);
    const Upwards up = upwards(below, uplink, pods.oversubscription, 1, {});
    std::map<std::pair<std::int64_t, std::int64_t>, std::vector<PlaceIndex>> cores;  // by plane and spine of it
    for (const auto& [spine, plane, number] : spine_order_) {
      std::vector<PlaceIndex>& of_spine = cores[{plane, number}];
      for (std::int64_t i = 0; i < up.num_links; ++i) {
        if (static_cast<std::int64_t>(of_spine.size()) <= i) {
          of_spine.push_back(
              graph.add({PlaceKind::core, fmt::format("{}plane{}.spine{}.core{}", prefix_, plane, number, i), group_}));
        }
        spines_[spine].cores.push_back(
            graph.join(spine, of_spine[static_cast<std::size_t>(i)], LinkKind::core, up.each));
      }
    }
  }

  struct NumberedSpine {
    PlaceIndex place;
    std::int64_t plane = 0, number = 0;
  };

  std::size_t group_ = 0;
  std::int64_t num_nics_ = 1, num_planes_ = 1, num_rails_ = 1, leaves_of_pod_ = 1;
  std::size_t num_uplinks_ = 1;
  bool has_rails_ = false, has_pods_ = false;
  std::string prefix_;              // of names, where there are several groups
  std::vector<PlaceIndex> leaves_;  // by leaf and rail
  std::map<PlaceIndex, Leaf> at_;
  std::map<PlaceIndex, Spine> spines_;
  std::map<std::string, PlaceIndex> spine_named_;
  std::vector<NumberedSpine> spine_order_;
  std::map<PlaceIndex, std::int64_t> num_leaves_of_;
};

}  // namespace

std::unique_ptr<Network> add_tree(LinkGraph& graph, const Cluster& cluster, std::size_t group) {
  return std::make_unique<Tree>(graph, cluster, group);
}

}  // namespace orrery::topology
