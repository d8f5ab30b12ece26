// SPDX-License-Identifier: Apache-2.0
#include "cli/topology_picture.h"

#include "tests/unit/program/topology/clusters.h"

#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

using topology::cluster_of;
using topology::Topology;

std::vector<std::string> boxes(const Picture& picture) {
  std::vector<std::string> all;
  for (const Picture::Box& box : picture.boxes) all.push_back(std::to_string(box.count) + " " + box.name);
  return all;
}

TEST(TopologyPicture, DrawsASmallClusterPlaceByPlace) {
  const Picture picture = picture_of(Topology(cluster_of(2, 2, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 2})));
  EXPECT_EQ(boxes(picture),
            (std::vector<std::string>{"1 domain0", "1 domain1", "1 node0.device0", "1 node0.device1", "1 node1.device0",
                                      "1 node1.device1", "1 node0.host", "1 node1.host", "1 node0.nic0", "1 node0.nic1",
                                      "1 node1.nic0", "1 node1.nic1", "1 leaf0"}));
  EXPECT_EQ(picture.lines.size(), 4 * 4);  // scale-up, PCIe, slot and cable of each of four devices
}

TEST(TopologyPicture, FoldsWhatLooksTheSameFromEverywhere) {
  const Fabric fabric{.kind = FabricKind::rail_leaf_spine, .nodes_per_leaf = 4, .oversubscription = 2.0, .planes = 4};
  const Picture picture = picture_of(Topology(cluster_of(8, 4, fabric)), 10);
  EXPECT_EQ(boxes(picture), (std::vector<std::string>{"8 scale-up domain", "32 device", "8 host", "32 NIC",
                                                      "8 leaf switch", "8 spine"}));
  std::vector<std::string> labels;
  for (const Picture::Line& line : picture.lines) labels.push_back(line.label);
  EXPECT_EQ(labels, (std::vector<std::string>{"4 x 200 GB/s", "64.0 GB/s, 4 from above", "4 x unlimited",
                                              "50.0 GB/s, 4 from above", "2 x 50.0 GB/s, 2 from above"}));
}

TEST(TopologyPicture, KeepsApartWhatIsWiredDifferently) {
  // The second leaf has one node only: its node, its NICs and it itself are boxes of their own.
  const Picture picture =
      picture_of(Topology(cluster_of(3, 2, {.kind = FabricKind::fat_tree, .nodes_per_leaf = 2})), 10);
  EXPECT_EQ(boxes(picture),
            (std::vector<std::string>{"2 scale-up domain", "1 domain2", "4 device", "2 device", "2 host",
                                      "1 node2.host", "4 NIC", "2 NIC", "1 leaf0", "1 leaf1", "4 spine"}));
}

TEST(TopologyPicture, WritesLinksWithinABoxIntoIt) {
  const Picture picture = picture_of(
      Topology(topology::lone_devices(
          64, {.kind = FabricKind::torus, .dimensions = {4, 4, 4}, .link = 40.0 * unit::gigabytes_per_second})),
      10);
  ASSERT_EQ(boxes(picture), (std::vector<std::string>{"64 device", "64 host", "64 NIC", "64 router"}));
  EXPECT_EQ(picture.boxes[3].inner, std::vector<std::string>{"6 x 40.0 GB/s"});
  EXPECT_NE(svg_text(picture, "torus").find(">each: 6 x 40.0 GB/s</text>"), std::string::npos);
}

TEST(TopologyPicture, IsTextForGraphviz) {
  Picture picture;
  picture.boxes = {{.kind = topology::PlaceKind::nic, .name = "NIC", .count = 4, .inner = {}},
                   {.kind = topology::PlaceKind::leaf, .name = "leaf0", .count = 1, .inner = {"2 x 1.00 GB/s"}}};
  picture.lines = {{.from = 0, .to = 1, .label = "50.0 GB/s, 4 from above"}};
  EXPECT_EQ(dot_text(picture, "a \"b\""),
            "graph \"a \\\"b\\\"\" {\n"
            "  rankdir=BT;\n"
            "  node [shape=box, style=filled];\n"
            "  p0 [label=\"4 x NIC\", fillcolor=\"#cfe2f3\"];\n"
            "  p1 [label=\"leaf0\\neach: 2 x 1.00 GB/s\", fillcolor=\"#d0e0e3\"];\n"
            "  p0 -- p1 [label=\"50.0 GB/s, 4 from above\"];\n"
            "}\n");
}

TEST(TopologyPicture, EscapesNamesInSvg) {
  Picture picture;
  picture.boxes = {{.kind = topology::PlaceKind::nic, .name = "a<b>&\"c\"", .count = 1, .inner = {}}};
  const std::string svg = svg_text(picture, "x < y");
  EXPECT_NE(svg.find(">x &lt; y</text>"), std::string::npos);
  EXPECT_NE(svg.find(">a&lt;b&gt;&amp;&quot;c&quot;</text>"), std::string::npos);
}

}  // namespace
}  // namespace orrery::cli
