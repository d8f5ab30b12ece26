// SPDX-License-Identifier: Apache-2.0
// Machines as their kernels would show them, in folders of their own: what is seen, and what is asked for.
#include "cli/detected_cluster.h"

#include "tests/unit/base/test_folder.h"
#include "tests/unit/program/reading.h"

#include <memory>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

using orrery::testing::TestFolder;
using Questions = std::vector<std::string>;

constexpr const char* kNothingSaysPrices = "/price, /pue, /carbon_intensity, /failures: nothing here says them";

/// A folder that looks like "/" of a machine.
class MachineTree {
 public:
  MachineTree() {
    add("proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: A Xeon\n\nprocessor\t: 1\n");
    add("proc/meminfo", "MemTotal:       1000 kB\n");
  }
  void add(const std::string& file, const std::string& text) {
    const std::filesystem::path path = folder_->path() / file;
    std::filesystem::create_directories(path.parent_path());
    write_file_atomically(path.string(), text);
  }
  void add_device(const std::string& address, const std::string& kind, const std::string& vendor) {
    const std::string device = "sys/bus/pci/devices/" + address + "/";
    add(device + "class", kind + "\n");
    add(device + "vendor", vendor + "\n");
    add(device + "max_link_speed", "32.0 GT/s PCIe\n");
    add(device + "current_link_width", "16\n");
  }
  void add_infiniband(const std::string& name, const std::string& rate, const std::string& state = "4: ACTIVE") {
    add("sys/class/infiniband/" + name + "/ports/1/rate", rate + "\n");
    add("sys/class/infiniband/" + name + "/ports/1/state", state + "\n");
  }
  void add_network(const std::string& name, const std::string& speed, bool is_device = true) {
    add("sys/class/net/" + name + "/speed", speed + "\n");
    add("sys/class/net/" + name + "/operstate", "up\n");
    if (is_device) add("sys/class/net/" + name + "/device/vendor", "0x1af4\n");
  }
  DetectedCluster detect() const {
    const NodeTree tree = read_node_tree(folder_->path(), ask_nvidia_smi(folder_->path()));
    return detected_cluster(tree, orrery::testing::repository_path("catalog"), 2);
  }

 private:
  std::unique_ptr<TestFolder> folder_ = std::make_unique<TestFolder>();
};

/// Eight H100 on NVLink with a 400 Gbps port each, two slower ports and one that is down.
MachineTree dgx() {
  MachineTree tree;
  std::string devices, links;
  for (int i = 0; i < 8; ++i) {
    const std::string address = fmt::format("0000:{:02x}:00.0", 0x1b + 8 * i);
    tree.add_device(address, "0x030200", "0x10de");
    devices += fmt::format("0000{}, NVIDIA H100 80GB HBM3, 81559, 700.00\n", address);
    links += fmt::format("GPU {}: NVIDIA H100 80GB HBM3 (UUID: GPU-{})\n", i, i);
    for (int link = 0; link < 18; ++link) links += fmt::format("\t Link {}: 26.562 GB/s\n", link);
    tree.add_infiniband(fmt::format("mlx5_{}", i), "400 Gb/sec (4X NDR)");
  }
  tree.add_device("0000:03:00.0", "0x030000", "0x1a03");  // the board's own display
  tree.add_device("0000:04:00.0", "0x020700", "0x15b3");  // a NIC
  tree.add_infiniband("mlx5_8", "200 Gb/sec (4X HDR)");
  tree.add_infiniband("mlx5_9", "200 Gb/sec (4X HDR)");
  tree.add_infiniband("mlx5_a", "400 Gb/sec (4X NDR)", "1: DOWN");
  tree.add_network("eth0", "100000");
  tree.add("nvidia-smi.csv", devices);
  tree.add("nvlink.txt", links);
  return tree;
}

TEST(DetectedCluster, ANodeOfEightGpus) {
  const DetectedCluster found = dgx().detect();
  const NodeGroup& group = found.cluster.groups.at(0);
  EXPECT_EQ(group.name, "nvidia");
  EXPECT_EQ(group.devices_per_node, 8);
  EXPECT_EQ(group.device.name, "NVIDIA H100 SXM 80GB");
  EXPECT_EQ(group.device.peak.at(DType::bf16).in(unit::teraflops_per_second), 989.0);
  EXPECT_EQ(group.scale_up.kind, ScaleUpKind::nvlink);
  EXPECT_NEAR(group.scale_up.per_device->in(unit::gigabytes_per_second), 18 * 26.562, 1e-9);
  EXPECT_NEAR(group.host.pcie->in(unit::gigabytes_per_second), 32.0 * 16 * 128 / 130 / 8, 1e-9);
  EXPECT_EQ(group.host.memory, kib(1000));
  EXPECT_EQ(group.nics->per_node, 8);
  EXPECT_EQ(group.nics->rails, 8);
  EXPECT_NEAR(group.nics->each->in(unit::gigabits_per_second), 400.0, 1e-9);
  const std::string ports =
      "/groups/0/nics: mlx5_0 mlx5_1 mlx5_2 mlx5_3 mlx5_4 mlx5_5 mlx5_6 mlx5_7 are the fastest ports; "
      "mlx5_8 mlx5_9 were left out: right?";
  EXPECT_EQ(
      found.questions,
      (Questions{"/groups/0/scale_up/latency: how long does a small message take between two devices?", ports,
                 "/groups/0/nics/rails: 8, since there are 8 ports for 8 devices: right?",
                 "/groups/0/nics/latency: how long does a small message take to another node?", kNothingSaysPrices}));
}

