// SPDX-License-Identifier: Apache-2.0
// Which demands have to go where nothing is left, asked of small searches.
#include "planner/demands.h"

#include "costmodel/analytic_interpreter.h"
#include "planner/conditions.h"
#include "tests/unit/planner/problem.h"

#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

/// The hint of a search under `demands`; "something runs" if it is none.
std::string hint(const testing::SmallSearch& small, const Demands& demands) {
  const auto cost_model = std::make_shared<testing::OneGigaflop>(small.cluster);
  const costmodel::AnalyticInterpreter analytic(cost_model, small.cluster);
  const SearchDomains run = [&](const Domains& domains, std::optional<Bytes> limit) {
    SearchProblem problem = small.problem();
    problem.memory_limit = limit;
    return search(domains, problem, *cost_model, analytic, nullptr);
  };
  Domains domains = small.domains();
  keep_where(domains, demands.conditions);
  const auto outcome = run(domains, demands.memory_limit);
  const auto* infeasible = std::get_if<Infeasible>(&outcome);
  if (infeasible == nullptr) return "something runs";
  return blame_demands({.reason = infeasible->reason, .hint = "as it was"}, small.domains(), demands, run).hint;
}

TEST(Demands, AreNamedIfSomethingRunsWithoutThem) {
  const testing::SmallSearch small(8);
  EXPECT_EQ(hint(small, {.conditions = {"tp=2", "pp=2"}, .memory_limit = {}}), "something runs");
  // Of eight devices no 16 can be had; what has nothing to do with it is not named.
  EXPECT_THAT(hint(small, {.conditions = {"cp=1", "tp=4", "pp=4", "recompute=none"}, .memory_limit = {}}),
              ::testing::MatchesRegex("something can run without \"tp=4\" \\(tp=[12] would do\\), or without "
                                      "\"pp=4\" \\(pp=[12] would do\\)"));
}

TEST(Demands, ThatOnlyTogetherAreTooMuchAreNamedTogether) {
  const testing::SmallSearch small(8);
  EXPECT_EQ(hint(small, {.conditions = {"tp=4", "pp=4", "ep=8", "etp=2"}, .memory_limit = {}}),
            "something can run without all of \"pp=4\", \"etp=2\"");
}

TEST(Demands, SayHowMuchMemoryWouldDo) {
  const testing::SmallSearch small(8);
  const Bytes little = bytes(1000);
  // Of 2 GiB that no plan spares, a little more is used.
  EXPECT_THAT(hint(small, {.conditions = {"pp=1"}, .memory_limit = little}),
              ::testing::MatchesRegex("something can run without --memory-limit 1.*B \\(2.[01] GiB would do\\)"));
}

TEST(Demands, ThatAreNotToBlameChangeNothing) {
  const testing::SmallSearch small(8, bytes(1000));
  EXPECT_EQ(hint(small, {.conditions = {"pp=1"}, .memory_limit = {}}), "as it was");
  EXPECT_EQ(hint(small, {.conditions = {}, .memory_limit = {}}), "as it was");
}

}  // namespace
}  // namespace orrery::planner
