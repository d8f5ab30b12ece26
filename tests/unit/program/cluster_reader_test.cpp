// SPDX-License-Identifier: Apache-2.0
#include "program/cluster.h"
#include "tests/unit/base/test_folder.h"
#include "tests/unit/program/reading.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::edited;
using testing::problems_of;
using testing::repository_path;
using testing::repository_text;

constexpr const char* kH800 = "catalog/clusters/h800-2048.json";

Cluster read(const std::string& text) { return read_cluster_text(text, "c.json", repository_path("catalog")); }

std::string problems_of_edit(const std::string& from, const std::string& to) {
  return problems_of([&] { return read(edited(repository_text(kH800), from, to)); });
}

TEST(ClusterReader, ReadsTheH800ClusterWithItsDevices) {
  const Cluster cluster = read_cluster(repository_path(kH800), repository_path("catalog"));
  EXPECT_EQ(cluster.name, "h800-2048");
  EXPECT_EQ(cluster.num_devices(), 2048);
  const NodeGroup& group = cluster.groups.at(0);
  EXPECT_EQ(group.device.kind, DeviceKind::cuda);
  EXPECT_EQ(group.device.peak.at(DType::bf16), flops_per_second(989e12));
  EXPECT_EQ(group.device.memory, gib(79.19));
  EXPECT_EQ(group.device.num_sms, 132);
  EXPECT_EQ(group.device.power_limit, watts(700));
  EXPECT_EQ(group.device.usd_per_hour, 2.0);
  EXPECT_EQ(group.scale_up.kind, ScaleUpKind::nvlink);
  EXPECT_EQ(group.scale_up.per_device, bytes_per_second(200e9));
  EXPECT_EQ(group.nics->each, bytes_per_second(50e9));
  EXPECT_EQ(group.nics->latency, microseconds(2.8));
  EXPECT_EQ(group.host.memory, std::nullopt);
  EXPECT_EQ(cluster.fabric.kind, FabricKind::rail_leaf_spine);
  EXPECT_EQ(cluster.fabric.nodes_per_leaf, 32);
  EXPECT_EQ(cluster.usd_per_device_hour, std::nullopt);
}

TEST(ClusterReader, ReadsEveryClusterOfTheCatalog) {
  for (const auto& entry : std::filesystem::directory_iterator(repository_path("catalog/clusters"))) {
    const std::filesystem::path& path = entry.path();
    if (path.string().ends_with(".source.json")) continue;
    EXPECT_GT(read_cluster(path, repository_path("catalog")).num_devices(), 0) << path;
  }
}

TEST(ClusterReader, ReadsCostsFailuresAndGateways) {
  std::string text = repository_text(kH800);
  text = edited(text, "\"price\": null", "\"price\": \"2.10 USD/h\"");
  text = edited(text, "\"pue\": null", "\"pue\": 1.2");
  text = edited(text, "\"carbon_intensity\": null", "\"carbon_intensity\": \"400 g/kWh\"");
  text = edited(text, "\"failures\": null", "\"failures\": {\"per_node_day\": 0.01}");
  text = edited(text, "\"gateways\": []",
                R"("gateways": [{"between": ["h800", "h800"], "kind": "host_staged", "bandwidth": "unlimited"}])");
  const Cluster cluster = read(text);
  EXPECT_EQ(cluster.usd_per_device_hour, 2.10);
  EXPECT_EQ(cluster.pue, 1.2);
  EXPECT_EQ(cluster.kg_co2_per_kwh, 0.4);
  EXPECT_EQ(cluster.failures_per_node_day, 0.01);
  EXPECT_EQ(cluster.gateways.at(0).kind, GatewayKind::host_staged);
  EXPECT_TRUE(std::isinf(cluster.gateways.at(0).bandwidth->in(unit::byte_per_second)));
}

TEST(ClusterReader, WritesTextThatReadsBackAsTheSameText) {
  for (const char* path :
       {kH800, "catalog/clusters/a100-64.json", "tests/data/schemas/cluster/good-unlimited.json",
        "tests/data/schemas/cluster/good-one-cpu-node.json", "tests/data/schemas/cluster/good-two-leaves.json"}) {
    const std::string text = to_json(read(repository_text(path)));
    EXPECT_EQ(to_json(read_cluster_text(text, "c.json", "")), text) << path;
  }
}

