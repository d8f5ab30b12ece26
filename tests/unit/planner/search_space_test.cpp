// SPDX-License-Identifier: Apache-2.0
#include "planner/search_space.h"

#include "tests/unit/program/small_models.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using testing::small_mla;
using testing::small_moe;

std::vector<Strategy> all(const SearchSpace& space) {
  std::vector<Strategy> strategies;
  for (std::int64_t i = 0; i < space.size(); ++i) {
    if (std::optional<Strategy> strategy = space.at(i)) strategies.push_back(*std::move(strategy));
  }
  return strategies;
}

std::string domain_of(const SearchSpace& space, const std::string& name) {
  for (const Certificate::Dimension& dimension : space.domain()) {
    if (dimension.name == name) return dimension.domain;
  }
  return "no such dimension";
}

TEST(SearchSpace, HoldsEveryCombinationOnce) {
  const Model model = small_moe();
  const std::vector<Strategy> strategies = all(SearchSpace(model, 4));
  for (std::size_t i = 0; i < strategies.size(); ++i) {
    EXPECT_EQ(std::count(strategies.begin(), strategies.end(), strategies[i]), 1) << i;
  }
  // Layouts, with 4 layers: 1 for pp 1, 1 for pp 2, and for pp 4 one layer each, which has none to spare. ZeRO: all
  // four where there are more ranks than experts need, the dense one alone where edp is 1, none where dp is 1.
  // pp 1: ep 1 2 have edp 4 2; ep 4 has edp 1; ep 8 is cut off by the number of devices.
  const std::size_t zero_choices = (4 + 4 + 2) + (4 + 2 + 2) + (1 + 1 + 1);
  const std::size_t recompute_choices = 7;  // none, layernorm, core_attn, mlp, moe, moe_act, full
  EXPECT_EQ(strategies.size(), zero_choices * 4 * 2 * recompute_choices);
}

TEST(SearchSpace, ListsDivisorsOfDevicesAndExperts) {
  const Model model = small_moe(6);
  const SearchSpace space(model, 12);
  EXPECT_EQ(domain_of(space, "pp"), "1 2 3 4 6");
  EXPECT_EQ(domain_of(space, "ep"), "1 2 4 8");
  EXPECT_EQ(domain_of(space, "dp"), "12 / pp");
  EXPECT_EQ(domain_of(space, "micro_batch"), "1 2 4 8");
  EXPECT_EQ(domain_of(space, "schedule"), "1f1b gpipe");
  EXPECT_EQ(domain_of(space, "stages"), "even, one layer less on the first, on the last, on both");
}

TEST(SearchSpace, RecomputesOnlyWhatTheModelHas) {
  const Model moe = small_moe(), mla = small_mla();
  EXPECT_EQ(domain_of(SearchSpace(moe, 4), "recompute"), "none layernorm core_attn mlp moe moe_act full");
  EXPECT_EQ(domain_of(SearchSpace(mla, 4), "recompute"),
            "none layernorm core_attn mla_up_proj mlp moe moe_act shared_experts full");
}

TEST(SearchSpace, TakesALayerFromTheEnds) {
  const Model model = small_moe(8);
  std::set<std::vector<std::int64_t>> layouts;
  for (const Strategy& strategy : all(SearchSpace(model, 4))) {
    if (strategy.pp != 4) continue;
    std::vector<std::int64_t> layers;
    for (const StageLayout& stage : strategy.stages) layers.push_back(stage.num_layers);
    layouts.insert(layers);
  }
  using Layers = std::vector<std::int64_t>;
  EXPECT_THAT(layouts, ::testing::UnorderedElementsAre(Layers{2, 2, 2, 2}, Layers{1, 2, 3, 2}, Layers{2, 2, 3, 1},
                                                       Layers{1, 3, 3, 1}));
}

TEST(SearchSpace, TriesTheStagesThatTheUserListed) {
  const Model model = small_moe();
  Strategy base = testing::small_strategy(model, 2);
  base.stages[0].num_layers = 3;
  base.stages[1].first_layer = 3;
  base.stages[1].num_layers = 1;
  base.precision = DType::f32;
  const SearchSpace space(model, 4, base);
  EXPECT_EQ(domain_of(space, "stages"),
            "even, one layer less on the first, on the last, on both, as listed by the user");
  const std::vector<Strategy> strategies = all(space);
  const auto listed = std::find_if(strategies.begin(), strategies.end(),
                                   [&](const Strategy& strategy) { return strategy.stages == base.stages; });
  ASSERT_NE(listed, strategies.end());
  EXPECT_EQ(listed->pp, 2);
  for (const Strategy& strategy : strategies) EXPECT_EQ(strategy.precision, DType::f32);
}

TEST(SearchSpace, EvenStagesOfABaseAddNothing) {
  const Model model = small_moe();
  EXPECT_EQ(all(SearchSpace(model, 4, testing::small_strategy(model, 2))), all(SearchSpace(model, 4)));
}

TEST(SearchSpace, ADenseModelHasNoExpertDimension) {
  Model model = small_moe();
  model.moe.reset();
  model.layers.assign(4, LayerKind::dense);
  const SearchSpace space(model, 4);
  EXPECT_EQ(domain_of(space, "ep"), "1");
  for (const Strategy& strategy : all(space)) EXPECT_EQ(strategy.zero_expert, 0);
}

}  // namespace
}  // namespace orrery::planner
