// SPDX-License-Identifier: Apache-2.0
#include "sim/platform.h"

#include "base/errors.h"
#include "tests/conformance/programs.h"

#include <string>

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using orrery::testing::small_cluster;

std::string message_of(const Cluster& cluster, const PathClasses& used) {
  try {
    ports_of(cluster, 0, used);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Ports, AreTheSumOverTheDevicesOfANode) {
  Cluster cluster = small_cluster(4, 8);
  cluster.fabric.oversubscription = 4.0;
  const NodePorts ports = ports_of(cluster, 0, {true, true, true});
  EXPECT_EQ(ports.scale_up, bytes_per_second(800e9));
  EXPECT_EQ(ports.nic, bytes_per_second(200e9));
  EXPECT_EQ(ports.uplink, bytes_per_second(50e9));
}

TEST(Ports, CountNicsAndNotDevices) {
  Cluster cluster = small_cluster(2, 8);
  cluster.groups[0].nics->per_node = 2;
  EXPECT_EQ(ports_of(cluster, 0, {false, true, false}).nic, bytes_per_second(50e9));
}

TEST(Ports, NeedNoBandwidthThatNothingUses) {
  Cluster cluster = small_cluster(1, 8);
  cluster.groups[0].nics.reset();
  EXPECT_EQ(ports_of(cluster, 0, {true, false, false}).nic, BytesPerSecond());
  cluster.groups[0].scale_up.per_device.reset();
  EXPECT_EQ(ports_of(cluster, 0, {false, false, false}).scale_up, BytesPerSecond());
}

TEST(Ports, NameTheBandwidthThatIsMissing) {
  Cluster cluster = small_cluster(1, 8);
  cluster.groups[0].nics->each.reset();
  EXPECT_EQ(message_of(cluster, {false, false, true}),
            "cluster small, group small: nics.each is null; expected a bandwidth, because the program communicates "
            "over it");
  cluster.groups[0].nics.reset();
  EXPECT_EQ(message_of(cluster, {false, true, false}),
            "cluster small, group small: nics is null; expected a bandwidth, because the program communicates over it");
}

}  // namespace
}  // namespace orrery::sim