TEST(ClusterReader, KeepsTheSourceOfEachQuantity) {
  const Cluster cluster = read(repository_text(kH800));
  const std::string& source = cluster.groups.at(0).device.sources.at("peak/bf16");
  EXPECT_TRUE(source.starts_with("NVIDIA H100")) << source;
  EXPECT_NE(to_json(cluster).find(source), std::string::npos);
}

TEST(ClusterReader, SuggestsTheDeviceThatWasMeant) {
  const std::string folder = (repository_path("catalog") / "devices").string();
  EXPECT_EQ(problems_of_edit("\"device\": \"h800\"", "\"device\": \"h80\""),
            "c.json:8: /groups/0/device: expected a device of " + folder + ", got \"h80\"\n" +
                "  hint: did you mean \"h800\"?");
  EXPECT_EQ(problems_of_edit("\"device\": \"h800\"", "\"device\": \"../models/mixtral-8x7b\""),
            "c.json:8: /groups/0/device: expected a device of " + folder + ", got \"../models/mixtral-8x7b\"\n" +
                "  hint: devices there: a100, a100-40gb, b200, b300, gb200, gb300, h100, h100-96gb, h200, h200-nvl, "
                "h800, l40s, "
                "mi250x, mi300x, mi325x, mi350x, mi355x, v100");
  EXPECT_EQ(problems_of_edit("\"device\": \"h800\"", "\"device\": 800"),
            "c.json:8: /groups/0/device: expected the name of a catalog device, or a device/1 object");
}

TEST(ClusterReader, NeedsNoCatalogOnlyForInlineDevices) {
  EXPECT_EQ(problems_of([] { return read_cluster_text(repository_text(kH800), "c.json", ""); }),
            "c.json:8: /groups/0/device: expected a device/1 object, since the file must be enough on its own, got "
            "\"h800\"");
}

TEST(ClusterReader, ReportsProblemsOfTheDeviceFileToo) {
  const std::filesystem::path catalog = testing::own_path("catalog");
  std::filesystem::create_directories(catalog / "devices");
  const std::string device = (catalog / "devices" / "h800.json").string();
  write_file_atomically(device, edited(repository_text("catalog/devices/h800.json"), "\"79.19 GiB\"", "\"79.19\""));
  const std::string text = edited(repository_text(kH800), "\"nodes\": 256", "\"nodes\": 0");
  const std::string problems = problems_of([&] { return read_cluster_text(text, "zz.json", catalog); });
  const std::size_t end = problems.find('\n');
  EXPECT_TRUE(problems.starts_with(device + ":21: /memory/value: expected a size with its unit")) << problems;
  EXPECT_NE(problems.find("zz.json:6: /groups/0/nodes: expected an integer from 1 to 1048576, got 0", end),
            std::string::npos)
      << problems;
}

TEST(ClusterReader, NamesAFileThatIsNotThere) {
  EXPECT_EQ(problems_of([] { return read_cluster("no/cluster.json", ""); }),
            "no/cluster.json: expected a readable file, got: No such file or directory");
}

TEST(ClusterReader, ReportsABareNumber) {
  EXPECT_EQ(problems_of_edit("\"each\": \"400 Gbps\"", "\"each\": 400"),
            "c.json:17: /groups/0/nics/each: expected a bandwidth with its unit, such as \"400 Gbps\" or \"50 GB/s\", "
            "got 400");
}

TEST(ClusterReader, ReportsUnknownAndMissingKeys) {
  EXPECT_EQ(problems_of_edit("\"nodes_per_leaf\"", "\"node_per_leaf\""),
            "c.json:27: /fabric: expected the key \"nodes_per_leaf\", which is missing\n"
            "c.json:29: /fabric/node_per_leaf: unknown key; did you mean \"nodes_per_leaf\"?");
}

