// SPDX-License-Identifier: Apache-2.0
#include "traces/compare.h"

#include "base/json_reader.h"
#include "base/json_writer.h"
#include "tests/unit/traces/tiny_trace.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::span;
using testing::tiny_trace;

constexpr const char* kFc1[] = {"step/mb0/stage0/layer0/fwd/moe.fc1", "step/mb0/stage0/layer1/fwd/moe.fc1",
                                "step/mb0/stage0/layer2/fwd/moe.fc1"};

/// A step of rank 0 with three ops of one class, of these durations.
Trace trace_of(const std::string& interpreter, const std::vector<double>& durations) {
  Trace trace;
  trace.header.interpreter = interpreter;
  trace.header.num_ranks = 1;
  trace.header.represents = {{0, 1}};
  double now = 0.0;
  for (std::size_t i = 0; i < durations.size(); ++i) {
    trace.spans.push_back(span(0, kFc1[i], Queue::compute, now, now, now + durations[i]));
    now += durations[i];
  }
  trace.steps.push_back({.step = 0, .time = seconds(now), .tokens = 70});
  return trace;
}

TEST(Compare, OfATraceWithItselfHasNoError) {
  const Comparison same = compare(tiny_trace(), tiny_trace());
  EXPECT_EQ(same.num_ops_compared, 6);
  EXPECT_EQ(same.num_ranks_compared, 2);
  EXPECT_EQ(same.only_predicted.count + same.only_measured.count, 0);
  EXPECT_EQ(same.step_time.error(), 0.0);
  for (const OpClassComparison& c : same.classes) EXPECT_EQ(c.time.error(), 0.0) << name_of(c.op);
}

TEST(Compare, AddsUpEachOpClass) {
  const Comparison c = compare(trace_of("analytic", {1, 3, 5}), trace_of("cpu", {2, 4, 4}));
  ASSERT_EQ(c.classes.size(), 1);
  EXPECT_EQ(c.classes[0].op, OpCode::moe_fc1);
  EXPECT_EQ(c.classes[0].pass, Pass::fwd);
  EXPECT_EQ(c.classes[0].num_ops, 3);
  EXPECT_EQ(c.classes[0].time.predicted, seconds(9));
  EXPECT_EQ(c.classes[0].time.measured, seconds(10));
  EXPECT_DOUBLE_EQ(c.classes[0].time.error(), -0.1);
  EXPECT_EQ(c.classes[0].median_error, 0.25);  // of 1/2, 1/4, 1/4
  EXPECT_EQ(c.predicted.tokens_per_second, 70.0 / 9.0);
}

TEST(Compare, TakesTheMedianOfAnOpOverTheStepsThatCount) {
  Trace measured = trace_of("cpu", {100});
  for (const double time : {2.0, 9.0, 3.0}) {
    Span next = measured.spans.at(0);
    next.step = static_cast<std::int32_t>(measured.steps.size());
    next.end = seconds(time);
    measured.spans.push_back(next);
    measured.steps.push_back({.step = next.step, .time = seconds(time), .tokens = 70});
  }
  const Comparison c = compare(trace_of("analytic", {3}), measured);
  EXPECT_EQ(c.classes.at(0).time.measured, seconds(3));
  EXPECT_EQ(c.measured.num_warm_up, 1);
}

TEST(Compare, TellsBusyFromWaitingForEachQueue) {
  const Comparison c = compare(tiny_trace(), tiny_trace());
  ASSERT_EQ(c.queues.size(), 4);
  EXPECT_EQ(c.queues[0].queue, Queue::compute);
  EXPECT_EQ(c.queues[0].busy.measured, seconds(2));  // two ranks, two seconds each
  EXPECT_EQ(c.queues[1].queue, Queue::world);
  EXPECT_EQ(c.queues[1].busy.measured, seconds(1));
  EXPECT_EQ(c.queues[1].wait.measured, seconds(1));  // rank 0 waits two seconds, rank 1 none
}

