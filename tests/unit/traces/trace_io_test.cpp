// SPDX-License-Identifier: Apache-2.0
#include "traces/trace_io.h"

#include "tests/unit/base/test_folder.h"
#include "tests/unit/program/reading.h"
#include "tests/unit/traces/tiny_trace.h"

#include <cmath>
#include <filesystem>
#include <sstream>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::edited;
using testing::problems_of;
using testing::tiny_trace;

std::string text_of(const Trace& trace) {
  std::ostringstream out;
  write_trace(out, trace);
  return out.str();
}

/// A step of every kind of record.
Trace full_trace() {
  Trace trace = tiny_trace();
  trace.loads.push_back(
      {.step = 0,
       .layer = 1,
       .micro_batch = 2,
       .ep_group = 3,
       .routing = {.group = 2, .num_experts = 2, .pairs = {31, 33, 30, 34}, .tokens = {31, 20, 30, 21}}});
  trace.power.push_back({.rank = 1, .time = seconds(0.5), .power = watts(33.3)});
  trace.memory.push_back({.rank = 1,
                          .step = 0,
                          .weights = bytes(100),
                          .gradients = bytes(200),
                          .optimizer = bytes(300),
                          .tensors = {{"head_full", bytes(40)}, {"logits", bytes(60)}},
                          .resident = bytes(712)});
  return trace;
}

constexpr const char* kHeaderLine =
    R"({"header":{"schema":"trace/1","interpreter":"cpu","version":"0.1.0","program_hash":"abc",)"
    R"("plan":"plans/tiny.json","num_ranks":2,"represents":{"0":1,"1":1},"clock_error":3e-07,)"
    R"("threads_per_rank":1,"extrapolated":["moe.fc1"],"notes":["a note with \"quotes\""]}})"
    "\n";

constexpr const char* kEndLine = R"({"end":{"spans":0,"steps":0}})"
                                 "\n";

std::string problems_of_text(const std::string& text) {
  return problems_of([&] { return read_trace_text(text, "t.jsonl"); });
}

std::string problems_of_edit(const std::string& from, const std::string& to) {
  return problems_of_text(edited(text_of(full_trace()), from, to));
}

/// What is wrong with a trace that holds `record` alone.
std::string problems_of_record(const std::string& record) {
  return problems_of_text(kHeaderLine + record + "\n" + kEndLine);
}

TEST(TraceFile, HoldsOneRecordOnEachLine) {
  Trace trace = full_trace();
  trace.spans = {};
  trace.spans.push_back(testing::span(1, testing::kLogits, Queue::compute, 3, 3.5, 5));
  EXPECT_EQ(text_of(trace), std::string(kHeaderLine) +
                                R"({"span":[0,1,"step/mb0/stage1/head/fwd/head.logits","compute",3,3.5,5,-1,0]}
{"load":{"step":0,"layer":1,"micro_batch":2,"ep_group":3,"pairs":[[31,33],[30,34]],"tokens":[[31,20],[30,21]]}}
{"power":{"rank":1,"time":0.5,"power":33.3}}
{"step":{"step":0,"time":6,"tokens":4096,"loss":5.63,"grad_norm":null,"peak_memory":314572800}}
{"memory":{"rank":1,"step":0,"weights":100,"gradients":200,"optimizer":300,"tensors":{"head_full":40,"logits":60},"resident":712}}
{"end":{"spans":1,"steps":1}}
)");
}

TEST(TraceFile, IsReadBackAsItWasWritten) {
  const Trace trace = full_trace();
  const Trace back = read_trace_text(text_of(trace), "t.jsonl");
  EXPECT_EQ(back.header.interpreter, "cpu");
  EXPECT_EQ(back.header.represents, trace.header.represents);
  EXPECT_EQ(back.header.clock_error, trace.header.clock_error);
  EXPECT_EQ(back.header.threads_per_rank, 1);
  EXPECT_EQ(back.header.notes, trace.header.notes);
  ASSERT_EQ(back.spans.size(), 6);
  EXPECT_EQ(back.spans.key(), trace.spans.key());
  EXPECT_EQ(back.spans.at(2).last_peer, 0);
  EXPECT_EQ(back.loads.at(0).routing.pairs, trace.loads.at(0).routing.pairs);
  EXPECT_EQ(back.loads.at(0).routing.tokens, trace.loads.at(0).routing.tokens);
  EXPECT_EQ(back.power.at(0).power, watts(33.3));
  EXPECT_TRUE(std::isnan(back.steps.at(0).grad_norm));
  EXPECT_EQ(back.memory.at(0).tensors, trace.memory.at(0).tensors);
  EXPECT_EQ(back.memory.at(0).total(), bytes(700));
  EXPECT_EQ(back.memory.at(0).resident, bytes(712));
  EXPECT_EQ(text_of(back), text_of(trace));
}

