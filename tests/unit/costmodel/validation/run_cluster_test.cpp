// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/run_cluster.h"

#include "tests/unit/program/reading.h"

#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

PublishedRun run_on(const std::string& gpu, std::int64_t num_gpus) {
  PublishedRun run;
  run.id = "a run";
  run.gpu = gpu;
  run.num_gpus = num_gpus;
  return run;
}

/// The only group of the cluster that the run ran on.
NodeGroup group_of(const PublishedRun& run, const Device& device = {}) {
  const Cluster cluster = cluster_of(run, device);
  EXPECT_EQ(cluster.groups.size(), 1u);
  return cluster.groups.front();
}

/// How many NICs a node has, and gigabits per second of each.
std::pair<std::int64_t, double> nics_of(const PublishedRun& run) {
  const NodeGroup group = group_of(run);
  if (!group.nics || !group.nics->each) return {};
  EXPECT_EQ(group.nics->rails, group.nics->per_node);
  return {group.nics->per_node, group.nics->each->in(unit::gigabits_per_second)};
}

using NumAndRate = std::pair<std::int64_t, double>;

TEST(RunCluster, DividesTheRateThatANodeIsStatedToHave) {
  PublishedRun run = run_on("A100-SXM-80GB", 64);
  run.interconnect_intra = "8x NVLink node, 800 Gb/s InfiniBand per node";
  EXPECT_EQ(nics_of(run), NumAndRate(8, 100.0));
  run.gpus_per_node = 4;
  EXPECT_EQ(nics_of(run), NumAndRate(4, 200.0));
}

TEST(RunCluster, HasAsManyNicsAsAreStated) {
  PublishedRun run = run_on("A100-SXM-80GB", 64);
  run.interconnect_intra = "NVLink3";
  run.interconnect_inter = "4x100Gb RoCE";
  EXPECT_EQ(nics_of(run), NumAndRate(4, 100.0));
  EXPECT_EQ(group_of(run).devices_per_node, 8);
}

TEST(RunCluster, FindsTheNetworkInTheTitleOfATable) {
  PublishedRun run = run_on("A100-SXM-40GB", 64);
  run.source.table = "A100 40GB with 1600 Gbps node-node interconnect (RoCE)";
  run.gpus_per_node = 16;
  EXPECT_EQ(nics_of(run), NumAndRate(16, 100.0));
  EXPECT_EQ(group_of(run).num_nodes, 4);
}

TEST(RunCluster, BelievesWhatIsSaidOfTheNetworkBeforeWhatIsSaidOfTheNode) {
  PublishedRun run = run_on("A100-SXM-80GB", 64);
  run.interconnect_intra = "800 Gb/s InfiniBand per node";
  run.interconnect_inter = "4x100Gb RoCE";
  EXPECT_EQ(nics_of(run), NumAndRate(4, 100.0));
  run.interconnect_inter = "InfiniBand";  // no number: nothing is learned from it
  EXPECT_EQ(nics_of(run), NumAndRate(8, 100.0));
}

TEST(RunCluster, TakesNoBandwidthInsideANodeForThatOfItsNetwork) {
  PublishedRun run = run_on("H100-SXM-80GB", 64);
  run.interconnect_intra = "NVLINK Gen4 900 GB/s + NVSWITCH Gen3";
  run.interconnect_inter = "Ethernet, Infiniband";
  run.source.table = "26.08 / Pre-Training Performance / GPT OSS 120B";
  EXPECT_EQ(nics_of(run), NumAndRate(8, 400.0));
  run.interconnect_inter = "400 Gb/s RDMA per GPU";  // not of the node
  EXPECT_EQ(nics_of(run), NumAndRate(8, 400.0));
}

TEST(RunCluster, BuildsServersAsVendorsDoWhereARunIsSilent) {
  EXPECT_EQ(nics_of(run_on("A100-SXM-80GB", 16)), NumAndRate(8, 200.0));
  EXPECT_EQ(nics_of(run_on("H100-SXM-80GB", 16)), NumAndRate(8, 400.0));
  EXPECT_EQ(nics_of(run_on("H200-SXM-141GB", 16)), NumAndRate(8, 400.0));
  EXPECT_EQ(nics_of(run_on("B200", 16)), NumAndRate(8, 400.0));
  EXPECT_EQ(nics_of(run_on("B300", 16)), NumAndRate(8, 800.0));
  EXPECT_EQ(nics_of(run_on("GB200", 16)), NumAndRate(4, 400.0));
  EXPECT_EQ(nics_of(run_on("GB300", 16)), NumAndRate(4, 800.0));
  EXPECT_EQ(nics_of(run_on("MI300X", 16)), NumAndRate(8, 400.0));
  EXPECT_EQ(group_of(run_on("H100-SXM-80GB", 16)).scale_up.kind, ScaleUpKind::nvlink);
  EXPECT_EQ(group_of(run_on("MI300X", 16)).scale_up.kind, ScaleUpKind::xgmi);
  EXPECT_EQ(group_of(run_on("L40S", 16)).scale_up.kind, ScaleUpKind::pcie);
}

