// SPDX-License-Identifier: Apache-2.0
#include "traces/summary.h"

#include "tests/unit/program/reading.h"
#include "tests/unit/traces/tiny_trace.h"
#include "traces/activities.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::tiny_trace;

StepRecord step(std::int32_t number, double time) {
  return {.step = number, .time = seconds(time), .tokens = 1000, .peak_memory = mib(time)};
}

TEST(Summary, OfOneStepIsThatStep) {
  const TraceSummary summary = summarize(tiny_trace());
  EXPECT_EQ(summary.interpreter, "cpu");
  EXPECT_EQ(summary.num_steps, 1);
  EXPECT_EQ(summary.num_warm_up, 0);
  EXPECT_EQ(summary.step_time, seconds(6));
  EXPECT_EQ(median_step_time(tiny_trace()), seconds(6));
  EXPECT_DOUBLE_EQ(summary.tokens_per_second, 4096.0 / 6.0);
  EXPECT_EQ(summary.peak_memory, mib(300));
  EXPECT_FALSE(summary.energy);
}

TEST(Summary, LeavesTheFirstOfSeveralStepsOut) {
  Trace trace;
  trace.steps = {step(2, 5), step(0, 100), step(1, 2), step(3, 4)};
  const TraceSummary summary = summarize(trace);
  EXPECT_EQ(summary.num_steps, 3);
  EXPECT_EQ(summary.num_warm_up, 1);
  EXPECT_EQ(summary.step_time, seconds(4));
  EXPECT_EQ(median_step_time(trace), seconds(4));
  EXPECT_EQ(summary.tokens_per_second, 250);
  EXPECT_EQ(summary.peak_memory, mib(5));
}

TEST(Summary, AddsThePathUpByOpClass) {
  const TraceSummary summary = summarize(tiny_trace());
  ASSERT_EQ(summary.path.size(), 4);
  EXPECT_EQ(summary.path[0].op, OpCode::attn_qkv);
  EXPECT_EQ(summary.path[0].time, seconds(2));
  EXPECT_EQ(summary.path[1].op, OpCode::head_logits);
  EXPECT_EQ(summary.path_work, seconds(6));
}

TEST(Summary, TakesThePathOfTheTypicalStep) {
  Trace trace;
  for (const double time : {9.0, 3.0, 5.0, 4.0}) {
    const auto number = static_cast<std::int32_t>(trace.steps.size());
    trace.steps.push_back(step(number, time));
    Span only = testing::span(0, testing::kQkv, Queue::compute, 0, 0, time);
    only.step = number;
    trace.spans.push_back(only);
  }
  EXPECT_EQ(summarize(trace).path_work, seconds(4));
}

TEST(Summary, OfALongRunThePathAndTheUseAreThoseOfTheStepsWithSpans) {
  Trace trace;
  trace.header.num_ranks = 1;
  trace.steps = {step(0, 9), step(1, 4), step(2, 4), step(3, 6), step(4, 8)};
  for (const std::int32_t number : {3, 4}) {
    Span only = testing::span(0, testing::kQkv, Queue::compute, 0, 0, 3.5);
    only.step = number;
    trace.spans.push_back(only);
  }
  EXPECT_EQ(summarize(trace).step_time, seconds(5));
  EXPECT_EQ(summarize(trace).path_work, seconds(3.5));
  EXPECT_DOUBLE_EQ(compute_utilisation(trace), 7.0 / 14.0);
  trace.spans = {};
  EXPECT_EQ(summarize(trace).path_work, seconds(0));
  EXPECT_EQ(compute_utilisation(trace), 0.0);
}

TEST(Summary, IntegratesPowerOverTheSamples) {
  Trace trace;
  trace.steps = {step(0, 2)};
  // Rank 0: 100 W rising to 300 W, 200 W on average; rank 1 is at 50 W.
  trace.power = {{.rank = 0, .time = seconds(0), .power = watts(100)},
                 {.rank = 1, .time = seconds(0), .power = watts(50)},
                 {.rank = 0, .time = seconds(4), .power = watts(300)}};
  EXPECT_EQ(summarize(trace).energy.value(), joules(500));
}

TEST(Summary, NeedsAStep) {
  Trace trace;
  trace.header.interpreter = "cpu";
  EXPECT_EQ(testing::problems_of([&] { return summarize(trace); }),
            "expected the record of at least one step in the trace of \"cpu\", got none");
}

}  // namespace
}  // namespace orrery
