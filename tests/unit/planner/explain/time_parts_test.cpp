// SPDX-License-Identifier: Apache-2.0
#include "planner/explain/time_parts.h"

#include "costmodel/analytic_interpreter.h"
#include "program/lower.h"
#include "tests/unit/planner/problem.h"
#include "tests/unit/program/random_strategies.h"
#include "tests/unit/traces/tiny_trace.h"

#include <map>
#include <memory>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using testing::span;

constexpr const char* kDispatch = "step/mb0/stage0/layer0/fwd/moe.dispatch";

double ranks(const std::vector<TimePart>& parts, const std::string& name) {
  for (const TimePart& part : parts) {
    if (part.name == name) return part.of_ranks.in(unit::second);
  }
  return 0.0;
}

double path(const std::vector<TimePart>& parts, const std::string& name) {
  for (const TimePart& part : parts) {
    if (part.name == name) return part.of_path.in(unit::second);
  }
  return 0.0;
}

/// A step of one rank whose compute runs at 0-2 and 6-8.
Trace one_rank() {
  Trace trace;
  trace.header.represents = {{0, 4}};
  trace.spans.push_back(span(0, testing::kQkv, Queue::compute, 0, 0, 2));
  trace.spans.push_back(span(0, "step/mb0/stage0/layer0/fwd/attn.out", Queue::compute, 6, 6, 8));
  trace.steps.push_back({.step = 0, .time = seconds(8)});
  return trace;
}

TEST(TimeParts, OfTwoStagesAreComputeOneMessageAndBubbles) {
  // tiny_trace.h: of twice 6 seconds 4 are compute, 1 the message as rank 1 waits for it, 2 the last collective; rank 1
  // waits from 0 to 2 for its input, and rank 0 has nothing left to compute from 2 to 5.
  const std::vector<TimePart> parts = time_parts(testing::tiny_trace());
  EXPECT_EQ(ranks(parts, "compute"), 2.0);
  EXPECT_EQ(ranks(parts, "exposed pp"), 0.5);
  EXPECT_EQ(ranks(parts, "exposed world"), 1.0);
  EXPECT_EQ(ranks(parts, "bubble"), 2.5);
  EXPECT_EQ(path(parts, "compute"), 4.0);
  EXPECT_EQ(path(parts, "exposed pp"), 1.0);
  EXPECT_EQ(path(parts, "exposed world"), 1.0);
}

TEST(TimeParts, CallWaitingForTheSameStageImbalance) {
  Trace trace = one_rank();
  trace.spans.push_back(span(0, kDispatch, Queue::ep, 2, 3, 6, 1));
  const std::vector<TimePart> parts = time_parts(trace);
  EXPECT_EQ(ranks(parts, "compute"), 4.0);
  EXPECT_EQ(ranks(parts, "imbalance"), 1.0);
  EXPECT_EQ(ranks(parts, "exposed ep"), 3.0);
}

TEST(TimeParts, BlameWhatComputeWaitsForAndNotWhatRunsOnBesideIt) {
  Trace trace = one_rank();
  trace.spans.push_back(span(0, kDispatch, Queue::ep, 2, 2, 6));
  trace.spans.push_back(span(0, "step/stage0/sync/dp.grad_rs.b0", Queue::dp, 1, 1, 7));
  EXPECT_EQ(ranks(time_parts(trace), "exposed ep"), 4.0);
  EXPECT_EQ(ranks(time_parts(trace), "exposed dp"), 0.0);
}

TEST(TimeParts, ShareAnIntervalBetweenOneAndTheOther) {
  Trace trace = one_rank();
  trace.spans.push_back(span(0, kDispatch, Queue::ep, 2, 2, 5));
  trace.spans.push_back(span(0, "step/mb0/stage0/layer0/fwd/tp.attn_out", Queue::tp, 5, 5, 6));
  EXPECT_EQ(ranks(time_parts(trace), "exposed ep"), 3.0);
  EXPECT_EQ(ranks(time_parts(trace), "exposed tp"), 1.0);
}

TEST(TimeParts, TellRecomputationAndTheOptimizerFromTheRest) {
  Trace trace;
  trace.spans.push_back(span(0, "step/mb0/stage0/layer0/rec/attn.qkv", Queue::compute, 0, 0, 1));
  trace.spans.push_back(span(0, "step/stage0/update/adamw.dense", Queue::compute, 1, 1, 3));
  trace.steps.push_back({.step = 0, .time = seconds(3)});
  EXPECT_EQ(ranks(time_parts(trace), "recompute"), 1.0);
  EXPECT_EQ(ranks(time_parts(trace), "optimizer"), 2.0);
}

TEST(TimeParts, FindImbalanceWhereTheRouterIsUneven) {
  const Model model = testing::small_moe();
  const Strategy strategy = testing::small_strategy(model, 1, 4);
  const Cluster cluster = testing::small_cluster(1, 4);
  const costmodel::AnalyticInterpreter interpreter(std::make_shared<testing::OneGigaflop>(cluster), cluster);
  const StepProgram program = lower(model, strategy, {.seq = 64, .global_batch = 8}, 4);
  const auto imbalance = [&](const LoadModel& load) {
    const Trace trace = interpreter.run(program, {.load = load});
    return ranks(time_parts(trace), "imbalance") / trace.steps.front().time.in(unit::second);
  };
  EXPECT_EQ(imbalance(BalancedLoad{}), 0.0);
  EXPECT_GT(imbalance(DirichletLoad{.alpha = 0.3}), 0.02);
}

TEST(TimeParts, AddUpToTheStepForRandomPlansInBothAccounts) {
  testing::for_random_cases(150, [](const testing::RandomCase& drawn, std::uint64_t index) {
    const Cluster cluster = testing::small_cluster(1, drawn.num_devices);
    const costmodel::AnalyticInterpreter interpreter(std::make_shared<testing::OneGigaflop>(cluster), cluster);
    const Trace trace = interpreter.run(lower(drawn.model, drawn.strategy, drawn.batch, drawn.num_devices), {});
    Seconds of_ranks, of_path;
    for (const TimePart& part : time_parts(trace)) {
      EXPECT_GE(part.of_ranks, Seconds()) << index << ": " << part.name;
      of_ranks += part.of_ranks;
      of_path += part.of_path;
    }
    const double step = trace.steps.front().time.in(unit::second);
    EXPECT_NEAR(of_ranks.in(unit::second), step, 1e-9 * step) << index;
    EXPECT_NEAR(of_path.in(unit::second), step, 1e-9 * step) << index;
  });
}

}  // namespace
}  // namespace orrery::planner
