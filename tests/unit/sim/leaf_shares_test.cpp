// SPDX-License-Identifier: Apache-2.0
#include "sim/leaf_shares.h"

#include "tests/conformance/programs.h"
#include "tests/unit/sim/hand_timed.h"

#include <vector>

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using orrery::testing::NanosecondPerByte;
using orrery::testing::ProgramBuilder;
using orrery::testing::small_cluster;

/// Where the devices of these numbers are, on nodes of two devices and leaves of two nodes.
std::vector<Cluster::Location> places(std::initializer_list<std::int32_t> devices) {
  const Cluster cluster = small_cluster(8, 2);
  std::vector<Cluster::Location> found;
  for (const std::int32_t device : devices) found.push_back(cluster.locate(DeviceIndex(device)));
  return found;
}

TEST(LeafShares, OfAnExchangeAreThePeersBelowTheLeaf) {
  const auto members =
      places({0, 1, 2, 3, 4, 5, 8});  // two nodes below leaf 0, one below leaf 1, half of one below leaf 2
  for (const Pattern pattern : {Pattern::all_to_all, Pattern::two_level}) {
    EXPECT_DOUBLE_EQ(share_below_leaf(pattern, members, members[0]), 2.0 / 5.0);
    EXPECT_DOUBLE_EQ(share_below_leaf(pattern, members, members[4]), 0.0);
  }
}

TEST(LeafShares, OfARingAreAllHopsOfItsLeafButOne) {
  const auto members = places({0, 4, 2, 6, 8});  // in the order of the group; leaves 0, 1, 0, 1, 2
  EXPECT_DOUBLE_EQ(share_below_leaf(Pattern::ring, members, members[0]), 0.5);
  EXPECT_DOUBLE_EQ(share_below_leaf(Pattern::ring, members, members[3]), 0.5);
  EXPECT_DOUBLE_EQ(share_below_leaf(Pattern::ring, members, members[4]), 0.0);
}

TEST(LeafShares, OfAShiftFollowTheOrderOfTheGroup) {
  const auto across = places({0, 4, 2, 6});
  EXPECT_DOUBLE_EQ(share_below_leaf(Pattern::shift, across, across[0]), 0.0);
  const auto along = places({0, 1, 2, 4});  // the first hop stays on its node
  EXPECT_DOUBLE_EQ(share_below_leaf(Pattern::shift, along, along[0]), 0.5);
}

TEST(LeafShares, OfAFoldedRankAreTheLeastOfAllForWhichItStands) {
  // Groups of two devices on nodes of one: those of devices 0 and 1 are below a leaf of three, those of 2 and 3 are
  // not.
  ProgramBuilder builder(1, 6, 2);
  builder.dispatch(0, 4, 1000);
  Cluster cluster = small_cluster(6, 1);
  cluster.fabric.nodes_per_leaf = 3;
  const auto timed = time_program(builder.program(), NanosecondPerByte(cluster), cluster, {}, {});
  ASSERT_EQ(timed.ranks.size(), 1);
  EXPECT_DOUBLE_EQ(LeafShares(timed, cluster).of(0, {}, Pattern::all_to_all, 0).leaf, 0.0);
  const auto full = time_program(builder.program(), NanosecondPerByte(cluster), cluster, {}, {.all_ranks = true});
  EXPECT_DOUBLE_EQ(LeafShares(full, cluster).of(0, {}, Pattern::all_to_all, 0).leaf, 1.0);
}

}  // namespace
}  // namespace orrery::sim
