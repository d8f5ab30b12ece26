// SPDX-License-Identifier: Apache-2.0
#include "program/mesh.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::ElementsAre;

std::vector<int> numbers(const std::vector<RankId>& ranks) {
  std::vector<int> out;
  for (const RankId rank : ranks) out.push_back(rank.value());
  return out;
}

Mesh mesh_of(std::int64_t pp, std::int64_t ep, std::int64_t world) {
  Strategy strategy;
  strategy.pp = pp;
  strategy.ep = ep;
  return Mesh(strategy, world);
}

TEST(Mesh, ExpertGroupsAreConsecutiveRanksAndExpertReplicasLieBetweenThem) {
  const Mesh mesh = mesh_of(2, 2, 8);
  EXPECT_EQ(mesh.dp(), 4);
  EXPECT_EQ(mesh.edp(), 2);
  EXPECT_THAT(numbers(mesh.members(Group::ep, RankId(5))), ElementsAre(4, 5));
  EXPECT_THAT(numbers(mesh.members(Group::edp, RankId(5))), ElementsAre(5, 7));
  EXPECT_THAT(numbers(mesh.members(Group::dp, RankId(5))), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(numbers(mesh.members(Group::world, RankId(5))), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
}

TEST(Mesh, PipelineNeighboursGoAroundTheRing) {
  const Mesh mesh = mesh_of(4, 1, 8);
  EXPECT_THAT(numbers(mesh.members(Group::pp_next, RankId(1))), ElementsAre(3));
  EXPECT_THAT(numbers(mesh.members(Group::pp_prev, RankId(1))), ElementsAre(7));
  EXPECT_EQ(mesh.size(Group::pp_next), 2);
}

TEST(Mesh, TensorParallelRanksAreClosestAndContextParallelRanksNext) {
  Strategy strategy;
  strategy.tp = 2;
  strategy.cp = 2;
  strategy.ep = 4;
  const Mesh mesh(strategy, 16);
  EXPECT_THAT(numbers(mesh.members(Group::tp, RankId(5))), ElementsAre(4, 5));
  EXPECT_THAT(numbers(mesh.members(Group::cp, RankId(5))), ElementsAre(5, 7));
  EXPECT_THAT(numbers(mesh.members(Group::dp, RankId(5))), ElementsAre(1, 3, 5, 7, 9, 11, 13, 15));
  EXPECT_THAT(numbers(mesh.members(Group::ep, RankId(5))), ElementsAre(4, 5, 6, 7));
}

TEST(Mesh, KnowsWhichGroupsSpanPipelineRanks) {
  Strategy strategy;
  strategy.pp = 4;
  for (const Schedule schedule : {Schedule::one_f_one_b, Schedule::dualpipe}) {
    strategy.schedule = schedule;
    strategy.stages = even_stages(4, 4);
    const Mesh mesh(strategy, 16);
    for (int index = 0; index < kNumGroups; ++index) {
      const auto group = static_cast<Group>(index);
      std::set<std::int64_t> pipeline_ranks = {mesh.coords(RankId(0)).pp};
      for (const RankId member : mesh.members(group, RankId(0))) pipeline_ranks.insert(mesh.coords(member).pp);
      EXPECT_EQ(mesh.spans_pipeline_ranks(group), pipeline_ranks.size() > 1) << name_of(schedule) << ' ' << index;
    }
  }
  EXPECT_FALSE(Mesh(Strategy{}, 4).spans_pipeline_ranks(Group::world));
}

TEST(Mesh, EveryRankIsAtItsIndexAmongItsMembersAndSharesTheirGroupIndex) {
  const Mesh mesh = mesh_of(2, 4, 16);
  for (int r = 0; r < 16; ++r) {
    for (const Group group : {Group::self, Group::dp, Group::ep, Group::edp, Group::stage, Group::world}) {
      const auto members = mesh.members(group, RankId(r));
      EXPECT_EQ(static_cast<std::int64_t>(members.size()), mesh.size(group));
      EXPECT_EQ(members.at(static_cast<std::size_t>(mesh.index_in_group(group, RankId(r)))), RankId(r));
      for (const RankId member : members) {
        EXPECT_EQ(mesh.group_index(group, member), mesh.group_index(group, RankId(r)));
      }
    }
  }
}

}  // namespace
}  // namespace orrery
