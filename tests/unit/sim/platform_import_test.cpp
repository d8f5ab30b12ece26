// SPDX-License-Identifier: Apache-2.0
#include "sim/platform_import.h"

#include "base/errors.h"
#include "tests/conformance/programs.h"
#include "tests/unit/base/test_folder.h"

#include <fstream>

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using testing::small_cluster;

const std::string kWorker = std::string(ORRERY_BINARY_DIR) + "/sim_test_worker";
const std::string kTwoLeaves = ORRERY_SOURCE_DIR "/tests/data/platforms/two-leaves.xml";

double gigabytes(BytesPerSecond rate) { return rate.in(unit::gigabytes_per_second); }

std::string failure(const std::function<void()>& work) {
  try {
    work();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no such error";
}

std::string file_of(const std::string& text) {
  const std::string path = orrery::testing::own_path("platform.xml");
  std::ofstream(path) << text;
  return path;
}

/// Links of a platform, and routes over them in the order of the question.
PlatformRoutes routes(std::vector<PlatformLink> links, std::vector<PlatformRoute> over) {
  return {.links = std::move(links), .routes = std::move(over)};
}

PlatformLink link(double gigabytes_per_second, bool is_shared = true) {
  return {.name = "l", .bandwidth = gigabytes_per_second * unit::gigabytes_per_second, .is_shared = is_shared};
}

TEST(PlatformQuestion, AsksForOneRingOfEachClass) {
  Cluster cluster = small_cluster(4, 2);  // two nodes below a leaf
  const PlatformQuestion by_node = question_for(cluster, "n{node}.grid");
  EXPECT_EQ(by_node.hosts, (std::vector<std::string>{"n0.grid", "n1.grid", "n2.grid", "n3.grid"}));
  ASSERT_EQ(by_node.classes.size(), 2);
  EXPECT_EQ(by_node.classes[0].kind, PairsOfClass::Kind::rail);
  ASSERT_EQ(by_node.classes[0].pairs.size(), 4);
  EXPECT_EQ(by_node.classes[0].pairs[1].to, 0);  // node 1 sends to node 0, its neighbour below the leaf
  EXPECT_EQ(by_node.classes[1].kind, PairsOfClass::Kind::spine);
  EXPECT_EQ(by_node.classes[1].pairs[1].to, 3);
  const PlatformQuestion by_device = question_for(cluster, "n{node}d{device}");
  EXPECT_EQ(by_device.hosts.size(), 8);
  EXPECT_EQ(by_device.hosts[5], "n2d1");
  ASSERT_EQ(by_device.classes.size(), 3);
  EXPECT_EQ(by_device.classes[0].kind, PairsOfClass::Kind::node);
  EXPECT_EQ(by_device.classes[1].pairs[0].to, 2);  // the same device of the next node
}

TEST(PlatformQuestion, CountsFromWhereThePatternSays) {
  EXPECT_EQ(question_for(small_cluster(2, 1), "{node+1}.n{node}").hosts, (std::vector<std::string>{"1.n0", "2.n1"}));
  EXPECT_EQ(question_for(small_cluster(1, 2), "n{node+10}d{device+1}").hosts,
            (std::vector<std::string>{"n10d1", "n10d2"}));
}

TEST(PlatformQuestion, NamesWhatItDoesNotKnowInAPattern) {
  for (const std::string unknown : {"{x}", "{node+}", "{node+1x}", "{node-1}", "{node"}) {
    EXPECT_EQ(failure([&] { question_for(small_cluster(2, 1), "n{node}." + unknown); }),
              "hosts: expected {node}, {device}, or with an offset such as {node+1}, got " + unknown +
                  " in \"n{node}." + unknown + "\"");
  }
}

TEST(PlatformQuestion, NeedsANameOfNodesAndATree) {
  EXPECT_EQ(failure([] { question_for(small_cluster(2, 1), "host"); }),
            "hosts: expected a name with {node}, such as \"node{node}\", got \"host\"");
  Cluster torus = small_cluster(2, 1);
  torus.fabric = {.kind = FabricKind::torus, .dimensions = {2}};
  EXPECT_EQ(
      failure([&] { question_for(torus, "node{node}"); }),
      "platform: expected a cluster whose fabric is a tree or none, got one of routers: their links cannot be read "
      "from a platform");
}

TEST(PlatformRoutes, ALinkThatHostsShareIsDivided) {
  const Cluster cluster = small_cluster(2, 2);
  const PlatformQuestion question = question_for(cluster, "n{node}");
  ASSERT_EQ(question.classes.size(), 1);  // one leaf
  const std::vector<PlatformRoute> both = {{.links = {0, 2}, .latency = microseconds(1)},
                                           {.links = {1, 2}, .latency = microseconds(3)}};
  const Cluster shared = with_routes(cluster, question, routes({link(40), link(30), link(50)}, both));
  EXPECT_DOUBLE_EQ(gigabytes(*shared.groups[0].nics->each), 25.0 / 2.0);  // two NICs a node
  EXPECT_EQ(shared.groups[0].nics->latency, microseconds(3));
  EXPECT_EQ(shared.groups[0].scale_up.per_device, cluster.groups[0].scale_up.per_device);
  const Cluster fat = with_routes(cluster, question, routes({link(40), link(30), link(50, false)}, both));
  EXPECT_DOUBLE_EQ(gigabytes(*fat.groups[0].nics->each), 30.0 / 2.0);
}

TEST(PlatformRoutes, DevicesHaveARateWithinTheirDomainToo) {
  const Cluster cluster = small_cluster(1, 2);
  const PlatformQuestion question = question_for(cluster, "n{node}d{device}");
  const Cluster got = with_routes(cluster, question,
                                  routes({link(90), link(80)}, {{.links = {0}, .latency = microseconds(2)},
                                                                {.links = {1}, .latency = microseconds(2)}}));
  EXPECT_DOUBLE_EQ(gigabytes(*got.groups[0].scale_up.per_device), 80.0);
  EXPECT_EQ(got.groups[0].scale_up.latency, microseconds(2));
}

TEST(PlatformRoutes, NeedTheNumberOfNics) {
  Cluster cluster = small_cluster(2, 1);
  cluster.groups[0].nics = std::nullopt;
  const PlatformQuestion question = question_for(cluster, "n{node}");
  EXPECT_EQ(failure([&] { with_routes(cluster, question, routes({link(1)}, {{.links = {0}}, {.links = {0}}})); }),
            "platform: group \"small\" has several nodes and no nics: expected their number, since the routes say only "
            "what all of them carry");
}

TEST(PlatformImport, TextReadsBack) {
  const PlatformRequest request{.file = "a \"b\".xml", .hosts = {"x", "y"}, .pairs = {{0, 1}, {1, 0}}};
  EXPECT_EQ(to_json(read_platform_request(to_json(request))), to_json(request));
  const PlatformRoutes answer = routes({link(1.5), link(2, false)}, {{.links = {1, 0}, .latency = microseconds(1.25)}});
  EXPECT_EQ(to_json(read_platform_routes(to_json(answer))), to_json(answer));
}

TEST(PlatformImport, TakesRatesFromAFileOfSimGrid) {
  // tests/data/platforms/two-leaves.xml: NICs of 50 GB/s, two of them on 25 GB/s of uplinks.
  const Cluster got = with_platform(small_cluster(4, 2), kTwoLeaves, "node{node}", kWorker);
  EXPECT_DOUBLE_EQ(gigabytes(*got.groups[0].nics->each), 50.0 / 2.0);
  EXPECT_DOUBLE_EQ(got.groups[0].nics->latency->in(unit::microsecond), 2.0);
  EXPECT_DOUBLE_EQ(got.fabric.oversubscription, 4.0);
  EXPECT_EQ(got.platform, "");
}

TEST(PlatformImport, NamesAllMissingHosts) {
  EXPECT_EQ(failure([] { with_platform(small_cluster(6, 1), kTwoLeaves, "node{node}", kWorker); }),
            kTwoLeaves +
                ": expected 6 hosts, got a platform without 2 of them: node4, node5\n"
                "  hint: the platform has 4 hosts, such as node0; the key hosts says how nodes are named, "
                "\"h{node+1}\" where they count from one");
}

/// Hosts node0 to node3, each with a link of its own, and the routes that are given.
std::string platform_with(const std::string& bandwidth, const std::string& routes) {
  std::string text =
      "<?xml version='1.0'?><!DOCTYPE platform SYSTEM \"https://simgrid.org/simgrid.dtd\">"
      "<platform version=\"4.1\"><zone id=\"z\" routing=\"Full\">";
  for (const char* node : {"0", "1", "2", "3"}) text += std::string("<host id=\"node") + node + "\" speed=\"1f\"/>";
  for (const char* node : {"0", "1", "2", "3"}) {
    text += std::string("<link id=\"wire") + node + "\" bandwidth=\"" + bandwidth + "\" latency=\"1us\"/>";
  }
  return file_of(text + routes + "</zone></platform>");
}

std::string route_from(const std::string& from, const std::string& to) {
  return "<route src=\"node" + from + "\" dst=\"node" + to + "\" symmetrical=\"NO\"><link_ctn id=\"wire" + from +
         "\"/></route>";
}

TEST(PlatformImport, NamesLinksWithoutBandwidth) {
  const std::string file = platform_with(
      "0GBps", route_from("0", "1") + route_from("1", "0") + route_from("2", "3") + route_from("3", "2") +
                   route_from("0", "2") + route_from("1", "3") + route_from("2", "0") + route_from("3", "1"));
  EXPECT_EQ(failure([&] { with_platform(small_cluster(4, 1), file, "node{node}", kWorker); }),
            file + ": expected a bandwidth above zero, got none on 4 of 4 links: wire0, wire1, wire2, wire3");
}

TEST(PlatformImport, CountsPairsWithoutARoute) {
  const std::string file = platform_with("1GBps", route_from("0", "1") + route_from("1", "0"));
  EXPECT_EQ(failure([&] { with_platform(small_cluster(4, 1), file, "node{node}", kWorker); }),
            file +
                ": expected links between 8 pairs of hosts, got none for 6 of them: node2 and node3, node3 and "
                "node2, node0 and node2, node1 and node3, node2 and node0, node3 and node1");
}

TEST(PlatformImport, ReportsWhatSimGridCannotRead) {
  const std::string broken = file_of("{}");
  EXPECT_EQ(failure([&] {
              with_platform(small_cluster(2, 1), broken, "node{node}", kWorker);
            }).find(broken + ": expected a platform of SimGrid, got: "),
            0);
  // SimGrid aborts at a routing that it does not know.
  const std::string routing = file_of(
      "<?xml version='1.0'?><!DOCTYPE platform SYSTEM \"https://simgrid.org/simgrid.dtd\">"
      "<platform version=\"4.1\"><zone id=\"z\" routing=\"Nowhere\"><host id=\"node0\" "
      "speed=\"1f\"/></zone></platform>");
  EXPECT_EQ(failure([&] {
              with_platform(small_cluster(2, 1), routing, "node{node}", kWorker);
            }).find(routing + ": expected a platform of SimGrid, got: "),
            0);
  EXPECT_EQ(failure([] { with_platform(small_cluster(2, 1), "/nothere.xml", "node{node}", kWorker); }),
            "/nothere.xml: expected a readable file, got: No such file or directory");
}

}  // namespace
}  // namespace orrery::sim
