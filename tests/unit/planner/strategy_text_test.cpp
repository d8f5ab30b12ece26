// SPDX-License-Identifier: Apache-2.0
#include "planner/strategy_text.h"

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

Strategy strategy_of(std::int64_t num_layers, std::int64_t pp) {
  Strategy strategy;
  strategy.pp = pp;
  strategy.stages = even_stages(num_layers, pp);
  return strategy;
}

TEST(StrategyText, WritesRunsOfEqualStagesOnce) {
  EXPECT_EQ(layout_text(strategy_of(61, 16)), "2x3+13x4+3");
  EXPECT_EQ(layout_text(strategy_of(8, 4)), "4x2");
  EXPECT_EQ(layout_text(strategy_of(4, 1)), "4");
}

TEST(StrategyText, NamesModulesThatAnyStageRecomputes) {
  Strategy strategy = strategy_of(4, 2);
  EXPECT_EQ(recompute_text(strategy), "none");
  strategy.stages[1].recompute = {RecomputeModule::moe_act, RecomputeModule::layernorm};
  EXPECT_EQ(recompute_text(strategy), "layernorm+moe_act");
}

TEST(StrategyText, NamesInstancesOfTheOptimizerAndGraphs) {
  Strategy strategy{.zero_dense = 3, .zero_expert = 1};
  EXPECT_EQ(zero_text(strategy), "3/1");
  strategy.num_optimizer_instances = 4;
  EXPECT_EQ(zero_text(strategy), "3/1 x4");
  EXPECT_EQ(overlap_text(strategy), "none");
  strategy.overlap.dp_buckets = strategy.cuda_graphs = true;
  EXPECT_EQ(overlap_text(strategy), "dp+graphs");
}

TEST(StrategyText, SaysOnOneLineWhatDiffersBetweenCandidates) {
  Strategy strategy = strategy_of(4, 2);
  strategy.ep = 8;
  strategy.zero_dense = 1;
  strategy.schedule = Schedule::gpipe;
  EXPECT_EQ(short_text(strategy), "pp 2 ep 8 zero 1/0 micro-batch 1 gpipe recompute none stages 2x2");
}

}  // namespace
}  // namespace orrery::planner
