// SPDX-License-Identifier: Apache-2.0
#include "cli/cluster_check.h"

#include "tests/conformance/programs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(SlowerThanNics, IsPcieThatBringsLess) {
  Cluster cluster = testing::small_cluster(2, 4);     // a NIC of 25 GB/s for each device
  EXPECT_THAT(slower_than_nics(cluster), IsEmpty());  // nobody says what PCIe brings
  cluster.groups[0].host.pcie = bytes_per_second(25e9);
  EXPECT_THAT(slower_than_nics(cluster), IsEmpty());
  cluster.groups[0].host.pcie = bytes_per_second(16e9);
  EXPECT_THAT(
      slower_than_nics(cluster),
      ElementsAre("PCIe of small brings 16.0 GB/s to a device, whose NICs have 25.0 GB/s: times over the network "
                  "count the NICs, and can be 1.6 times too short"));
  cluster.groups[0].nics->per_node = 2;  // which two devices share
  EXPECT_THAT(slower_than_nics(cluster), IsEmpty());
  cluster.groups[0].nics->per_node = 4;
  cluster.groups[0].num_nodes = 1;  // nothing goes over NICs
  EXPECT_THAT(slower_than_nics(cluster), IsEmpty());
}

}  // namespace
}  // namespace orrery::cli