// With the nulls or without them: the reader takes what was written.
TEST(DetectedCluster, IsReadAgain) {
  const std::string text = to_json(dgx().detect().cluster);
  const auto read = [](const std::string& file) { return to_json(read_cluster_text(file, "detected.json", "")); };
  EXPECT_EQ(read(text), text);
  std::string filled = text;
  for (std::size_t at; (at = filled.find("\"latency\": null")) != std::string::npos;) {
    filled.replace(at, 15, "\"latency\": \"3 us\"");
  }
  EXPECT_NE(filled, text);
  EXPECT_EQ(read(filled), filled);
}

TEST(DetectedCluster, ABareVirtualMachine) {
  MachineTree tree;
  tree.add_network("lo", "10", /*is_device=*/false);
  tree.add_network("eth0", "-1");
  const DetectedCluster found = tree.detect();
  const NodeGroup& group = found.cluster.groups.at(0);
  EXPECT_EQ(group.device.name, "A Xeon, 2 cores for 2 ranks");
  EXPECT_EQ(group.device.kind, DeviceKind::cpu);
  EXPECT_EQ(group.scale_up.kind, ScaleUpKind::shared_memory);
  EXPECT_FALSE(group.nics.has_value());
  EXPECT_EQ(found.cluster.fabric.kind, FabricKind::none);
  EXPECT_EQ(found.questions,
            (Questions{"/groups/0/device: rates of a CPU are measured, not looked up: orrery calibrate",
                       "/groups/0/nics: no network port is up: is there one, and how fast?", kNothingSaysPrices}));
}

TEST(DetectedCluster, ANetworkCardWithoutRdmaIsANicToo) {
  MachineTree tree;
  tree.add_network("eth0", "25000");
  tree.add_network("docker0", "100000", /*is_device=*/false);
  tree.add_network("eth1", "100000");
  tree.add("sys/class/net/eth1/operstate", "down\n");
  const Nics nics = tree.detect().cluster.groups.at(0).nics.value();
  EXPECT_EQ(nics.per_node, 1);
  EXPECT_NEAR(nics.each->in(unit::gigabits_per_second), 25.0, 1e-9);
}

TEST(DetectedCluster, DevicesOfAmdAreSeenWithoutATool) {
  MachineTree tree;
  for (const char* address : {"0000:05:00.0", "0000:26:00.0"}) {
    tree.add_device(address, "0x120000", "0x1002");
    tree.add(std::string("sys/bus/pci/devices/") + address + "/product_name", "AMD Instinct MI300X OAM\n");
    tree.add(std::string("sys/bus/pci/devices/") + address + "/mem_info_vram_total", "206141652992\n");
  }
  tree.add("sys/class/kfd/kfd/topology/nodes/1/io_links/0/properties", "type 2\nversion_major 0\n");
  EXPECT_EQ(tree.detect().cluster.groups.at(0).scale_up.kind, ScaleUpKind::pcie);
  tree.add("sys/class/kfd/kfd/topology/nodes/1/io_links/1/properties", "type 11\nversion_major 0\n");
  const DetectedCluster found = tree.detect();
  const NodeGroup& group = found.cluster.groups.at(0);
  EXPECT_EQ(group.device.kind, DeviceKind::hip);
  EXPECT_EQ(group.device.name, "AMD Instinct MI300X");
  EXPECT_EQ(group.scale_up.kind, ScaleUpKind::xgmi);
  EXPECT_FALSE(group.scale_up.per_device.has_value());
  EXPECT_EQ(found.questions.at(0), "/groups/0/scale_up/per_device: how fast is a device among those of its node?");
}

