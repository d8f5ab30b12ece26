// SPDX-License-Identifier: Apache-2.0
#include "base/json_writer.h"

#include "base/errors.h"
#include "base/json_reader.h"
#include "base/rng.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

namespace orrery {
namespace {

std::string text_of(double x) {
  JsonWriter out(JsonWriter::Layout::line);
  return out.value(x).text();
}

TEST(JsonWriter, IndentsObjectsAndKeepsScalarArraysOnOneLine) {
  JsonWriter out;
  out.begin_object().field("schema", "plan/1").field("ranks", 8).field("ok", true).field("time", seconds(12.3e-6));
  out.key("order").begin_array().value(0).value(1).value(2).end_array();
  out.key("stages").begin_array();
  out.begin_object().field("first", 0).end_object();
  out.begin_object().field("first", 4).end_object();
  out.end_array();
  out.key("matrix").begin_array();
  out.begin_array().value(1).end_array().begin_array().value(2).end_array();
  out.end_array();
  out.key("empty").begin_array().end_array().key("none").begin_object().end_object().key("unknown").null();
  out.end_object();
  EXPECT_EQ(out.text(), R"({
  "schema": "plan/1",
  "ranks": 8,
  "ok": true,
  "time": "12.3 us",
  "order": [0, 1, 2],
  "stages": [
    {
      "first": 0
    },
    {
      "first": 4
    }
  ],
  "matrix": [
    [1],
    [2]
  ],
  "empty": [],
  "none": {},
  "unknown": null
}
)");
}

TEST(JsonWriter, WritesLinesWithoutWhiteSpace) {
  JsonWriter out(JsonWriter::Layout::line);
  out.begin_object().field("a", 1).key("b").begin_array().value("x").begin_object().end_object().end_array();
  out.end_object();
  EXPECT_EQ(out.text(), R"({"a":1,"b":["x",{}]})");
  out.clear();
  out.begin_array().end_array();
  EXPECT_EQ(out.text(), "[]");
}

TEST(JsonWriter, EscapesText) {
  JsonWriter out(JsonWriter::Layout::line);
  out.value(std::string("\"\\/\n\t\r\0\x1f é", 11));
  EXPECT_EQ(out.text(), "\"\\\"\\\\/\\n\\t\\u000d\\u0000\\u001f \xc3\xa9\"");
}

TEST(JsonWriter, WritesShortestNumbers) {
  EXPECT_EQ(text_of(0.1), "0.1");
  EXPECT_EQ(text_of(1.0), "1");
  EXPECT_EQ(text_of(-0.0), "-0");
  EXPECT_EQ(text_of(1.0 / 3.0), "0.3333333333333333");
  EXPECT_EQ(text_of(1e300), "1e+300");
}

TEST(JsonWriter, NumbersReadBackAsTheSameDouble) {
  const CounterRng random(2, 0);
  for (std::uint64_t i = 0; i < 20000; ++i) {
    const std::uint64_t bits = random.bits(i);
    double value = 0.0;
    std::memcpy(&value, &bits, sizeof value);
    if (!std::isfinite(value)) continue;
    const JsonDocument document = JsonDocument::parse_text(text_of(value), "number");
    EXPECT_EQ(document.root_value().number(), value);
  }
}

TEST(JsonWriter, IntegersKeepAllDigits) {
  JsonWriter out(JsonWriter::Layout::line);
  out.begin_array().value(std::numeric_limits<std::int64_t>::min()).value(std::size_t{671026419200}).end_array();
  EXPECT_EQ(out.text(), "[-9223372036854775808,671026419200]");
  EXPECT_THROW(out.value(std::numeric_limits<std::uint64_t>::max()), InternalError);
}

TEST(JsonWriter, RefusesWhatIsNoJson) {
  EXPECT_THROW(JsonWriter().value(std::numeric_limits<double>::infinity()), InternalError);
  EXPECT_THROW(JsonWriter().value(std::numeric_limits<double>::quiet_NaN()), InternalError);
  EXPECT_THROW(JsonWriter().key("a"), InternalError);
  EXPECT_THROW(JsonWriter().begin_object().value(1), InternalError);
  EXPECT_THROW(JsonWriter().begin_object().key("a").key("b"), InternalError);
  EXPECT_THROW(JsonWriter().begin_object().end_array(), InternalError);
  EXPECT_THROW(JsonWriter().begin_array().clear(), InternalError);
}

}  // namespace
}  // namespace orrery
