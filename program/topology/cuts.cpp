// SPDX-License-Identifier: Apache-2.0
#include "program/topology/cuts.h"

#include "base/check.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/connected_components.hpp>
#include <boost/graph/push_relabel_max_flow.hpp>

namespace orrery::topology {
namespace {

using Undirected = boost::adjacency_list<boost::vecS, boost::vecS, boost::undirectedS>;

using Traits = boost::adjacency_list_traits<boost::vecS, boost::vecS, boost::directedS>;
/// Capacities are whole megabytes per second: a flow of doubles can end in crumbs that are pushed to and fro for ever.
using Capacities = boost::adjacency_list<
    boost::vecS, boost::vecS, boost::directedS, boost::no_property,
    boost::property<boost::edge_capacity_t, std::int64_t,
                    boost::property<boost::edge_residual_capacity_t, std::int64_t,
                                    boost::property<boost::edge_reverse_t, Traits::edge_descriptor>>>>;

constexpr BytesPerSecond kGrain = 1e6 * unit::byte_per_second;

class FlowGraph {
 public:
  explicit FlowGraph(std::size_t num_places) : graph_(num_places) {}

  void add(std::size_t from, std::size_t to, std::int64_t capacity) {
    const auto forward = boost::add_edge(from, to, graph_).first, back = boost::add_edge(to, from, graph_).first;
    boost::put(boost::edge_capacity, graph_, forward, capacity);
    boost::put(boost::edge_capacity, graph_, back, 0);
    boost::put(boost::edge_reverse, graph_, forward, back);
    boost::put(boost::edge_reverse, graph_, back, forward);
  }

  std::int64_t max_flow(std::size_t from, std::size_t to) { return boost::push_relabel_max_flow(graph_, from, to); }

 private:
  Capacities graph_;
};

std::int64_t domain_of(const Topology& topology, std::int64_t device) {
  return topology.cluster().locate(DeviceIndex(static_cast<std::int32_t>(device))).domain;
}

std::int64_t half_of(const Topology& topology, std::int64_t num_domains) {
  if (num_domains == 1) return topology.num_devices() / 2;
  std::int64_t half = 0;
  while (domain_of(topology, half) < num_domains / 2) ++half;
  return half;
}

}  // namespace

std::vector<std::int64_t> islands(const Topology& topology) {
  const LinkGraph& graph = topology.graph();
  Undirected joined(graph.places.size());
  for (const Link& link : graph.links) boost::add_edge(link.from.index(), link.to.index(), joined);
  std::vector<std::size_t> component(graph.places.size());
  boost::connected_components(joined, component.data());
  std::map<std::size_t, std::int64_t> number;
  std::vector<std::int64_t> out;
  for (std::int32_t device = 0; device < topology.num_devices(); ++device) {
    const std::size_t found = component[topology.place_of(DeviceIndex(device)).index()];
    out.push_back(number.try_emplace(found, static_cast<std::int64_t>(number.size())).first->second);
  }
  return out;
}

Bisection bisection(const Topology& topology) {
  CHECK(topology.num_devices() >= 2, topology.num_devices());
  const LinkGraph& graph = topology.graph();
  // More than all finite links together cannot be the capacity of a cut of finite links.
  std::int64_t sum = 1;
  const auto capacity = [&](const Link& link) -> std::int64_t {
    const double grains = link.bandwidth.value_or(kUnlimited) / kGrain;
    return std::isinf(grains) ? -1 : std::llround(grains);
  };
  for (const Link& link : graph.links) sum += std::max<std::int64_t>(capacity(link), 0);
  FlowGraph flow(graph.places.size() + 2);
  const std::size_t source = graph.places.size(), sink = source + 1;
  const std::int64_t num_domains = domain_of(topology, topology.num_devices() - 1) + 1;
  for (const Link& link : graph.links) {
    // Within a domain nothing goes by the host.
    if (num_domains == 1 && link.kind == LinkKind::pcie) continue;
    const std::int64_t limit = capacity(link);
    flow.add(link.from.index(), link.to.index(), limit < 0 ? sum : limit);
  }
  const std::int64_t half = half_of(topology, num_domains);
  for (std::int64_t device = 0; device < topology.num_devices(); ++device) {
    const std::size_t place = topology.place_of(DeviceIndex(static_cast<std::int32_t>(device))).index();
    if (device < half) {
      flow.add(source, place, sum);
    } else {
      flow.add(place, sink, sum);
    }
  }
  const std::int64_t found = flow.max_flow(source, sink);
  return {.num_devices = half, .bandwidth = found >= sum ? kUnlimited : static_cast<double>(found) * kGrain};
}

}  // namespace orrery::topology
