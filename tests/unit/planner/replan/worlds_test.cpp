// SPDX-License-Identifier: Apache-2.0
#include "planner/replan/worlds.h"

#include "tests/conformance/programs.h"

#include <vector>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

std::vector<DeviceIndex> devices(std::initializer_list<int> numbers) {
  std::vector<DeviceIndex> out;
  for (const int number : numbers) out.emplace_back(number);
  return out;
}

// Three nodes of four; the second has lost one device, the third two.
const std::vector<DeviceIndex> kLeft = devices({0, 1, 2, 3, 4, 6, 7, 8, 11});

TEST(Worlds, AreNodesThatAreAllAlike) {
  const Cluster cluster = testing::small_cluster(3, 4);
  // 6 devices are two nodes of three or three of two: fewer nodes talk less.
  EXPECT_EQ(worlds_of(cluster, kLeft), (std::vector<World>{{2, 3}, {1, 4}, {1, 3}, {1, 2}, {1, 1}}));
  EXPECT_EQ(worlds_of(cluster, devices({5})), (std::vector<World>{{1, 1}}));
}

TEST(Worlds, TakeTheFirstDevicesOfTheFirstNodesThatHaveEnough) {
  const Cluster cluster = testing::small_cluster(3, 4);
  EXPECT_EQ(devices_of({2, 3}, cluster, kLeft), devices({0, 1, 2, 4, 6, 7}));
  EXPECT_EQ(devices_of({3, 2}, cluster, kLeft), devices({0, 1, 4, 6, 8, 11}));
  EXPECT_EQ(devices_of({1, 4}, cluster, kLeft), devices({0, 1, 2, 3}));
}

}  // namespace
}  // namespace orrery::planner
