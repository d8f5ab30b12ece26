// SPDX-License-Identifier: Apache-2.0
// What a search leaves as stated until somebody lists values of it.
#include "planner/on_demand.h"

#include "base/errors.h"
#include "costmodel/analytic_interpreter.h"
#include "planner/conditions.h"
#include "planner/operator_choices.h"
#include "tests/unit/planner/problem.h"

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Domains where(const std::vector<std::string>& conditions, const Strategy& base = {}) {
  Domains d = testing::SmallSearch(8).domains(base);
  keep_where(d, conditions);
  return d;
}

Certificate::Dimension row(const Domains& d, std::string_view name) {
  for (const Certificate::Dimension& dimension : d.manifest("exhaustive")) {
    if (dimension.name == name) return dimension;
  }
  return {};
}

TEST(OnDemand, ASearchTakesTheBaseAsItIs) {
  Strategy base{.optimizer = OptimizerKind::muon, .grad_wire_dtype = DType::bf16};
  const std::vector<Strategy> bases = bases_of(where({}, base));
  ASSERT_EQ(bases.size(), 1);
  base.order = bases[0].order;
  EXPECT_EQ(bases[0], base);
}

TEST(OnDemand, AConditionThatListsValuesWidensTheDomain) {
  EXPECT_THAT(where({"precision=bf16,fp8"}).precision, ElementsAre(DType::bf16, DType::fp8));
  EXPECT_THAT(where({"precision=fp8"}).precision, ElementsAre(DType::fp8));
  EXPECT_THAT(where({"optimizer=muon,adamw"}).optimizer, ElementsAre(OptimizerKind::adamw, OptimizerKind::muon));
  EXPECT_THAT(where({"capacity_factor=none,1.25"}).capacity_factor,
              ElementsAre(std::optional<double>(), std::optional<double>(1.25)));
  EXPECT_THAT(where({"cuda_graphs=0,1"}).cuda_graphs, ElementsAre(0, 1));
}

TEST(OnDemand, ConditionsThatContradictEachOtherAreRefused) {
  const auto refusal = [](const std::vector<std::string>& conditions) -> std::string {
    try {
      where(conditions);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(refusal({"precision=fp8", "precision=bf16"}), HasSubstr("contradict each other"));
  EXPECT_THAT(refusal({"precision=fp4"}), HasSubstr("\"fp4\" is none of its values here, which are bf16 f32 fp8"));
  EXPECT_THAT(refusal({"precision!=bf16"}), HasSubstr("nothing is left of its values, which are bf16"));
}

TEST(OnDemand, TheManifestHasARowForEach) {
  const Domains d = where({"precision=bf16,fp8"});
  EXPECT_EQ(row(d, "precision").domain, "bf16 fp8");
  EXPECT_EQ(row(d, "precision").claim, "exhaustive");
  EXPECT_EQ(row(d, "optimizer").domain, "adamw");
  EXPECT_EQ(row(d, "optimizer").claim, "as stated: a condition may list others");
  EXPECT_EQ(row(d, "capacity_factor").domain, "none");
  visit_on_demand(d, [&](std::string_view name, const auto&, auto, const auto&) {
    EXPECT_EQ(row(d, name).name, name);
    EXPECT_TRUE(is_on_demand(name));
  });
  EXPECT_FALSE(is_on_demand("tp"));
}

TEST(OnDemand, BasesAreAllCombinationsThatDiffer) {
  // A recipe of fp8 says nothing of bf16.
  const Domains d = where({"precision=bf16,fp8", "fp8_recipe=blockwise,mxfp8", "optimizer=adamw,muon"});
  const std::vector<Strategy> bases = bases_of(d);
  EXPECT_EQ(bases.size(), (1U + 2U) * 2U);
  for (std::size_t i = 0; i < bases.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_FALSE(bases[i] == bases[j]) << i << " " << j;
  }
}

TEST(OnDemand, WhatNoChoiceAllowsIsTakenOut) {
  Domains d = where({"optimizer=muon"});
  drop_what_none_allows(d);
  EXPECT_THAT(d.zero_dense, ElementsAre(0, 1));
  EXPECT_THAT(d.zero_expert, ElementsAre(0, 1));
  d = where({"optimizer=adamw,muon", "capacity_factor=1.25"});
  drop_what_none_allows(d);
  EXPECT_THAT(d.zero_dense, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(d.dispatcher, ElementsAre(Dispatcher::all_to_all));
  // Somebody wants what is illegal: rules will say so.
  d = where({"optimizer=muon", "zero_dense=3"});
  drop_what_none_allows(d);
  EXPECT_THAT(d.zero_dense, ElementsAre(3));
}

// A search of two optimizers finds the better of what two searches find, and its gap is 0 as theirs are.
TEST(OnDemand, ASearchOfTwoValuesFindsTheBetterOfTwoSearches) {
  testing::SmallSearch small(4);
  const auto cost_model = std::make_shared<testing::OneGigaflop>(small.cluster);
  const costmodel::AnalyticInterpreter analytic(cost_model, small.cluster);
  constexpr SearchLimits kSeeAll{
      .num_families = 1'000'000, .num_refined = 1'000'000, .num_analytic = 1'000'000, .num_closing = 1'000'000};
  const auto best = [&](const std::string& condition) {
    Domains d = small.domains();
    keep_where(d, std::vector<std::string>{condition, "tp<=2", "cp=1", "pp<=2", "micro_batch=1", "recompute=none",
                                           "schedule=1f1b", "overlap.delayed_wgrad=0"});
    auto outcome = search(d, small.problem(), *cost_model, analytic, nullptr, kSeeAll);
    EXPECT_EQ(std::get<SearchResult>(outcome).certificate.gap, 0.0);
    return std::get<SearchResult>(outcome).ranked.front();
  };
  const auto time = [](const RankedPlan& plan) { return plan.predictions.back().step_time; };
  const RankedPlan f32 = best("grad_wire_dtype=f32"), bf16 = best("grad_wire_dtype=bf16"),
                   either = best("grad_wire_dtype=f32,bf16");
  EXPECT_EQ(time(either), std::min(time(f32), time(bf16)));
  EXPECT_NE(time(f32), time(bf16));
}

}  // namespace
}  // namespace orrery::planner
