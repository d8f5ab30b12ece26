// SPDX-License-Identifier: Apache-2.0
#include "planner/densest_devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Cluster nodes_of_four() {
  NodeGroup group;
  group.num_nodes = 8;
  group.devices_per_node = 4;
  Cluster cluster;
  cluster.groups = {group};
  return cluster;
}

std::vector<std::int32_t> densest(std::initializer_list<std::int32_t> device_of_rank) {
  std::vector<DeviceIndex> devices;
  for (const std::int32_t device : device_of_rank) devices.emplace_back(device);
  std::vector<std::int32_t> out;
  for (const DeviceIndex device : densest_of(nodes_of_four(), devices)) out.push_back(device.value());
  return out;
}

TEST(DensestDevices, AreOfTheFirstNodesAsManyOfEach) {
  EXPECT_THAT(densest({6, 7, 20, 21, 30, 31}), ElementsAre(0, 1, 4, 5, 8, 9));
  EXPECT_THAT(densest({9, 14, 3}), ElementsAre(0, 4, 8));
  EXPECT_THAT(densest({28, 29, 30, 31}), ElementsAre(0, 1, 2, 3));
}

TEST(DensestDevices, AreNoneWhereNoneAreStated) { EXPECT_THAT(densest({}), IsEmpty()); }

}  // namespace
}  // namespace orrery::planner
