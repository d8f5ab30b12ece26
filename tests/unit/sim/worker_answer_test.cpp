// SPDX-License-Identifier: Apache-2.0
#include "sim/worker_answer.h"

#include "base/errors.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

Trace trace_of(std::int32_t num_spans) {
  Trace trace;
  trace.header = {.interpreter = "simgrid",
                  .program_hash = "abc",
                  .num_ranks = 4,
                  .represents = {{0, 4}},
                  .extrapolated = {"moe.dispatch"},
                  .notes = {"a sentence"}};
  for (std::int32_t i = 0; i < num_spans; ++i) {
    trace.spans.push_back(
        {.step = i / 2,
         .rank = 3,
         .key = {.micro_batch = i, .stage = 2, .layer = -2, .pass = Pass::igrad, .op = OpCode::cp_kv, .bucket = 7},
         .queue = Queue::cp,
         .ready = seconds(0.1 * i),
         .start = seconds(0.1 * i + 0.01),
         .end = seconds(0.1 * i + 1.0 / 3.0),
         .last_peer = i - 1,
         .bytes = bytes(1e9 + i)});
  }
  trace.steps = {{.step = 0, .time = seconds(1.25), .tokens = 4096.0}};
  trace.memory = {{.rank = 0, .step = 0, .weights = bytes(64.0), .tensors = {{"x", bytes(8.0)}}, .resident = {}}};
  return trace;
}

UseOfLinks use_of_links() {
  return {.links = {{.name = "node0.nic.out", .link_class = "NIC", .size = bytes(1e9), .mean = 1.0 / 3.0, .peak = 1.0}},
          .slice = seconds(0.1),
          .classes = {{.name = "NIC", .track = {0.0, 1.0 / 7.0}, .cut = 1e-17}, {.name = "uplink", .track = {}}},
          .fullest = 1.3};
}

/// Spans in blocks of at most 4.
std::string text_of(Trace trace, std::optional<UseOfLinks> use = {}) {
  const Spans spans = std::exchange(trace.spans, {});
  std::ostringstream out;
  AnswerWriter writer(out, {.fingerprint = -7, .trace = trace, .use = std::move(use)}, spans.size());
  for (std::size_t first = 0; first < spans.size(); first += 4) {
    Spans block;
    for (std::size_t i = first; i < std::min(first + 4, spans.size()); ++i) block.push_back(spans.at(i));
    writer.write(block);
  }
  return out.str();
}

/// With its spans.
Answer read_all(const std::string& text) {
  std::istringstream in(text);
  AnswerReader reader(in);
  Spans all;
  for (Spans block = reader.next(); block.size() > 0; block = reader.next()) {
    EXPECT_LE(block.size(), 4);
    for (std::size_t i = 0; i < block.size(); ++i) all.push_back(block.at(i));
  }
  Answer answer = reader.take();
  answer.trace.spans = std::move(all);
  return answer;
}

Trace read(const std::string& text) { return read_all(text).trace; }

TEST(WorkerAnswer, KeepsEveryBitOfTheSpans) {
  for (const std::int32_t num_spans : {0, 1, 4, 5, 10'000}) {  // of no block, of one and of several
    const Trace sent = trace_of(num_spans), received = read(text_of(sent));
    EXPECT_EQ(received.spans.step(), sent.spans.step());
    EXPECT_EQ(received.spans.rank(), sent.spans.rank());
    EXPECT_EQ(received.spans.key(), sent.spans.key());
    EXPECT_EQ(received.spans.queue(), sent.spans.queue());
    EXPECT_EQ(received.spans.ready(), sent.spans.ready());
    EXPECT_EQ(received.spans.start(), sent.spans.start());
    EXPECT_EQ(received.spans.end(), sent.spans.end());
    EXPECT_EQ(received.spans.last_peer(), sent.spans.last_peer());
    EXPECT_EQ(received.spans.bytes(), sent.spans.bytes());
  }
}

TEST(WorkerAnswer, KeepsWhatIsSaidOfTheStep) {
  const Trace received = read(text_of(trace_of(2)));
  EXPECT_EQ(received.header.program_hash, "abc");
  EXPECT_EQ(received.header.represents, trace_of(0).header.represents);
  EXPECT_EQ(received.header.extrapolated, trace_of(0).header.extrapolated);
  EXPECT_EQ(received.header.notes, trace_of(0).header.notes);
  ASSERT_EQ(received.steps.size(), 1);
  EXPECT_EQ(received.steps[0].time, seconds(1.25));
  ASSERT_EQ(received.memory.size(), 1);
  EXPECT_EQ(received.memory[0].rank, 0);
  EXPECT_EQ(received.memory[0].weights, bytes(64.0));
  EXPECT_EQ(received.memory[0].tensors, trace_of(0).memory[0].tensors);
}

TEST(WorkerAnswer, KeepsEveryBitOfTheUseOfLinks) {
  EXPECT_FALSE(read_all(text_of(trace_of(1))).use);
  const UseOfLinks sent = use_of_links(), received = read_all(text_of(trace_of(1), sent)).use.value();
  EXPECT_EQ(received.slice, sent.slice);
  EXPECT_EQ(received.fullest, sent.fullest);
  ASSERT_EQ(received.classes.size(), 2);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(received.classes[i].name, sent.classes[i].name);
    EXPECT_EQ(received.classes[i].track, sent.classes[i].track);
    EXPECT_EQ(received.classes[i].cut, sent.classes[i].cut);
  }
  ASSERT_EQ(received.links.size(), 1);
  EXPECT_EQ(received.links[0].name, "node0.nic.out");
  EXPECT_EQ(received.links[0].link_class, "NIC");
  EXPECT_EQ(received.links[0].size, bytes(1e9));
  EXPECT_EQ(received.links[0].mean, 1.0 / 3.0);
  EXPECT_EQ(received.links[0].peak, 1.0);
}

TEST(WorkerAnswer, KeepsTheFingerprintOfTheProgram) {
  EXPECT_EQ(read_all(text_of(trace_of(1))).fingerprint, -7);
  for (const std::int64_t fingerprint : {std::int64_t{0}, INT64_MIN, INT64_MAX}) {
    std::ostringstream out;
    AnswerWriter(out, {.fingerprint = fingerprint, .trace = trace_of(0), .use = {}}, 0);
    EXPECT_EQ(read_all(out.str()).fingerprint, fingerprint);
  }
}

TEST(WorkerAnswer, IsRefusedUnlessItIsWhole) {
  const std::string text = text_of(trace_of(3), use_of_links());
  EXPECT_NO_THROW(read(text));
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_THROW(read(text.substr(0, size)), ConfigError) << size;
  }
  EXPECT_THROW(read(text + "x"), ConfigError);
  std::ostringstream out;  // more spans than it says
  AnswerWriter writer(out, {.fingerprint = 0, .trace = trace_of(0), .use = {}}, 2);
  writer.write(trace_of(3).spans);
  EXPECT_THROW(read(out.str()), ConfigError);
}

}  // namespace
}  // namespace orrery::sim
