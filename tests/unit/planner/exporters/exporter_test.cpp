// SPDX-License-Identifier: Apache-2.0
#include "planner/exporters/exporter.h"

#include "planner/conditions.h"
#include "planner/domains.h"
#include "program/legality.h"
#include "program/rank_devices.h"
#include "tests/unit/planner/exporters/export_plan.h"
#include "tests/unit/planner/strategy_changes.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::lines_of;
using testing::plan_to_export;
using ::testing::UnorderedElementsAreArray;

TEST(Exporters, TheCasesChangeEveryKeyOfAStrategy) {
  std::set<std::string> changed;
  for (const auto& [key, change] : testing::strategy_changes()) changed.insert(key);
  EXPECT_THAT(changed, UnorderedElementsAreArray(testing::keys_of_strategy()));
}

/// Whether `exporter` says something else, or says it otherwise, once the plan that `from` makes is changed by `to`.
bool shows(const Exporter& exporter, const testing::Change& from, const testing::Change& to) {
  Plan before = plan_to_export();
  from(before.strategy);
  Plan after = before;
  to(after.strategy);
  EXPECT_NE(before.strategy, after.strategy);
  const Export first = exporter.write(before), second = exporter.write(after);
  return first.text != second.text || first.listed != second.listed || first.refused != second.refused;
}

TEST(Exporters, WriteListOrRefuseEveryFieldThatChanges) {
  for (const Exporter& exporter : exporters()) {
    for (const auto& [key, change] : testing::strategy_changes()) {
      EXPECT_TRUE(shows(exporter, change.from, change.to) || shows(exporter, change.or_from, change.to))
          << exporter.target << ": " << key;
    }
  }
}

TEST(Exporters, CanAllWriteThePlainPlanWithoutALoss) {
  for (const Exporter& exporter : exporters()) {
    Plan plan = plan_to_export();
    // torchtitan's replicas know no other way.
    plan.strategy.overlap.dp_buckets = exporter.target.starts_with("torchtitan");
    ASSERT_THAT(violations(plan.model, plan.strategy, plan.batch, plan.num_ranks()), IsEmpty());
    const Export found = exporter.write(plan);
    EXPECT_THAT(lines_of(found.listed), IsEmpty()) << exporter.target;
    EXPECT_THAT(lines_of(found.refused), IsEmpty()) << exporter.target;
    EXPECT_FALSE(found.text.empty()) << exporter.target;
  }
}

TEST(Exporters, WriteNothingOfWhatTheyRefuse) {
  Plan plan = plan_to_export();
  plan.strategy.master_dtype = DType::bf16;
  for (const Exporter& exporter : exporters()) {
    const Export found = exporter.write(plan);
    EXPECT_EQ(found.refused.size(), 1U) << exporter.target;
    EXPECT_EQ(found.text, "") << exporter.target;
  }
}

// What a trainer refuses comes with conditions that a search takes.
TEST(Exporters, NameConditionsThatASearchKnows) {
  const Plan plan = plan_to_export();
  const Domains all = domains_of(plan.model, plan.cluster, plan.batch, plan.strategy);
  std::set<std::string> said;
  for (const Exporter& exporter : exporters()) {
    for (const auto& [key, change] : testing::strategy_changes()) {
      for (const testing::Change& from : {change.from, change.or_from}) {
        Plan changed = plan;
        from(changed.strategy);
        change.to(changed.strategy);
        const Export found = exporter.write(changed);
        for (const ExportNote& note : found.refused) {
          Domains left = all;
          EXPECT_NO_THROW(keep_where(left, note.conditions)) << exporter.target << ": " << note.key;
          said.insert(note.conditions.begin(), note.conditions.end());
        }
      }
    }
  }
  for (const char* condition : {"schedule=1f1b,interleaved", "schedule=1f1b", "order=tp-cp-ep-dp-pp", "tp=1"}) {
    EXPECT_TRUE(said.contains(condition)) << condition;
  }
}

