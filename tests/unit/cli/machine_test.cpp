// SPDX-License-Identifier: Apache-2.0
#include "cli/machine.h"

#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

constexpr const char* kCpuInfo =
    "processor\t: 0\n"
    "vendor_id\t: AuthenticAMD\n"
    "model name\t: AMD EPYC 9654\n"
    "\n"
    "processor\t: 1\n"
    "model name\t: AMD EPYC 9654\n";

TEST(Machine, IsOneNodeWhoseRanksShareItsMemory) {
  const Cluster cluster = cpu_cluster(kCpuInfo, "MemTotal:       8000001 kB\nMemFree: 1 kB\n", 4, 2);
  EXPECT_EQ(cluster.num_devices(), 2);
  const NodeGroup& group = cluster.groups.at(0);
  EXPECT_EQ(group.device.name, "AMD EPYC 9654, 4 cores for 2 ranks");
  EXPECT_EQ(group.device.vendor, "amd");
  EXPECT_EQ(group.device.kind, DeviceKind::cpu);
  EXPECT_EQ(group.device.memory, bytes(8000001.0 * 512.0));
  EXPECT_EQ(group.device.sources.at("memory"), "/proc/meminfo: MemTotal, divided by 2 ranks");
  EXPECT_EQ(group.host.memory, kib(8000001));
  EXPECT_EQ(group.scale_up.kind, ScaleUpKind::shared_memory);
  EXPECT_FALSE(group.nics.has_value());
  EXPECT_TRUE(group.device.peak.empty());
}

TEST(Machine, LeavesUnknownWhatTheSystemDoesNotSay) {
  const Cluster cluster = cpu_cluster("processor: 0\n", "", 1, 2);
  EXPECT_EQ(cluster.groups.at(0).device.name, "CPU, 1 cores for 2 ranks");
  EXPECT_EQ(cluster.groups.at(0).device.vendor, "unknown");
  EXPECT_FALSE(cluster.groups.at(0).device.memory.has_value());
  EXPECT_FALSE(cluster.groups.at(0).host.memory.has_value());
}

TEST(Machine, ReadsBackAsItWasWritten) {
  const Cluster cluster = cpu_cluster(kCpuInfo, "MemTotal: 8000001 kB\n", 4, 2);
  const std::string text = to_json(cluster);
  EXPECT_EQ(to_json(read_cluster_text(text, "this-machine.json", "")), text);
}

TEST(Machine, HasAtLeastTwoRanks) { EXPECT_GE(default_num_ranks(), 2); }

TEST(Machine, DescribesThisOne) {
  const Cluster cluster = this_machine(3);
  EXPECT_EQ(cluster.num_devices(), 3);
  EXPECT_TRUE(cluster.groups.at(0).device.memory.has_value());
}

}  // namespace
}  // namespace orrery::cli