TEST(RunCluster, SpansARackByOneDomainAsFarAsTheRunHasNodes) {
  const NodeGroup rack = group_of(run_on("GB200", 288));
  EXPECT_EQ(rack.devices_per_node, 4);
  EXPECT_EQ(rack.num_nodes, 72);
  EXPECT_EQ(rack.scale_up.span_nodes, 18);
  EXPECT_EQ(group_of(run_on("GB300", 72)).scale_up.span_nodes, 18);
  EXPECT_EQ(group_of(run_on("GB200", 16)).scale_up.span_nodes, 4);
  EXPECT_EQ(group_of(run_on("GB200", 1)).scale_up.span_nodes, 1);
  EXPECT_EQ(group_of(run_on("B200", 288)).scale_up.span_nodes, 1);
}

TEST(RunCluster, DealsAJobOutEvenlyOverRacks) {
  EXPECT_EQ(group_of(run_on("GB200", 256)).scale_up.span_nodes, 16);     // 64 nodes: 16 of each of four
  EXPECT_EQ(group_of(run_on("GB300", 512)).scale_up.span_nodes, 16);     // 128 nodes
  EXPECT_EQ(group_of(run_on("GB200", 144)).scale_up.span_nodes, 18);     // 36 nodes: two whole ones
  EXPECT_EQ(group_of(run_on("GB200", 4 * 37)).scale_up.span_nodes, 18);  // a prime number of nodes: one after the other
}

TEST(RunCluster, HasNodesForAllDevicesOfTheRun) {
  EXPECT_EQ(group_of(run_on("H100-SXM-80GB", 1)).num_nodes, 1);
  EXPECT_EQ(group_of(run_on("H100-SXM-80GB", 8)).num_nodes, 1);
  EXPECT_EQ(group_of(run_on("H100-SXM-80GB", 9)).num_nodes, 2);
  EXPECT_EQ(group_of(run_on("H100-SXM-80GB", 20)).num_nodes, 3);
  PublishedRun run = run_on("H100-SXM-80GB", 20);
  run.gpus_per_node = 4;
  EXPECT_EQ(group_of(run).num_nodes, 5);
  EXPECT_EQ(group_of(run).devices_per_node, 4);
}

TEST(RunCluster, TakesTheBandwidthsOfItsDevice) {
  Device device;
  device.name = "a device";
  device.scale_up_bandwidth = 450.0 * unit::gigabytes_per_second;
  device.pcie_bandwidth = 64.0 * unit::gigabytes_per_second;
  const NodeGroup group = group_of(run_on("H100-SXM-80GB", 16), device);
  EXPECT_EQ(group.device.name, "a device");
  EXPECT_EQ(group.scale_up.per_device, device.scale_up_bandwidth);
  EXPECT_EQ(group.host.pcie, device.pcie_bandwidth);
  EXPECT_FALSE(group_of(run_on("H100-SXM-80GB", 16)).scale_up.per_device.has_value());
}

TEST(RunCluster, IsAClusterThatCanBeWrittenAndRead) {
  const std::filesystem::path catalog = testing::repository_path("catalog");
  const RunsFile file = read_runs(testing::repository_path("tests/data/runs/published.json"));
  const Device device = read_cluster_text(testing::repository_text("tests/data/schemas/cluster/good-named-device.json"),
                                          "c.json", catalog)
                            .groups.front()
                            .device;
  for (const PublishedRun& run : file.runs) {
    const Cluster cluster = cluster_of(run, device);
    EXPECT_GE(cluster.num_devices(), run.num_gpus) << run.id;
    EXPECT_EQ(cluster.name, run.id);
    EXPECT_EQ(testing::problems_of([&] { return read_cluster_text(to_json(cluster), run.id, catalog); }), "") << run.id;
  }
}

}  // namespace
}  // namespace orrery::costmodel