TEST(Compare, CountsOpsThatOnlyOneTraceHas) {
  const Comparison c = compare(trace_of("analytic", {1, 2, 3}), trace_of("cpu", {1, 2}));
  EXPECT_EQ(c.num_ops_compared, 2);
  EXPECT_EQ(c.only_predicted.count, 1);
  EXPECT_EQ(c.only_predicted.first, std::vector<std::string>{"rank 0 step/mb0/stage0/layer2/fwd/moe.fc1"});
  EXPECT_EQ(c.only_measured.count, 0);
}

TEST(Compare, JoinsOnlyTheRanksThatBothTracesHave) {
  Trace predicted = tiny_trace();
  predicted.header.represents = {{0, 2}};
  predicted.spans = {};
  predicted.spans.push_back(tiny_trace().spans.at(0));
  const Comparison c = compare(predicted, tiny_trace());
  EXPECT_EQ(c.num_ranks_compared, 1);
  EXPECT_EQ(c.num_ops_compared, 1);
  EXPECT_EQ(c.only_measured.count, 2);  // of rank 0; those of rank 1 have nothing to be compared with
}

TEST(Compare, SaysThatTheProgramsDiffer) {
  Trace other = tiny_trace();
  other.header.program_hash = "def";
  EXPECT_EQ(compare(tiny_trace(), other).notes.at(0),
            "the traces are of different programs; only ops with equal names are compared");
}

TEST(Compare, HasNoErrorWhereNothingWasMeasured) {
  const Comparison c = compare(trace_of("analytic", {1}), trace_of("cpu", {0}));
  EXPECT_TRUE(std::isnan(c.classes.at(0).time.error()));
  EXPECT_TRUE(std::isnan(c.classes.at(0).median_error));
}

TEST(ComparisonText, IsATableForPeople) {
  Trace predicted = trace_of("analytic", {1, 3, 5});
  predicted.header.extrapolated = {"moe.fc1"};
  predicted.steps[0].peak_memory = mib(300);
  Trace measured = trace_of("cpu", {2, 4});
  measured.power.push_back({.rank = 0, .time = seconds(0), .power = watts(10)});
  EXPECT_EQ(to_text(compare(predicted, measured)),
            R"(                              analytic               cpu       error
step time                       9.00 s            6.00 s     +50.0 %
tokens/s                             8                12
peak memory                    300 MiB       not counted
energy per step             no counter            60.0 J
steps                                1                 1

ops compared: 2, on ranks: 1
op                            ops    predicted     measured       error  median |err|
moe.fc1 fwd                     2       4.00 s       6.00 s     -33.3 %        37.5 %

queue, a rank  busy predicted     measured       error   wait predicted     measured
compute                9.00 s       6.00 s     +50.0 %              0 s          0 s

critical path                  analytic          cpu
peers without spans                 0 s          0 s
between ops                         0 s          0 s
ops                              9.00 s       6.00 s
  moe.fc1 fwd                    9.00 s       6.00 s

ops only in analytic: 1, such as
  rank 0 step/mb0/stage0/layer2/fwd/moe.fc1

note: analytic: extrapolated beyond the calibration: moe.fc1
)");
}

TEST(ComparisonJson, HoldsTheSame) {
  JsonWriter out;
  write_comparison(out, compare(trace_of("analytic", {1, 3}), trace_of("cpu", {0, 4})));
  const JsonDocument document = JsonDocument::parse_text(out.text(), "compare.json");
  const JsonObject in = document.root();
  EXPECT_EQ(in.required("step_time").object().required("error").number(), 0.0);
  EXPECT_EQ(in.required("num_ops_compared").integer(), 2);
  const JsonObject fc1 = in.required("classes").array().at(0).object();
  EXPECT_EQ(fc1.required("op").string(), "moe.fc1");
  EXPECT_EQ(fc1.required("time").object().required("measured").quantity<Seconds>(), seconds(4));
  EXPECT_EQ(fc1.required("median_error").number(), 0.25);
  EXPECT_TRUE(in.required("measured").object().required("energy").is_null());
  EXPECT_EQ(in.required("queues").array().size(), 1);
  document.throw_if_problems();
}

}  // namespace
}  // namespace orrery
