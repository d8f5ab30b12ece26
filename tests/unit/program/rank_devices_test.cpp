// SPDX-License-Identifier: Apache-2.0
#include "program/rank_devices.h"

#include "program/lower.h"
#include "tests/unit/program/small_models.h"

#include <numeric>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Strategy strategy_of(std::string_view order, std::int64_t pp, std::int64_t tp = 1, std::int64_t ep = 1,
                     std::int64_t cp = 1, std::int64_t etp = 1) {
  Strategy s;
  s.order = order;
  s.pp = pp;
  s.tp = tp;
  s.ep = ep;
  s.cp = cp;
  s.etp = etp;
  return s;
}

/// The stage on each device, in their order, and that of each rank is asked of the mesh.
std::vector<int> stage_on_device(const Strategy& s, std::int64_t world) {
  const Mesh mesh(s, world);
  const RankDevices devices(s, world);
  std::vector<int> out(static_cast<std::size_t>(world), -1);
  for (std::int32_t rank = 0; rank < world; ++rank) {
    out.at(devices.of(RankId(rank)).index()) = static_cast<int>(mesh.coords(RankId(rank)).pp);
  }
  return out;
}

std::vector<int> devices_of(const Strategy& s, std::int64_t world, Group group, std::int32_t rank) {
  std::vector<int> out;
  for (const RankId member : Mesh(s, world).members(group, RankId(rank))) {
    out.push_back(RankDevices(s, world).of(member).value());
  }
  return out;
}

// The example of the header.
TEST(RankDevices, LayBlocksOfStagesSideBySide) {
  EXPECT_THAT(stage_on_device(strategy_of("tp-cp-ep-dp-pp", 2, 2), 8), ElementsAre(0, 0, 0, 0, 1, 1, 1, 1));
  EXPECT_THAT(stage_on_device(strategy_of("tp-pp-cp-ep-dp", 2, 2), 8), ElementsAre(0, 0, 1, 1, 0, 0, 1, 1));
  EXPECT_THAT(stage_on_device(strategy_of("pp-tp-cp-ep-dp", 2, 2), 8), ElementsAre(0, 1, 0, 1, 0, 1, 0, 1));
}

/// The lowest rank of the group on each device.
std::vector<int> group_on_device(const Strategy& s, std::int64_t world, Group group) {
  const Mesh mesh(s, world);
  const RankDevices devices(s, world);
  std::vector<int> out(static_cast<std::size_t>(world), -1);
  for (std::int32_t rank = 0; rank < world; ++rank) {
    out.at(devices.of(RankId(rank)).index()) = mesh.members(group, RankId(rank)).front().value();
  }
  return out;
}

// The example of the header.
TEST(RankDevices, LayRanksWithTheSameExpertsSideBySide) {
  EXPECT_THAT(group_on_device(strategy_of("tp-cp-ep-dp-pp", 1, 2, 4), 8, Group::ep),
              ElementsAre(0, 0, 0, 0, 4, 4, 4, 4));
  const Strategy apart = strategy_of("tp-cp-dp-ep-pp", 1, 2, 4);
  EXPECT_THAT(group_on_device(apart, 8, Group::ep), ElementsAre(0, 0, 4, 4, 0, 0, 4, 4));
  EXPECT_THAT(devices_of(apart, 8, Group::tp, 2), ElementsAre(4, 5)) << "ranks of a TP group stay together";
  // Two nodes of four: an EP group of two has one device of each, on the same rail.
  const Strategy rails = strategy_of("tp-cp-dp-ep-pp", 1, 1, 2);
  EXPECT_THAT(devices_of(rails, 8, Group::ep, 2), ElementsAre(1, 5));
  EXPECT_THAT(devices_of(rails, 8, Group::edp, 0), ElementsAre(0, 1, 2, 3));
  // Stages stay side by side; experts that take all of a stage, or less than a TP group, have nothing to lay apart.
  EXPECT_THAT(stage_on_device(strategy_of("tp-cp-dp-ep-pp", 2, 1, 2), 8), ElementsAre(0, 0, 0, 0, 1, 1, 1, 1));
  EXPECT_THAT(devices_of(strategy_of("tp-cp-dp-ep-pp", 2, 1, 2), 8, Group::ep, 4), ElementsAre(4, 6));
  EXPECT_EQ(copies_of_experts(strategy_of("tp-cp-dp-ep-pp", 2, 1, 4), 8), CopiesOfExperts());
  EXPECT_EQ(copies_of_experts(strategy_of("tp-cp-dp-ep-pp", 1, 4, 2), 8), CopiesOfExperts());
}

// DeepSpeed's groups with use_data_before_expert_parallelism: utils/groups.py takes every (world / ep)th rank.
TEST(RankDevices, AreThoseOfDeepSpeedWithDataBeforeExperts) {
  const Strategy s = strategy_of("tp-cp-dp-ep-pp", 1, 1, 4);
  EXPECT_THAT(devices_of(s, 16, Group::ep, 0), ElementsAre(0, 4, 8, 12));
  EXPECT_THAT(devices_of(s, 16, Group::ep, 7), ElementsAre(1, 5, 9, 13));
}

TEST(RankDevices, GiveEveryRankADeviceOfItsOwn) {
  for (const std::string_view order : kRankOrders) {
    for (const auto& [tp, ep, cp, etp] : {std::array{1, 1, 1, 1}, {2, 4, 1, 1}, {2, 8, 2, 1}, {4, 2, 1, 2}}) {
      const Strategy s = strategy_of(order, 3, tp, ep, cp, etp);
      const RankDevices devices(s, 96);
      std::set<DeviceIndex> taken;
      for (std::int32_t rank = 0; rank < 96; ++rank) taken.insert(devices.of(RankId(rank)));
      EXPECT_EQ(taken.size(), 96U) << order;
      EXPECT_EQ(taken.begin()->value(), 0) << order;
      EXPECT_EQ(taken.rbegin()->value(), 95) << order;
    }
  }
}

