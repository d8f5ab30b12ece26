// SPDX-License-Identifier: Apache-2.0
#include "traces/span_line.h"

#include "base/errors.h"
#include "tests/unit/traces/tiny_trace.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::span;

std::string line_of(const Span& written) {
  std::string line;
  append_span_line(line, written);
  line.pop_back();
  return line;
}

TEST(SpanLine, IsAnArrayInTheOrderOfTheFormat) {
  const Span written = span(3, testing::kSend, Queue::pp_send_next, 0.1, 0.25, 1e-7, 12, 4096);
  EXPECT_EQ(line_of(written),
            R"({"span":[0,3,"step/mb0/stage0/fwd/pp.send_act","pp_send_next",0.1,0.25,1e-07,12,4096]})");
}

TEST(SpanLine, KeepsEveryBitOfATime) {
  for (const double time : {0.1 + 0.2, 1.0 / 3.0, 5e-324, 1.7976931348623157e308, 123456789.0, 0.0}) {
    const auto read = parse_span_line(line_of(span(0, testing::kQkv, Queue::ep, time, time, time, -1, time)));
    ASSERT_TRUE(read) << time;
    EXPECT_EQ(read->ready.in(unit::second), time);
    EXPECT_EQ(read->bytes.in(unit::byte), time);
    EXPECT_EQ(read->queue, Queue::ep);
    EXPECT_EQ(read->last_peer, -1);
    EXPECT_EQ(to_string(read->key), testing::kQkv);
  }
}

TEST(SpanLine, CannotBeWrittenWithATimeThatIsNoNumber) {
  std::string line;
  Span bad = span(0, testing::kQkv, Queue::compute, 0, 0, 1);
  bad.end = seconds(std::numeric_limits<double>::infinity());
  EXPECT_THROW(append_span_line(line, bad), InternalError);
}

TEST(SpanLine, OfAnyOtherFormIsLeftToTheStrictReader) {
  const std::string key = "\"step/mb0/stage0/fwd/pp.send_act\"";
  const auto with = [&](const std::string& fields) { return parse_span_line("{\"span\":[" + fields + "]}"); };
  EXPECT_TRUE(with("0,3," + key + ",\"ep\",0,1,2,-1,5"));
  EXPECT_TRUE(with("0,3," + key + ",\"ep\",-0.5,1.25e-3,2E+1,-1,5"));
  for (const std::string number : {"01", "+1", "1.", ".5", "-", "-.5", "inf", "nan", "1e999", "0x1", " 1", "1 ", "",
                                   "null", "\"1\"", "1e", "1.e5"}) {
    EXPECT_FALSE(with("0,3," + key + ",\"ep\"," + number + ",1,2,-1,5")) << number;
  }
  EXPECT_FALSE(with("0.0,3," + key + ",\"ep\",0,1,2,-1,5"));
  EXPECT_FALSE(with("0,3000000000," + key + ",\"ep\",0,1,2,-1,5"));
  EXPECT_FALSE(with("0,3,\"step/what\",\"ep\",0,1,2,-1,5"));
  EXPECT_FALSE(with("0,3," + key + ",\"disk\",0,1,2,-1,5"));
  EXPECT_FALSE(with("0,3," + key + ",ep,0,1,2,-1,5"));
  EXPECT_FALSE(with("0,3," + key + ",\"ep\",0,1,2,-1"));
  EXPECT_FALSE(with("0,3," + key + ",\"ep\",0,1,2,-1,5,6"));
  EXPECT_FALSE(with("0,3," + key + ",\"ep\",0,1,2,-1,5,"));
  EXPECT_FALSE(parse_span_line(""));
  EXPECT_FALSE(parse_span_line("{\"span\":["));
  EXPECT_FALSE(parse_span_line("{\"step\":{}}"));
}

}  // namespace
}  // namespace orrery
