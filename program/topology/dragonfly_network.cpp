// SPDX-License-Identifier: Apache-2.0
// A dragonfly (Kim et al., ISCA 2008): groups of routers that are all joined with each other, and a few cables between
// each two groups. Routes are minimal: at most one router at either end of the one cable between the groups. Of several
// cables each takes its share.
#include "program/topology/network.h"

#include <map>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::topology {
namespace {

class Dragonfly : public Network {
 public:
  Dragonfly(LinkGraph& graph, const Cluster& cluster, std::size_t group)
      : num_groups_(cluster.fabric.dimensions.at(0)),
        num_routers_(cluster.fabric.dimensions.at(1)),
        num_cables_(cluster.fabric.num_global_links),
        first_(static_cast<std::int32_t>(graph.places.size())) {
    for (std::int64_t g = 0; g < num_groups_; ++g) {
      for (std::int64_t r = 0; r < num_routers_; ++r) {
        graph.add({PlaceKind::router, fmt::format("router{}.{}", g, r), group});
      }
    }
    for (std::int64_t g = 0; g < num_groups_; ++g) {
      for (std::int64_t r = 0; r < num_routers_; ++r) {
        for (std::int64_t s = r + 1; s < num_routers_; ++s) {
          add(graph, place(g, r), place(g, s), LinkKind::hop, cluster.fabric.link);
        }
      }
    }
    for (std::int64_t g = 0; g < num_groups_; ++g) {
      for (std::int64_t h = g + 1; h < num_groups_; ++h) {
        for (std::int64_t cable = 0; cable < num_cables_; ++cable) {
          global_[{g, h, cable}] =
              graph.join(end(g, h, cable), end(h, g, cable), LinkKind::global, cluster.fabric.global_link);
        }
      }
    }
  }

  PlaceIndex switch_of(std::int64_t leaf, std::int64_t) const override {
    return place(leaf / num_routers_, leaf % num_routers_);
  }
  bool joins(std::int64_t, std::int64_t) const override { return true; }

  void route(PlaceIndex from, PlaceIndex to, double share, const Ways& ways, const LinkVisitor& visit) const override {
    const std::int64_t g = group_of(from), h = group_of(to);
    if (g == h) {
      visit(local_.at({from, to}), share);
      return;
    }
    ways.over(static_cast<std::size_t>(num_cables_), share, 0, [&](std::size_t way, double part) {
      const auto cable = static_cast<std::int64_t>(way);
      const PlaceIndex out = end(g, h, cable), in = end(h, g, cable);
      if (out != from) visit(local_.at({from, out}), part);
      visit(g < h ? global_.at({g, h, cable}) : reverse(global_.at({h, g, cable})), part);
      if (in != to) visit(local_.at({in, to}), part);
    });
  }

 private:
  struct Cable {
    std::int64_t low = 0, high = 0, number = 0;
    friend auto operator<=>(const Cable&, const Cable&) = default;
  };

  PlaceIndex place(std::int64_t group, std::int64_t router) const {
    return PlaceIndex(first_ + static_cast<std::int32_t>(group * num_routers_ + router));
  }
  std::int64_t group_of(PlaceIndex router) const { return (router.value() - first_) / num_routers_; }

  /// The router of `group` that a cable to `other` is plugged into: cables are dealt out to the routers in turn,
  /// beginning with those to the next group.
  PlaceIndex end(std::int64_t group, std::int64_t other, std::int64_t cable) const {
    const std::int64_t ahead = (other - group - 1 + num_groups_) % num_groups_;
    return place(group, (ahead * num_cables_ + cable) % num_routers_);
  }

  void add(LinkGraph& graph, PlaceIndex a, PlaceIndex b, LinkKind kind, std::optional<BytesPerSecond> bandwidth) {
    const LinkIndex link = graph.join(a, b, kind, bandwidth);
    local_[{a, b}] = link;
    local_[{b, a}] = reverse(link);
  }

  std::int64_t num_groups_ = 1, num_routers_ = 1, num_cables_ = 1;
  std::int32_t first_ = 0;
  std::map<std::pair<PlaceIndex, PlaceIndex>, LinkIndex> local_;
  std::map<Cable, LinkIndex> global_;
};

}  // namespace

std::unique_ptr<Network> add_dragonfly(LinkGraph& graph, const Cluster& cluster, std::size_t group) {
  return std::make_unique<Dragonfly>(graph, cluster, group);
}

}  // namespace orrery::topology