TEST(SameRecompute, AsksForAllThatSomeStageRecomputes) {
  Strategy s;
  s.stages = even_stages(4, 2);
  EXPECT_EQ(same_recompute_condition(s), "recompute=none");
  s.stages[0].recompute = {RecomputeModule::layernorm, RecomputeModule::moe_act};
  EXPECT_EQ(same_recompute_condition(s), "recompute=layernorm+moe_act");
  s.stages[1].recompute = {RecomputeModule::moe};
  EXPECT_EQ(same_recompute_condition(s), "recompute=layernorm+moe");
  s.stages[1].recompute = {RecomputeModule::full};
  EXPECT_EQ(same_recompute_condition(s), "recompute=full");
}

TEST(Exporters, ListAPlacementThatIsNotTheOrderOfRanks) {
  for (const Exporter& exporter : exporters()) {
    Plan plan = plan_to_export();
    plan.strategy.overlap.dp_buckets = exporter.target.starts_with("torchtitan");
    for (int rank = 0; rank < 64; ++rank) plan.device_of_rank.emplace_back(rank);
    EXPECT_THAT(exporter.write(plan).listed, IsEmpty()) << exporter.target;
    std::swap(plan.device_of_rank[2], plan.device_of_rank[3]);
    EXPECT_THAT(lines_of(exporter.write(plan).listed),
                ElementsAre("placement: rank 2 is on device 3: only the launcher's list of hosts can say so"))
        << exporter.target;
  }
}

// Its ranks are counted as devices are, stage by stage or not.
TEST(Exporters, ListAPlacementThatIsNotThatOfTheirOrder) {
  const Exporter& megatron = *find_exporter("megatron");
  Plan plan = plan_to_export();
  plan.strategy.order = "tp-cp-ep-pp-dp";
  plan.strategy.tp = plan.strategy.etp = 4;
  plan.strategy.sp = true;
  plan.strategy.pp = 2;
  plan.strategy.stages = even_stages(8, 2);
  const RankDevices in_order(plan.strategy, 64);
  for (int rank = 0; rank < 64; ++rank) plan.device_of_rank.push_back(in_order.of(RankId(rank)));
  EXPECT_THAT(lines_of(megatron.write(plan).refused), IsEmpty());
  EXPECT_THAT(megatron.write(plan).listed, IsEmpty());
  EXPECT_EQ(plan.device_of_rank[4], DeviceIndex(8)) << "behind the second stage";
  std::swap(plan.device_of_rank[4], plan.device_of_rank[5]);
  EXPECT_THAT(lines_of(megatron.write(plan).listed),
              ElementsAre("placement: rank 8 is on device 9: only the launcher's list of hosts can say so"));
}

TEST(Exporters, AreFoundByTheNameOfTheTarget) {
  for (const Exporter& exporter : exporters()) EXPECT_EQ(find_exporter(exporter.target), &exporter);
  EXPECT_EQ(find_exporter("nemo"), nullptr);
}

TEST(UniformRecompute, LooksAtStagesThatHaveLayers) {
  Strategy s;
  s.stages = even_stages(4, 2);
  s.stages.push_back({.first_layer = 4, .head = true});
  EXPECT_EQ(uniform_recompute(s), std::set<RecomputeModule>());
  s.stages[0].recompute = s.stages[1].recompute = {RecomputeModule::moe};
  EXPECT_EQ(uniform_recompute(s), std::set{RecomputeModule::moe});
  EXPECT_FALSE(uniform_full_layers(s));
  s.stages[1].num_recompute_layers = 1;
  EXPECT_FALSE(uniform_recompute(s));
}

TEST(UniformRecompute, CountsTheFirstLayersOfAStageThatIsShorter) {
  Strategy s;
  s.stages = {{.num_layers = 3, .recompute = {RecomputeModule::full}, .num_recompute_layers = 2},
              {.first_layer = 3, .num_layers = 1, .recompute = {RecomputeModule::full}}};
  EXPECT_EQ(uniform_full_layers(s), 2);
  s.stages[1].num_layers = 2;
  s.stages[1].num_recompute_layers = 1;
  EXPECT_FALSE(uniform_full_layers(s));
}

TEST(SameSharding, DoesNotMindStatesThatNobodyShares) {
  Plan plan = plan_to_export();
  EXPECT_TRUE(same_sharding(plan));
  plan.strategy.zero_dense = 1;
  EXPECT_FALSE(same_sharding(plan));
  plan.strategy.ep = 8;
  plan.strategy.etp = 8;
  EXPECT_TRUE(same_sharding(plan));
}

}  // namespace
}  // namespace orrery::planner