TEST(ClusterReader, ChecksThatPartsFitEachOther) {
  EXPECT_EQ(problems_of_edit("\"span_nodes\": 1", "\"span_nodes\": 512"),
            "c.json:11: /groups/0/scale_up/span_nodes: expected an integer from 1 to 256, got 512");
  EXPECT_EQ(problems_of_edit("\"rails\": 8", "\"rails\": 9"),
            "c.json:18: /groups/0/nics/rails: expected an integer from 1 to 8, got 9");
  EXPECT_EQ(problems_of_edit("\"gateways\": []",
                             R"("gateways": [{"between": ["h800"], "kind": "direct", "bandwidth": null}])"),
            "c.json:33: /gateways/0/between: expected the names of two groups, got 1");
  EXPECT_EQ(problems_of_edit("\"gateways\": []",
                             R"("gateways": [{"between": ["h800", "b200"], "kind": "direct", "bandwidth": null}])"),
            "c.json:33: /gateways/0/between/1: expected the name of a group of this cluster, got \"b200\"");
}

constexpr const char* kTree = R"("kind": "rail_leaf_spine",
    "nodes_per_leaf": 32,
    "oversubscription": 1.0,
    "planes": 8)";

std::string problems_of_fabric(const std::string& keys) { return problems_of_edit(kTree, keys); }

Fabric fabric_of(const std::string& keys) { return read(edited(repository_text(kH800), kTree, keys)).fabric; }

TEST(ClusterReader, ReadsFabricsOfEveryKind) {
  const Fabric tree = fabric_of(
      R"("kind": "fat_tree", "nodes_per_leaf": 4, "oversubscription": 2.0, "planes": 2, "spines": 8,
         "pods": {"leaves": 4, "oversubscription": 3.0})");
  EXPECT_EQ(tree.num_spines, 8);
  EXPECT_EQ(tree.pods->leaves, 4);
  EXPECT_EQ(tree.pods->oversubscription, 3.0);
  const Fabric torus = fabric_of(
      R"("kind": "torus", "nodes_per_leaf": 2, "dimensions": [8, 4, 4], "link": "50 GB/s", "hop_latency": "300 ns")");
  EXPECT_EQ(torus.dimensions, (std::vector<std::int64_t>{8, 4, 4}));
  EXPECT_EQ(torus.link, bytes_per_second(50e9));
  EXPECT_EQ(torus.hop_latency, microseconds(0.3));
  const Fabric dragonfly = fabric_of(
      R"("kind": "dragonfly", "nodes_per_leaf": 4, "dimensions": [16, 4], "link": "unlimited", "global_link": null,
         "global_links": 2, "hop_latency": null)");
  EXPECT_EQ(dragonfly.dimensions, (std::vector<std::int64_t>{16, 4}));
  EXPECT_TRUE(std::isinf(dragonfly.link->in(unit::byte_per_second)));
  EXPECT_EQ(dragonfly.global_link, std::nullopt);
  EXPECT_EQ(dragonfly.num_global_links, 2);
}

TEST(ClusterReader, WritesFabricsOfEveryKind) {
  for (const char* name : {"good-pods", "good-torus", "good-dragonfly"}) {
    const std::string text = to_json(read_cluster(
        repository_path(std::string("tests/data/schemas/cluster/") + name + ".json"), repository_path("catalog")));
    EXPECT_EQ(to_json(read(text)), text);
    EXPECT_NE(text.find(std::string_view(name) == "good-pods" ? "\"pods\"" : "\"dimensions\""), std::string::npos);
  }
}

TEST(ClusterReader, RoutersHoldAllNodes) {
  EXPECT_EQ(problems_of_fabric(
                R"("kind": "torus", "nodes_per_leaf": 2, "dimensions": [8, 4], "link": null, "hop_latency": null)"),
            "c.json:28: /fabric/dimensions: expected routers for 256 nodes, those of group \"h800\", got 8 x 4 routers "
            "of 2 each");
  EXPECT_EQ(problems_of_fabric(
                R"("kind": "torus", "nodes_per_leaf": 1, "dimensions": [], "link": null, "hop_latency": null)"),
            "c.json:28: /fabric/dimensions: expected the routers each way, got none");
}