TEST(TraceFile, MemoryIsOfKnownRanksAndRolesAndOnceForEach) {
  const auto record = [](const std::string& rank, const std::string& role) {
    return R"({"memory":{"rank":)" + rank + R"(,"step":0,"weights":1,"gradients":2,"optimizer":3,"tensors":{")" + role +
           R"(":4},"resident":null}})";
  };
  EXPECT_EQ(problems_of_record(record("1", "logits")), "");
  EXPECT_EQ(problems_of_record(record("7", "logits")),
            R"(t.jsonl:2: /memory/rank: expected a rank that "represents" in the header lists, got 7)");
  EXPECT_EQ(problems_of_record(record("1", "lotigs")),
            R"(t.jsonl:2: /memory/tensors/lotigs: expected the role of a tensor, got "lotigs")");
  EXPECT_EQ(problems_of_record(record("1", "logits") + "\n" + record("1", "logits")),
            "t.jsonl:3: /memory/rank: expected one record of a rank's memory, got a second of 1");
}

TEST(TraceFile, AppearsOnlyWhenItIsFinished) {
  const std::string path = orrery::testing::own_path("trace");
  {
    TraceWriter writer(path, tiny_trace().header);
    writer.write(tiny_trace().spans.at(0));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  write_trace_file(path, full_trace());
  EXPECT_EQ(text_of(read_trace_file(path)), text_of(full_trace()));
}

TEST(TraceFile, IsNotWrittenToAStreamThatFails) {
  std::ostringstream out;
  out.setstate(std::ios::badbit);
  EXPECT_THROW(write_trace(out, tiny_trace()), BackendError);
}

TEST(TraceFile, CannotHoldASpanThatEndsBeforeItStarts) {
  std::ostringstream out;
  TraceWriter writer(out, tiny_trace().header);
  EXPECT_THROW(writer.write(testing::span(0, testing::kQkv, Queue::compute, 0, 2, 1)), InternalError);
}

TEST(TraceReading, TakesSpansInAnyJsonForm) {
  const Trace back = read_trace_text(
      std::string(kHeaderLine) + R"({ "span": [0, 1, "step/stage0/sync/norm.reduce", "world", 1.0, 1.5, 2, -1, 32] })" +
          "\n" + R"({"end": {"spans": 1, "steps": 0}})",
      "t.jsonl");
  EXPECT_EQ(back.spans.at(0).start, seconds(1.5));
}

TEST(TraceReading, ReportsAFileThatWasCutOff) {
  const std::string whole = text_of(full_trace());
  const std::string cut = "the trace was cut off: expected the record \"end\" as the last line";
  EXPECT_EQ(problems_of_text(whole.substr(0, whole.find("{\"end\""))), "t.jsonl:11: " + cut);
  EXPECT_EQ(problems_of_text(whole.substr(0, whole.find("{\"power\"") + 9)), "t.jsonl:9: " + cut);
  EXPECT_EQ(problems_of_text(""), "t.jsonl: " + cut);
}

TEST(TraceReading, ComparesTheCountsOfTheLastLine) {
  EXPECT_EQ(problems_of_edit("\"spans\":6", "\"spans\":7"),
            "t.jsonl:12: /end/spans: expected 6, the number of lines above, got 7");
}

TEST(TraceReading, ReportsACorruptedLine) {
  EXPECT_EQ(problems_of_edit("\"pp_send_next\",2,2,3", "\"pp_send_next\",2,2,3e"),
            "t.jsonl:3: invalid JSON: invalid number; expected '+', '-', or digit after exponent; last read: '3e,'");
}

TEST(TraceReading, NamesEveryWrongRecord) {
  EXPECT_EQ(problems_of_record(R"({"spam":1})"), "t.jsonl:2: /spam: unknown key; did you mean \"span\"?");
  EXPECT_EQ(problems_of_record(R"({"step":1,"power":2})"), "t.jsonl:2: expected one record on each line");
  EXPECT_EQ(problems_of_record("{}"), "t.jsonl:2: expected one record on each line");
  EXPECT_EQ(problems_of_record(R"({"power":{"rank":0,"time":0,"power":-1}})"),
            "t.jsonl:2: /power/power: expected a number of at least 0, got -1");
  EXPECT_EQ(problems_of_record(R"({"load":{"step":0,"layer":0,"micro_batch":0,"ep_group":0,"pairs":[]}})"),
            "t.jsonl:2: /load/pairs: expected a row for each rank of the EP group, got none");
  EXPECT_EQ(problems_of_record(R"({"load":{"step":0,"layer":0,"micro_batch":0,"ep_group":0,"pairs":[[1,2],[3]]}})"),
            "t.jsonl:2: /load/pairs/1: expected 2 experts as in the first row, got 1");
  EXPECT_EQ(problems_of_record(
                R"({"load":{"step":0,"layer":0,"micro_batch":0,"ep_group":0,"pairs":[[1,2],[3,4]],"tokens":[[1,1]]}})"),
            "t.jsonl:2: /load/tokens: expected 2 rows as in \"pairs\", got 1");
  EXPECT_EQ(
      problems_of_record(
          R"({"load":{"step":0,"layer":0,"micro_batch":0,"ep_group":0,"pairs":[[1,2],[3,4]],"tokens":[[1,1],[2]]}})"),
      "t.jsonl:2: /load/tokens/1: expected 2 ranks, got 1");
  EXPECT_EQ(problems_of_text(std::string(kHeaderLine) + kHeaderLine + kEndLine),
            "t.jsonl:2: expected no second header");
  EXPECT_EQ(problems_of_text(std::string(kHeaderLine) + kEndLine + kEndLine),
            "t.jsonl:3: expected nothing behind the record \"end\"");
}

TEST(TraceReading, NamesEveryWrongSpan) {
  const auto problem = [](const std::string& fields) {
    return problems_of_text(kHeaderLine + ("{\"span\":[" + fields + "]}\n") + R"({"end":{"spans":1,"steps":0}})");
  };
  const std::string key = "\"step/stage0/sync/norm.reduce\"";
  EXPECT_EQ(problem("0,0," + key + ",\"world\",0,2,1,-1,0"),
            "t.jsonl:2: /span: expected ready <= start <= end, got 0, 2, 1");
  EXPECT_EQ(problem("0,0," + key + ",\"world\",0,1,2,-1,-5"), "t.jsonl:2: /span: expected bytes from 0, got -5");
  EXPECT_EQ(problem("0,2," + key + ",\"world\",0,1,2,-1,0"),
            "t.jsonl:2: /span: expected a rank that \"represents\" in the header lists, got 2");
  EXPECT_EQ(problem("0,1," + key + ",\"world\",0,1,2,2,0"),
            "t.jsonl:2: /span: expected a last peer from -1 to 1, got 2");
  EXPECT_EQ(problem("-1,1," + key + ",\"world\",0,1,2,0,0"), "t.jsonl:2: /span: expected a step from 0, got -1");
  EXPECT_EQ(problem("0,1,\"step/stage0/fwd/moe.what\",\"world\",0,1,2,0,0"),
            "t.jsonl:2: /span/2: expected the name of an op, such as \"step/mb0/stage0/layer1/fwd/moe.dispatch\", got "
            "\"step/stage0/fwd/moe.what\"");
  EXPECT_EQ(problem("0,1"),
            "t.jsonl:2: /span: expected 9 fields: step, rank, key, queue, ready, start, end, last "
            "peer, bytes; got 2");
  EXPECT_EQ(problem("0,1," + key + ",\"disk\",0,1,2,0,0"),
            "t.jsonl:2: /span/3: expected \"compute\", \"copy\", \"tp\", \"cp\", \"ep\", \"etp\", \"dp\", \"edp\", "
            "\"embedding\", \"world\", \"pp_send_next\", \"pp_recv_prev\", \"pp_send_prev\", \"pp_recv_next\", "
            "\"pp_send_prev_act\", \"pp_recv_next_act\", \"pp_send_next_grad\" or \"pp_recv_prev_grad\", got \"disk\"");
}

TEST(TraceReading, RefusesASecondSpanOfOneName) {
  std::string text = text_of(tiny_trace());
  const std::string line =
      text.substr(text.find("{\"span\""), text.find('\n', text.find("{\"span\"")) + 1 - text.find("{\"span\""));
  text.insert(text.find("{\"span\""), line);
  EXPECT_EQ(problems_of_text(text),
            "t.jsonl:3: /span: expected one span for each op, rank and step, got a second "
            "step/mb0/stage0/layer0/fwd/attn.qkv");
}

TEST(TraceReading, StopsAtAHeaderThatIsWrong) {
  EXPECT_EQ(problems_of_edit("trace/1", "trace/2"), "t.jsonl:1: /header/schema: expected \"trace/1\", got \"trace/2\"");
  EXPECT_EQ(problems_of_edit("\"0\":1", "\"7\":1"),
            "t.jsonl:1: /header/represents/7: expected a rank from 0 to 1, got \"7\"");
  EXPECT_EQ(problems_of_text(kEndLine), "t.jsonl:1: expected the header of a trace as its first line");
}

TEST(TraceReading, GivesUpOnAForeignFile) {
  std::string text = kHeaderLine;
  for (int i = 0; i < 100; ++i) text += "{\"a\":1}\n";
  try {
    read_trace_text(text, "t.jsonl");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.problems().size(), 20);
  }
}

}  // namespace
}  // namespace orrery
