// SPDX-License-Identifier: Apache-2.0
#include "sim/worker_answer.h"

#include "base/errors.h"

#include <algorithm>
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

/// Spans in blocks of at most 4.
std::string text_of(Trace trace) {
  const Spans spans = std::exchange(trace.spans, {});
  std::ostringstream out;
  AnswerWriter writer(out, trace, spans.size());
  for (std::size_t first = 0; first < spans.size(); first += 4) {
    Spans block;
    for (std::size_t i = first; i < std::min(first + 4, spans.size()); ++i) block.push_back(spans.at(i));
    writer.write(block);
  }
  return out.str();
}

Trace read(const std::string& text) {
  std::istringstream in(text);
  return read_answer(in);
}

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

TEST(WorkerAnswer, IsRefusedUnlessItIsWhole) {
  const std::string text = text_of(trace_of(3));
  EXPECT_NO_THROW(read(text));
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_THROW(read(text.substr(0, size)), ConfigError) << size;
  }
  EXPECT_THROW(read(text + "x"), ConfigError);
  std::ostringstream out;  // more spans than it says
  AnswerWriter writer(out, trace_of(0), 2);
  writer.write(trace_of(3).spans);
  EXPECT_THROW(read(out.str()), ConfigError);
}

}  // namespace
}  // namespace orrery::sim
