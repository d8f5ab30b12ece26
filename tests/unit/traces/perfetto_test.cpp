// SPDX-License-Identifier: Apache-2.0
#include "traces/perfetto.h"

#include "base/files.h"
#include "base/json_reader.h"
#include "tests/unit/base/test_folder.h"
#include "tests/unit/traces/tiny_trace.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::span;

std::string perfetto_text(const Trace& trace, std::span<const CounterTrack> tracks = {}) {
  const std::string path = orrery::testing::own_path("trace.json");
  write_perfetto_file(path, trace, tracks);
  return read_file(path);
}

TEST(Perfetto, DrawsRanksAsProcessesAndQueuesAsThreads) {
  Trace trace;
  trace.header.represents = {{0, 8}};
  trace.spans.push_back(span(0, testing::kSend, Queue::pp_send_next, 0.5, 1, 3, 4, 4096));
  trace.power.push_back({.rank = 0, .time = seconds(2), .power = watts(350)});
  EXPECT_EQ(perfetto_text(trace), R"({"displayTimeUnit":"ms","traceEvents":[
{"name":"process_name","ph":"M","pid":0,"tid":0,"args":{"name":"rank 0, one of 8 equal ranks"}},
{"name":"thread_name","ph":"M","pid":0,"tid":10,"args":{"name":"pp_send_next"}},
{"name":"pp.send_act fwd","ph":"X","pid":0,"tid":10,"ts":1e+06,"dur":2e+06,"args":{"key":"step/mb0/stage0/fwd/pp.send_act","step":0,"ready":5e+05,"wait":5e+05,"bytes":4096,"last_peer":4}},
{"name":"power","ph":"C","pid":0,"ts":2e+06,"args":{"watts":350}}
]}
)");
}

TEST(Perfetto, LaysStepsOneBehindTheOther) {
  Trace trace = testing::tiny_trace();
  Span next = trace.spans.at(0);
  next.step = 1;
  trace.spans.push_back(next);
  const JsonDocument document = JsonDocument::parse_text(perfetto_text(trace), "p.json");
  const std::vector<JsonValue> events = document.root().required("traceEvents").array();
  // Two processes, six threads, seven spans.
  ASSERT_EQ(events.size(), 15);
  const JsonObject last = events.back().object();
  EXPECT_EQ(last.required("ts").number(), 6e6);
  EXPECT_EQ(last.required("args").object().required("ready").number(), 6e6);
  document.throw_if_problems();
}

TEST(Perfetto, DrawsWhatBelongsToNoRankAsAProcessOfCounters) {
  const CounterTrack track{.name = "links", .interval = seconds(2), .values = {50, 50, 75}};
  EXPECT_EQ(perfetto_text(Trace(), std::span(&track, 1)), R"({"displayTimeUnit":"ms","traceEvents":[
{"name":"process_name","ph":"M","pid":-1,"tid":0,"args":{"name":"all ranks"}},
{"name":"links","ph":"C","pid":-1,"ts":0,"args":{"value":50}},
{"name":"links","ph":"C","pid":-1,"ts":4e+06,"args":{"value":75}},
{"name":"links","ph":"C","pid":-1,"ts":6e+06,"args":{"value":0}}
]}
)");
}

TEST(Perfetto, OfATraceWithoutSpansIsStillJson) {
  const JsonDocument document = JsonDocument::parse_text(perfetto_text(Trace()), "p.json");
  EXPECT_TRUE(document.root().required("traceEvents").array().empty());
}

}  // namespace
}  // namespace orrery
