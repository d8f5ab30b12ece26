// SPDX-License-Identifier: Apache-2.0
// Three parts of the house say which links a communication takes, written without each other: the topology by routes,
// the bounds by wiring, the cost model by path classes. Where they speak of the same, they must agree.
#include "base/rng.h"
#include "costmodel/collective_model.h"
#include "program/topology/path.h"
#include "program/topology/traffic.h"
#include "sim/least_time.h"
#include "tests/conformance/programs.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using topology::LinkKind;
using topology::LinkLoads;
using topology::Topology;

/// A cluster and a group on it of the same device indices in some of its domains, as a mesh places groups.
struct Case {
  Cluster cluster;
  std::vector<DeviceIndex> members;
};

Case random_case(std::uint64_t seed) {
  const CounterRng rng(2026, seed);
  std::uint64_t drawn = 0;
  const auto pick = [&](std::initializer_list<std::int64_t> of) { return of.begin()[rng.below(drawn++, of.size())]; };
  const std::int64_t per_node = pick({1, 2, 4, 8}), num_nodes = pick({3, 4, 6, 8});
  Case out{.cluster = testing::small_cluster(num_nodes, per_node), .members = {}};
  NodeGroup& group = out.cluster.groups[0];
  group.scale_up.span_nodes = num_nodes % 2 == 0 ? pick({1, 1, 2}) : 1;
  group.nics->per_node = per_node * pick({1, 1, 2}) / (per_node > 1 ? pick({1, 1, 2}) : 1);
  group.nics->rails = group.nics->per_node;
  out.cluster.fabric = {.kind = pick({0, 1}) == 0 ? FabricKind::rail_leaf_spine : FabricKind::fat_tree,
                        .nodes_per_leaf = 2 * pick({1, 2}),
                        .oversubscription = static_cast<double>(pick({1, 2, 3})),
                        .planes = pick({1, group.nics->per_node})};
  const std::int64_t in_domain = per_node * group.scale_up.span_nodes, used = pick({1, in_domain});
  for (std::int64_t d = 0; d < out.cluster.num_devices() / in_domain; ++d) {
    if (d > 1 && pick({0, 1, 1}) == 0) continue;
    for (std::int64_t i = 0; i < used; ++i) out.members.emplace_back(static_cast<std::int32_t>(d * in_domain + i));
  }
  return out;
}

/// The busiest link as the bounds count: ports by what stays within domains, since they do not know of traffic that
/// changes rails there; NICs; all uplinks of a leaf together, of whichever rail.
Seconds busiest(const Topology& topology, const LinkLoads& all, const LinkLoads& within) {
  Seconds time;
  std::map<std::string, std::pair<Bytes, BytesPerSecond>> uplinks;
  for (std::size_t i = 0; i < all.of.size(); ++i) {
    const topology::Link& link = topology.graph().links[i];
    if (link.kind == LinkKind::scale_up) time = std::max(time, within.of[i] / *link.bandwidth);
    if (link.kind == LinkKind::nic) time = std::max(time, all.of[i] / *link.bandwidth);
    if (link.kind != LinkKind::uplink) continue;
    const bool is_up = topology.graph()[link.from].kind == topology::PlaceKind::leaf;
    const std::string& leaf = topology.graph()[is_up ? link.from : link.to].name;
    auto& [load, rate] = uplinks[leaf.substr(0, leaf.find('.')) + (is_up ? " up" : " down")];
    load += all.of[i];
    rate += *link.bandwidth;
  }
  for (const auto& [leaf, use] : uplinks) time = std::max(time, use.first / use.second);
  return time;
}

bool same_domain(const Cluster& cluster, DeviceIndex a, DeviceIndex b) {
  return cluster.locate(a).domain == cluster.locate(b).domain;
}

TEST(TopologyAgreement, OfLinkLoadsWithTheBounds) {
  int num_cases = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Case at = random_case(seed);
    const auto n = static_cast<double>(at.members.size());
    if (at.members.size() < 2) continue;
    ++num_cases;
    SCOPED_TRACE(fmt::format("seed {}", seed));
    const Topology topology(at.cluster);
    constexpr double kSize = 1e6;
    topology::Traffic pairs(topology), pairs_within(topology), shift(topology), shift_within(topology);
    const auto send = [&](topology::Traffic& all, topology::Traffic& within, DeviceIndex a, DeviceIndex b,
                          double size) {
      EXPECT_TRUE(all.send(a, b, bytes(size)));
      if (same_domain(at.cluster, a, b)) within.send(a, b, bytes(size));
    };
    for (std::size_t i = 0; i < at.members.size(); ++i) {
      for (const DeviceIndex to : at.members) send(pairs, pairs_within, at.members[i], to, kSize / n);
      send(shift, shift_within, at.members[i], at.members[(i + 1) % at.members.size()], kSize);
    }
    const Members members{.cluster = at.cluster, .devices = at.members};
    const auto least = [&](CollectiveKind kind) {
      return least_time(CollectiveShape{.kind = kind, .bytes = static_cast<std::int64_t>(kSize)}, members).links;
    };
    EXPECT_NEAR(busiest(topology, pairs.loads(), pairs_within.loads()) / least(CollectiveKind::all_to_all), 1.0, 1e-9);
    EXPECT_NEAR(busiest(topology, shift.loads(), shift_within.loads()) / least(CollectiveKind::ring_shift), 1.0, 1e-9);
  }
  EXPECT_GT(num_cases, 150);
}

TEST(TopologyAgreement, OfPathsWithTheClassesOfTheCostModel) {
  const std::filesystem::path catalog = ORRERY_SOURCE_DIR "/catalog";
  for (const char* name : {"a100-64", "h100-64", "h800-2048"}) {
    const Cluster cluster = read_cluster(catalog / "clusters" / (std::string(name) + ".json"), catalog);
    const Topology topology(cluster);
    const costmodel::CollectiveModel model(cluster, {});
    for (const std::int32_t to : {1, 7, 8, 9, 63, 255, 256, 300, 2047}) {
      if (to >= cluster.num_devices()) continue;
      const auto path = path_between(topology, DeviceIndex(0), DeviceIndex(to));
      ASSERT_TRUE(path);
      const costmodel::CommTime time = model.peer({.bytes = 1 << 20}, DeviceIndex(0), DeviceIndex(to));
      ASSERT_EQ(time.num_legs, 1);
      constexpr std::string_view kClasses[] = {"node", "rail", "spine"};
      EXPECT_EQ(class_of(*path), kClasses[static_cast<std::size_t>(time.legs[0].path)]) << name << " " << to;
      EXPECT_EQ(path->bandwidth, time.legs[0].bandwidth) << name << " " << to;
    }
  }
}

}  // namespace
}  // namespace orrery::sim
