// SPDX-License-Identifier: Apache-2.0
#include "planner/domains.h"

#include "tests/conformance/programs.h"
#include "tests/unit/program/small_models.h"

#include <algorithm>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using testing::small_cluster;
using testing::small_mla;
using testing::small_moe;

Domains domains(const Model& model, std::int64_t num_devices, Strategy base = {}) {
  return domains_of(model, small_cluster(1, num_devices), {.seq = 2048, .global_batch = 24}, std::move(base));
}

std::string manifest_of(const Domains& d, const std::string& name) {
  for (const Certificate::Dimension& dimension : d.manifest("exhaustive")) {
    if (dimension.name == name) return dimension.domain;
  }
  return "no such dimension";
}

TEST(Domains, HoldDivisorsOfDevicesExpertsAndBatch) {
  const Domains d = domains(small_moe(6), 12);
  EXPECT_THAT(d.tp, ElementsAre(1, 2, 3, 4, 6, 12));  // one node is one scale-up domain
  EXPECT_THAT(d.pp, ElementsAre(1, 2, 3, 4, 6));
  EXPECT_THAT(d.ep, ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(d.cp, ElementsAre(1, 2, 3, 4));  // 512 of 2048 tokens on each
  EXPECT_THAT(d.micro_batch, ElementsAre(1, 2, 4, 8));
  EXPECT_EQ(d.schedule.size(), 8);
  EXPECT_THAT(d.zero_expert, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(d.shared_expert, ElementsAre(0));
}

TEST(Domains, ADenseModelHasNoExpertDimension) {
  Model model = small_moe();
  model.moe.reset();
  model.layers.assign(4, LayerKind::dense);
  const Domains d = domains(model, 4);
  EXPECT_THAT(d.ep, ElementsAre(1));
  EXPECT_THAT(d.etp, ElementsAre(1));
  EXPECT_THAT(d.zero_expert, ElementsAre(0));
  EXPECT_THAT(d.dispatcher, ElementsAre(Dispatcher::all_to_all));
}

TEST(Domains, SearchInstancesOfTheOptimizerAsFarAsThereAreScaleUpDomains) {
  EXPECT_THAT(domains(small_moe(), 8).num_optimizer_instances, ElementsAre(1));
  const Domains d = domains_of(small_moe(), small_cluster(4, 4), {.seq = 2048, .global_batch = 24});
  EXPECT_THAT(d.num_optimizer_instances, ElementsAre(1, 2, 4));
}

// Where the router says how many rows there are, graphs are searched on demand.
TEST(Domains, SearchGraphsWhereTheyCanHoldAStep) {
  Model dense = small_moe();
  dense.moe.reset();
  dense.layers.assign(4, LayerKind::dense);
  EXPECT_THAT(domains(dense, 4).cuda_graphs, ElementsAre(0, 1));
  EXPECT_THAT(domains(small_moe(), 4).cuda_graphs, ElementsAre(0));
  EXPECT_THAT(domains(small_moe(), 4, {.capacity_factor = 1.25}).cuda_graphs, ElementsAre(0, 1));
}

TEST(Domains, RecomputeSetsAreThoseThatTheRulesAllow) {
  // layernorm, core_attn, mlp and at most one of moe and moe_act, in all combinations; or full.
  const auto sets = recompute_choices(small_moe());
  EXPECT_EQ(sets.size(), 2U * 2U * 2U * 3U + 1U);
  EXPECT_TRUE(sets.front().empty());
  EXPECT_EQ(std::count(sets.begin(), sets.end(), std::set{RecomputeModule::full}), 1);
  // Latent projections beside them; shared experts only where moe does not run them again.
  EXPECT_EQ(recompute_choices(small_mla()).size(), 2U * 2U * 2U * 2U * (1U + 4U) + 1U);
}

TEST(Domains, LayoutsTakeALayerFromTheEndsAndRepeatNone) {
  const Model model = small_moe(8);
  const Domains d = domains(model, 4);
  std::vector<std::vector<std::int64_t>> layouts;
  Strategy s;
  s.pp = 4;
  for (const Layout& layout : d.layouts) {
    std::vector<std::int64_t> counts;
    for (const StageLayout& stage : stages_of_layout(model, layout, s)) counts.push_back(stage.num_layers);
    if (layout.kind != Layout::Kind::equal_time && !counts.empty()) layouts.push_back(counts);
  }
  EXPECT_THAT(layouts, ElementsAre(ElementsAre(2, 2, 2, 2), ElementsAre(1, 2, 3, 2), ElementsAre(2, 2, 3, 1),
                                   ElementsAre(1, 3, 3, 1)));
  s.pp = 8;  // no layer to spare
  EXPECT_TRUE(stages_of_layout(model, {Layout::Kind::fewer_first, {}}, s).empty());
}

TEST(Domains, TryTheStagesThatTheUserListedWhereTheyAreNotTheEvenOnes) {
  const Model model = small_moe();
  Strategy base = testing::small_strategy(model, 2);
  EXPECT_EQ(domains(model, 4, base).layouts.size(), 6);
  base.stages[0].num_layers = 3;
  base.stages[1].first_layer = 3;
  base.stages[1].num_layers = 1;
  base.precision = DType::f32;
  const Domains d = domains(model, 4, base);
  EXPECT_EQ(manifest_of(d, "stages"),
            "even, one layer less on the first, on the last, on both, in equal time, as listed by the user, "
            "by dynamic programming");
  Strategy s = d.base;
  EXPECT_EQ(s.precision, DType::f32);
  s.pp = 2;
  EXPECT_EQ(stages_of_layout(model, d.layouts[5], s), base.stages);
  s.pp = 4;
  EXPECT_TRUE(stages_of_layout(model, d.layouts[5], s).empty());
}

}  // namespace
}  // namespace orrery::planner
