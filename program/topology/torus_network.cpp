// SPDX-License-Identifier: Apache-2.0
// A torus of routers, each joined with the next in every dimension. Routes go dimension by dimension, the first one
// first, the shorter way round; where both are as long, by both.
#include "program/topology/network.h"

#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::topology {
namespace {

class Torus : public Network {
 public:
  Torus(LinkGraph& graph, const Cluster& cluster, std::size_t group)
      : first_(static_cast<std::int32_t>(graph.places.size())) {
    std::int64_t num_routers = 1;
    for (const std::int64_t size : cluster.fabric.dimensions) num_routers *= size;
    std::int64_t stride = num_routers;
    for (const std::int64_t size : cluster.fabric.dimensions) {
      stride /= size;  // the last dimension runs fastest
      dimensions_.push_back({.size = size, .stride = stride});
    }
    for (std::int64_t router = 0; router < num_routers; ++router) {
      std::vector<std::int64_t> coordinates;
      for (const Dimension& dimension : dimensions_) coordinates.push_back(dimension.coordinate(router));
      graph.add({PlaceKind::router, fmt::format("router{}", fmt::join(coordinates, ".")), group});
    }
    for (Dimension& dimension : dimensions_) {
      dimension.next.resize(static_cast<std::size_t>(num_routers));
      for (std::int64_t router = 0; router < num_routers; ++router) {
        const bool has_cable = dimension.size > 2 || (dimension.size == 2 && dimension.coordinate(router) == 0);
        if (!has_cable) continue;
        dimension.next[static_cast<std::size_t>(router)] =
            graph.join(place(router), place(dimension.moved(router, 1)), LinkKind::hop, cluster.fabric.link);
      }
    }
  }

  PlaceIndex switch_of(std::int64_t leaf, std::int64_t) const override { return place(leaf); }
  bool joins(std::int64_t, std::int64_t) const override { return true; }

  void route(PlaceIndex from, PlaceIndex to, double share, const Ways& ways, const LinkVisitor& visit) const override {
    std::int64_t here = from.value() - first_;
    const std::int64_t there = to.value() - first_;
    for (std::size_t d = 0; d < dimensions_.size(); ++d) {
      const Dimension& dimension = dimensions_[d];
      const std::int64_t size = dimension.size;
      const std::int64_t up = (dimension.coordinate(there) - dimension.coordinate(here) + size) % size;
      const std::int64_t down = size - up;
      if (up == 0) continue;
      if (up == down && size > 2) {
        ways.over(2, share, d,
                  [&](std::size_t way, double part) { dimension.walk(here, way == 0 ? up : -down, part, visit); });
      } else {
        dimension.walk(here, up <= down ? up : -down, share, visit);
      }
      here = dimension.moved(here, up);
    }
  }

 private:
  struct Dimension {
    std::int64_t size = 1, stride = 1;
    std::vector<LinkIndex> next;  // by router, to the following one; the cable between two is the first one's

    std::int64_t coordinate(std::int64_t router) const { return router / stride % size; }

    /// The router `steps` on, at most once round either way.
    std::int64_t moved(std::int64_t router, std::int64_t steps) const {
      const std::int64_t at = coordinate(router);
      return router + ((at + steps + size) % size - at) * stride;
    }

    /// `steps` routers on, or back if negative.
    void walk(std::int64_t here, std::int64_t steps, double share, const LinkVisitor& visit) const {
      const std::int64_t all = size * stride, first = here - coordinate(here) * stride;
      for (; steps != 0; steps += steps > 0 ? -1 : 1) {
        std::int64_t there = here + (steps > 0 ? stride : -stride);
        if (there < first) there += all;
        if (there >= first + all) there -= all;
        const LinkIndex own = next[static_cast<std::size_t>(here)], its = next[static_cast<std::size_t>(there)];
        const bool is_forward = steps > 0 ? !own.is_none() : its.is_none();
        visit(is_forward ? own : reverse(its), share);
        here = there;
      }
    }
  };

  PlaceIndex place(std::int64_t router) const { return PlaceIndex(first_ + static_cast<std::int32_t>(router)); }

  std::int32_t first_ = 0;
  std::vector<Dimension> dimensions_;
};

}  // namespace

std::unique_ptr<Network> add_torus(LinkGraph& graph, const Cluster& cluster, std::size_t group) {
  return std::make_unique<Torus>(graph, cluster, group);
}

}  // namespace orrery::topology
