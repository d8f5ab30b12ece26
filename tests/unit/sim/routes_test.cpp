// SPDX-License-Identifier: Apache-2.0
#include "sim/routes.h"

#include "base/errors.h"
#include "program/topology/traffic.h"
#include "tests/conformance/programs.h"

#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using orrery::testing::small_cluster;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

DeviceIndex device(std::int32_t number) { return DeviceIndex(number); }

/// Names of the links of each way, and its share.
std::vector<std::pair<std::vector<std::string>, double>> named(Routes& routes, const Cluster& cluster,
                                                               std::int32_t from, std::int32_t to) {
  std::vector<std::pair<std::vector<std::string>, double>> ways;
  for (const Routes::Way& way : routes.between(cluster.locate(device(from)), cluster.locate(device(to)))) {
    auto& [names, share] = ways.emplace_back();
    for (const std::uint32_t link : routes.links_of(way.route)) names.push_back(routes.links()[link].name);
    share = way.share;
  }
  return ways;
}

Cluster torus_of(std::vector<std::int64_t> dimensions) {
  std::int64_t num_nodes = 1;
  for (const std::int64_t size : dimensions) num_nodes *= size;
  Cluster cluster = small_cluster(num_nodes, 2);
  cluster.fabric = {.kind = FabricKind::torus,
                    .dimensions = std::move(dimensions),
                    .link = bytes_per_second(10e9),
                    .hop_latency = microseconds(1)};
  return cluster;
}

using Names = std::vector<std::string>;

TEST(Routes, OfATorusAreThoseBetweenRouters) {
  const Cluster cluster = torus_of({4});
  Routes routes(cluster, {});
  EXPECT_FALSE(routes.replace_uplinks());
  EXPECT_THAT(named(routes, cluster, 0, 2), ElementsAre(std::pair(Names{"router0 -> router1"}, 1.0)));
  EXPECT_THAT(named(routes, cluster, 1, 7), ElementsAre(std::pair(Names{"router0 -> router3"}, 1.0)));
  EXPECT_THAT(named(routes, cluster, 0, 4),
              ElementsAre(std::pair(Names{"router0 -> router1", "router1 -> router2"}, 0.5),
                          std::pair(Names{"router0 -> router3", "router3 -> router2"}, 0.5)));
  EXPECT_THAT(named(routes, cluster, 0, 1), ElementsAre(std::pair(Names{}, 1.0)));
  for (const RouteLink& link : routes.links()) {
    EXPECT_EQ(link.label, "router");
    EXPECT_EQ(link.bandwidth, bytes_per_second(10e9));
  }
}

TEST(Routes, AreKnownAgainByWhatTheyCross) {
  const Cluster cluster = torus_of({4});
  Routes routes(cluster, {});
  const auto route = [&](std::int32_t from, std::int32_t to) {
    return routes.between(cluster.locate(device(from)), cluster.locate(device(to))).front().route;
  };
  EXPECT_EQ(route(0, 2), route(1, 3));
  EXPECT_NE(route(0, 2), route(2, 0));
  EXPECT_EQ(route(0, 1), kPooled);
}

TEST(Routes, ThatAreDrawnCarryWhatTheTopologySays) {
  Cluster cluster = small_cluster(8, 2);
  cluster.fabric = {.kind = FabricKind::rail_leaf_spine, .nodes_per_leaf = 4, .planes = 2};
  const topology::Topology topology(cluster);
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    Routes routes(cluster, seed);
    EXPECT_TRUE(routes.replace_uplinks());
    topology::Traffic traffic(topology);
    std::map<std::string, double> loads;
    for (std::int32_t from = 0; from < 16; ++from) {
      for (std::int32_t to = 0; to < 16; ++to) {
        EXPECT_TRUE(traffic.send(device(from), device(to), bytes(1)));
        if (from == to) continue;
        double all = 0.0;
        for (const auto& [names, share] : named(routes, cluster, from, to)) {
          all += share;
          for (const std::string& name : names) loads[name] += share;
        }
        EXPECT_NEAR(all, 1.0, 1e-12);
      }
    }
    const topology::LinkLoads expected = traffic.loads(seed);
    const topology::LinkGraph& graph = topology.graph();
    std::size_t num_loaded = 0;
    for (std::size_t i = 0; i < graph.links.size(); ++i) {
      const topology::Link& link = graph.links[i];
      if (link.kind != topology::LinkKind::uplink || expected.of[i] <= Bytes::zero()) continue;
      ++num_loaded;
      EXPECT_NEAR(loads[graph[link.from].name + " -> " + graph[link.to].name], expected.of[i].in(unit::byte), 1e-9);
    }
    EXPECT_EQ(num_loaded, loads.size());
    EXPECT_GE(num_loaded, 8U);
  }
}

TEST(Routes, NameThePlanesPodsAndGroupsThatLinksLeadTo) {
  Cluster cluster = small_cluster(8, 2);
  cluster.fabric = {.kind = FabricKind::rail_leaf_spine, .nodes_per_leaf = 2, .planes = 2, .pods = Pods{.leaves = 2}};
  Routes of_tree(cluster, 1);
  EXPECT_THAT(named(of_tree, cluster, 0, 14).front().first.size(), 4);  // up, over a core, down
  std::map<std::string, int> labels;
  for (std::int32_t to = 1; to < 16; ++to) named(of_tree, cluster, to % 2, to);
  for (const RouteLink& link : of_tree.links()) ++labels[link.label];
  EXPECT_THAT(labels, ElementsAre(::testing::Key("core"), ::testing::Key("uplink, plane 0"),
                                  ::testing::Key("uplink, plane 1")));
  cluster.fabric = {.kind = FabricKind::dragonfly,
                    .dimensions = {4, 2},
                    .link = bytes_per_second(10e9),
                    .global_link = bytes_per_second(20e9)};
  Routes of_dragonfly(cluster, {});
  labels.clear();
  for (std::int32_t to = 2; to < 16; to += 2) named(of_dragonfly, cluster, 0, to);
  for (const RouteLink& link : of_dragonfly.links()) ++labels[link.label];
  EXPECT_THAT(labels, ElementsAre(::testing::Key("dragonfly group"), ::testing::Key("router")));
}

TEST(Routes, AreOfRoutersOrDrawn) {
  const Cluster tree = small_cluster(4, 2), torus = torus_of({4});
  EXPECT_EQ(routes_of(tree, {}, true), nullptr);
  EXPECT_NE(routes_of(tree, 1, true), nullptr);
  EXPECT_NE(routes_of(torus, {}, true), nullptr);
  Cluster lone = tree;
  lone.fabric = {};
  EXPECT_EQ(routes_of(lone, 1, true), nullptr);
  EXPECT_EQ(routes_of(torus, {}, false), nullptr);
  Cluster pods = tree;
  pods.fabric.nodes_per_leaf = 1;
  pods.fabric.pods = Pods{.leaves = 2, .oversubscription = 2.0};
  EXPECT_NE(routes_of(pods, {}, false), nullptr);
  pods.fabric.pods->oversubscription = 1.0;
  EXPECT_EQ(routes_of(pods, {}, true), nullptr);
}

TEST(Routes, NeedTheBandwidthsOfTheirLinks) {
  Cluster cluster = torus_of({4});
  cluster.fabric.link.reset();
  Routes routes(cluster, {});
  try {
    named(routes, cluster, 0, 2);
    FAIL() << "expected a ConfigError";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("the bandwidth of router0 -> router1 is unknown (null)"));
  }
}

}  // namespace
}  // namespace orrery::sim
