// SPDX-License-Identifier: Apache-2.0
#include "program/topology/traffic.h"

#include "base/check.h"

namespace orrery::topology {

LinkIndex LinkLoads::busiest(const LinkGraph& graph) const {
  LinkIndex found;
  Seconds longest;
  for (std::size_t i = 0; i < of.size(); ++i) {
    const Seconds time = of[i] / graph.links[i].bandwidth.value_or(kUnlimited);
    if (time <= (1.0 + 1e-9) * longest) continue;  // of equal ones the first
    longest = time;
    found = LinkIndex(static_cast<std::int32_t>(i));
  }
  return found;
}

Seconds LinkLoads::time(const LinkGraph& graph) const {
  const LinkIndex link = busiest(graph);
  if (link.is_none()) return {};
  return of[link.index()] / graph[link].bandwidth.value_or(kUnlimited);
}

Traffic::Traffic(const Topology& topology)
    : topology_(topology),
      ends_{.of = std::vector<Bytes>(topology.graph().links.size())},
      flows_(static_cast<std::size_t>(topology.num_nics() * topology.num_nics())) {}

bool Traffic::send(DeviceIndex from, DeviceIndex to, Bytes size) {
  const auto num_nics = static_cast<std::size_t>(topology_.num_nics());
  return topology_.route_to_nics(
      from, to, [&](LinkIndex link, double share) { ends_.of[link.index()] += size * share; },
      [&](Topology::NicFlow flow) { flows_[flow.from * num_nics + flow.to] += size * flow.share; });
}

LinkLoads Traffic::loads(std::optional<std::uint64_t> seed) const {
  const auto num_nics = static_cast<std::size_t>(topology_.num_nics());
  LinkLoads loads = ends_;
  for (std::size_t i = 0; i < flows_.size(); ++i) {
    if (flows_[i] <= Bytes::zero()) continue;
    const Topology::NicFlow flow{.from = i / num_nics, .to = i % num_nics, .share = 1.0};
    const Ways ways = seed ? topology_.drawn(*seed, flow) : Ways::balanced();
    topology_.route_nics(flow, ways,
                         [&](LinkIndex link, double share) { loads.of[link.index()] += flows_[i] * share; });
  }
  return loads;
}

Traffic all_to_all(const Topology& topology, std::span<const DeviceIndex> members, Bytes size) {
  Traffic traffic(topology);
  for (const DeviceIndex from : members) {
    for (const DeviceIndex to : members) CHECK(traffic.send(from, to, size), from, to);
  }
  return traffic;
}

Traffic ring(const Topology& topology, std::span<const DeviceIndex> members, Bytes size) {
  Traffic traffic(topology);
  for (std::size_t i = 0; i < members.size(); ++i) {
    const DeviceIndex to = members[(i + 1) % members.size()];
    CHECK(traffic.send(members[i], to, size), members[i], to);
  }
  return traffic;
}

}  // namespace orrery::topology