TEST(RankDevices, KeepGroupsOfTheDimensionsBeforePipelinesTogether) {
  // A pipeline rank has 16 ranks: 2 by tp, 4 by ep.
  const Strategy experts = strategy_of("tp-cp-ep-pp-dp", 4, 2, 4);
  EXPECT_EQ(block_of_stage(experts, 64), 4);
  EXPECT_THAT(devices_of(experts, 64, Group::ep, 21), ElementsAre(20, 21, 22, 23));
  EXPECT_THAT(devices_of(experts, 64, Group::pp_next, 1), ElementsAre(5));
  EXPECT_THAT(devices_of(experts, 64, Group::edp, 1), ElementsAre(1, 17, 33, 49));
  const Strategy tensors = strategy_of("tp-pp-cp-ep-dp", 4, 2, 4);
  EXPECT_EQ(block_of_stage(tensors, 64), 2);
  EXPECT_THAT(devices_of(tensors, 64, Group::tp, 17), ElementsAre(2, 3));
  EXPECT_THAT(devices_of(tensors, 64, Group::pp_next, 1), ElementsAre(3));
  EXPECT_THAT(devices_of(tensors, 64, Group::ep, 0), ElementsAre(0, 1, 8, 9));
}

TEST(RankDevices, TakeWholeGroupsOfAttentionAndOfExperts) {
  EXPECT_EQ(block_of_stage(strategy_of("tp-cp-ep-pp-dp", 2, 2, 3), 24), 6);
  EXPECT_EQ(block_of_stage(strategy_of("tp-pp-cp-ep-dp", 2, 1, 2, 1, 4), 32), 4) << "etp";
  EXPECT_EQ(block_of_stage(strategy_of("tp-cp-pp-ep-dp", 2, 2, 8, 2), 32), 4);
  EXPECT_EQ(block_of_stage(strategy_of("tp-cp-ep-dp-pp", 2, 2, 8, 2), 32), 16);
}

// Megatron-LM numbers ranks in its order, and rank r is on device r: RankGenerator of parallel_state.py with the order
// "tp-cp-ep-pp-dp", tp 2, pp 2, dp 2, gives these pipelines.
TEST(RankDevices, AreThoseOfMegatronWithItsOtherMapping) {
  const Strategy s = strategy_of("tp-cp-ep-pp-dp", 2, 2, 2);
  EXPECT_THAT(devices_of(s, 8, Group::pp_next, 0), ElementsAre(2));
  EXPECT_THAT(devices_of(s, 8, Group::pp_next, 1), ElementsAre(3));
  EXPECT_THAT(devices_of(s, 8, Group::pp_next, 2), ElementsAre(6));
  EXPECT_THAT(devices_of(s, 8, Group::dp, 1), ElementsAre(1, 5));
}

TEST(RankDevices, AreThoseThatAreListedWhateverTheOrder) {
  const std::vector<DeviceIndex> listed = {DeviceIndex(7), DeviceIndex(0), DeviceIndex(3), DeviceIndex(1)};
  const RankDevices devices(strategy_of("pp-tp-cp-ep-dp", 2), 4, listed);
  EXPECT_EQ(devices.of(RankId(0)), DeviceIndex(7));
  EXPECT_EQ(devices.of(RankId(2)), DeviceIndex(3));
}

TEST(RankDevices, ChangeNoProgram) {
  const Model model = testing::small_moe(2);
  Strategy s = testing::small_strategy(model, 2, 2);
  const std::string hash = hash_of(lower(model, s, {.seq = 8, .global_batch = 8}, 8));
  for (const std::string_view order : kRankOrders) {
    s.order = order;
    EXPECT_EQ(hash_of(lower(model, s, {.seq = 8, .global_batch = 8}, 8)), hash) << order;
  }
}

TEST(OtherOrders, AreThoseThatMakeADifference) {
  EXPECT_THAT(other_orders(strategy_of("tp-cp-ep-dp-pp", 2, 2, 4), 16),
              ElementsAre("tp-cp-ep-pp-dp", "tp-cp-pp-ep-dp", "pp-tp-cp-ep-dp", "tp-cp-dp-ep-pp"));
  EXPECT_THAT(other_orders(strategy_of("pp-tp-cp-ep-dp", 2), 16), ElementsAre("tp-cp-ep-dp-pp")) << "no groups to keep";
  EXPECT_THAT(other_orders(strategy_of("tp-cp-ep-dp-pp", 2, 2, 8), 16), ElementsAre("tp-cp-pp-ep-dp", "pp-tp-cp-ep-dp"))
      << "experts take the whole stage";
  EXPECT_THAT(other_orders(strategy_of("tp-cp-ep-dp-pp", 1, 2, 4), 16), ElementsAre("tp-cp-dp-ep-pp")) << "no pipeline";
  EXPECT_THAT(other_orders(strategy_of("tp-cp-ep-dp-pp", 1, 2), 16), IsEmpty()) << "nor experts";
  const std::vector<std::string_view> wanted = {"tp-cp-ep-dp-pp", "pp-tp-cp-ep-dp"};
  EXPECT_THAT(other_orders(strategy_of("tp-cp-ep-dp-pp", 2, 2, 4), 16, wanted), ElementsAre("pp-tp-cp-ep-dp"));
}

}  // namespace
}  // namespace orrery