TEST(DetectedCluster, ADeviceThatTheCatalogLacksIsAskedFor) {
  MachineTree tree;
  for (const char* address : {"0000:05:00.0", "0000:06:00.0", "0000:07:00.0"}) {
    tree.add_device(address, "0x030200", "0x10de");
    const bool is_other = std::string(address).ends_with("7:00.0");
    tree.add(std::string("proc/driver/nvidia/gpus/") + address + "/information",
             is_other ? "Model: \t\t NVIDIA T400\nIRQ: 1\n" : "Model: \t\t NVIDIA X1\nIRQ: 1\n");
  }
  const DetectedCluster found = tree.detect();
  const NodeGroup& group = found.cluster.groups.at(0);
  EXPECT_EQ(group.device.name, "NVIDIA X1");
  EXPECT_EQ(group.devices_per_node, 2);
  EXPECT_FALSE(group.device.memory.has_value());
  EXPECT_EQ(found.questions.at(0),
            "/groups: 1 devices \"nvidia NVIDIA T400\" were left out: a group has nodes of one kind");
  EXPECT_EQ(found.questions.at(1),
            "/groups/0/device: no device of the catalog is called \"NVIDIA X1\": peak rates, bandwidth of the memory "
            "and power?");
  const std::string text = to_json(found.cluster);
  EXPECT_EQ(to_json(read_cluster_text(text, "detected.json", "")), text);
}

// Of what the catalog lacks, the drivers' own numbers are all there is.
TEST(DetectedCluster, WhatDriversSayOfUnknownDevicesIsKept) {
  MachineTree nvidia;
  nvidia.add_device("0000:05:00.0", "0x030200", "0x10de");
  nvidia.add("sys/bus/pci/devices/0000:05:00.0/max_link_speed", "5.0 GT/s PCIe\n");
  nvidia.add("nvidia-smi.csv", "00000000:05:00.0, NVIDIA X1, 24576, 350.50\n");
  const NodeGroup x1 = nvidia.detect().cluster.groups.at(0);
  EXPECT_EQ(x1.device.memory, gib(24));
  EXPECT_EQ(x1.device.power_limit, watts(350.5));
  EXPECT_NEAR(x1.host.pcie->in(unit::gigabytes_per_second), 5.0 * 16 * 0.8 / 8, 1e-9);
  EXPECT_EQ(x1.device.sources.at("memory"), "nvidia-smi: memory.total");
  MachineTree amd;
  amd.add_device("0000:05:00.0", "0x120000", "0x1002");
  amd.add("sys/bus/pci/devices/0000:05:00.0/mem_info_vram_total", "17179869184\n");
  const NodeGroup unnamed = amd.detect().cluster.groups.at(0);
  EXPECT_EQ(unnamed.device.name, "amd device at 0000:05:00.0");
  EXPECT_EQ(unnamed.device.memory, gib(16));
  EXPECT_EQ(unnamed.device.sources.at("memory"), "amdgpu: mem_info_vram_total");
}

TEST(DetectedCluster, ACatalogDeviceKeepsThePowerLimitOfThisOne) {
  MachineTree tree;
  tree.add_device("0000:05:00.0", "0x030200", "0x10de");
  tree.add("nvidia-smi.csv", "00000000:05:00.0, NVIDIA H100 80GB HBM3, 81559, 500.00\n");
  const Device device = tree.detect().cluster.groups.at(0).device;
  EXPECT_EQ(device.name, "NVIDIA H100 SXM 80GB");
  EXPECT_EQ(device.power_limit, watts(500));
  EXPECT_EQ(device.sources.at("power_limit"), "nvidia-smi: power.limit");
}

TEST(DetectedCluster, EqualNodesAreAGroup) {
  const Cluster first = dgx().detect().cluster;
  Cluster second = first;
  second.groups.at(0).host.memory = kib(996);  // a kernel that kept some pages more
  MachineTree vm;
  vm.add_network("eth0", "25000");
  const DetectedCluster two = merged({first, second});
  EXPECT_EQ(two.cluster.groups.size(), 1U);
  EXPECT_EQ(two.cluster.num_nodes(), 2);
  EXPECT_EQ(two.cluster.groups.at(0).host.memory, kib(996));
  EXPECT_EQ(two.cluster.fabric.kind, FabricKind::rail_leaf_spine);
  EXPECT_EQ(two.cluster.fabric.nodes_per_leaf, 2);
  EXPECT_EQ(two.questions,
            (Questions{"/fabric: nodes do not see their switches; taken as 2 nodes below one leaf: which "
                       "below which, and how many uplinks?"}));
  const DetectedCluster mixed = merged({first, vm.detect().cluster, second});
  EXPECT_EQ(mixed.cluster.groups.size(), 2U);
  EXPECT_EQ(mixed.cluster.groups.at(1).name, "cpu");
  EXPECT_EQ(mixed.cluster.fabric.kind, FabricKind::fat_tree);
  Cluster other = first;
  other.groups.at(0).devices_per_node = 4;
  EXPECT_EQ(merged({first, other}).cluster.groups.at(1).name, "nvidia-2");
  EXPECT_EQ(merged({first}).cluster.fabric.kind, FabricKind::none);
}

}  // namespace
}  // namespace orrery::cli