TEST(ClusterReader, ADragonflyHasGroupsAndRouters) {
  EXPECT_EQ(problems_of_fabric(R"("kind": "dragonfly", "nodes_per_leaf": 1, "dimensions": [256], "link": null,
    "global_link": null, "global_links": 0, "hop_latency": null)"),
            "c.json:28: /fabric/dimensions: expected the groups and the routers of a group, got 1 numbers\n"
            "c.json:29: /fabric/global_links: expected an integer from 1 to 4096, got 0");
}

TEST(ClusterReader, RefusesKeysOfAnotherKindOfFabric) {
  EXPECT_EQ(problems_of_edit(R"("planes": 8)", R"("planes": 8, "dimensions": [2])"),
            "c.json:31: /fabric/dimensions: unknown key\n"
            "  hint: known keys: kind, nodes_per_leaf, oversubscription, planes, pods, spines");
}

TEST(ClusterReader, HoldsNoMoreRoutersThanCanBeRouted) {
  EXPECT_EQ(problems_of_fabric(
                R"("kind": "torus", "nodes_per_leaf": 1, "dimensions": [64, 65], "link": null, "hop_latency": null)"),
            "c.json:28: /fabric/dimensions: expected at most 4096 routers, got 64 x 65");
}

TEST(ClusterReader, ReadsAPlatformAndHowItNamesHosts) {
  const Cluster cluster = read(edited(repository_text(kH800), "\"failures\": null",
                                      R"("failures": null, "platform": "p.xml", "hosts": "n-{node}")"));
  EXPECT_EQ(cluster.platform, "p.xml");
  EXPECT_EQ(cluster.platform_hosts, "n-{node}");
  EXPECT_EQ(to_json(read(to_json(cluster))), to_json(cluster));
  EXPECT_NE(problems_of([&] {
              return read_cluster_text(to_json(cluster), "c.json", "");
            }).find("/platform: expected no platform: the file must be enough on its own, with the rates in it"),
            std::string::npos);
  EXPECT_EQ(problems_of_edit("\"failures\": null", "\"failures\": null, \"hosts\": \"n\""),
            "c.json:37: /hosts: expected the key \"platform\" too, whose hosts these are");
}

class ClusterReaderGroups : public ::testing::Test {
 protected:
  /// A cluster of these groups.
  std::string problems_of_groups(const std::string& groups) {
    return problems_of([&] { return read(edited(text_, group_, groups)); });
  }

  std::string text_ = repository_text("tests/data/schemas/cluster/good-one-cpu-node.json");
  std::string group_ = text_.substr(text_.find("    {"), text_.find("\n  ],") - text_.find("    {"));
};

TEST_F(ClusterReaderGroups, HaveNamesOfTheirOwn) {
  const auto line = 5 + std::count(group_.begin(), group_.end(), '\n') + 1;
  EXPECT_EQ(
      problems_of_groups(group_ + ",\n" + group_),
      "c.json:" + std::to_string(line) + ": /groups/1/name: expected a name that no other group has, got \"cpu\"");
}

TEST_F(ClusterReaderGroups, AreAtLeastOne) {
  EXPECT_EQ(problems_of_groups(""), "c.json:3: /groups: expected at least one group of nodes, got none");
}

TEST_F(ClusterReaderGroups, HoldNoMoreDevicesThanCanBeNumbered) {
  const std::string large = edited(edited(group_, "\"nodes\": 1,", "\"nodes\": 1048576,"), "\"devices_per_node\": 2",
                                   "\"devices_per_node\": 1024");
  EXPECT_EQ(problems_of_groups(large), "");
  EXPECT_EQ(problems_of_groups(large + ",\n" + edited(large, "\"name\": \"cpu\"", "\"name\": \"more\"")),
            "c.json:3: /groups: expected at most 2147483647 devices, got 2147483648");
}

TEST(ClusterReader, RefusesADeviceQuantityWithoutSource) {
  std::string text = repository_text("tests/data/schemas/cluster/good-one-cpu-node.json");
  const std::size_t at = text.find("\"source\": \"") + 11;
  text.erase(at, text.find('"', at) - at);
  EXPECT_NE(problems_of([&] { return read(text); }).find("expected where the value comes from, got an empty string"),
            std::string::npos);
}

}  // namespace
}  // namespace orrery
