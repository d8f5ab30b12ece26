// SPDX-License-Identifier: Apache-2.0
#include "base/json_reader.h"

#include "base/json_writer.h"

#include <functional>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using Read = std::function<void(const JsonObject&)>;

/// All problems that reading `text` reports, or "" if there are none.
std::string problems_of(std::string_view text, const Read& read) {
  try {
    const JsonDocument document = JsonDocument::parse_text(text, "a.json");
    read(document.root());
    document.throw_if_problems();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

/// The problems of reading the key "x" of an object that has `value` there.
std::string problems_of_value(const std::string& value, const std::function<void(const JsonValue&)>& read) {
  return problems_of("{\n  \"x\": " + value + "\n}", [&](const JsonObject& in) { read(in.required("x")); });
}

enum class Schedule { gpipe, one_f_one_b };
constexpr Named<Schedule> kScheduleNames[] = {{"gpipe", Schedule::gpipe}, {"1f1b", Schedule::one_f_one_b}};

TEST(JsonReader, ReadsEveryKindOfValue) {
  const JsonDocument document = JsonDocument::parse_text(R"({
    "schema": "cluster/1", "nodes": 256, "share": 0.25, "whole": 3, "on": true, "name": "h800",
    "link": "400 Gbps", "cap": "unlimited", "price": "2.10 USD/h", "schedule": "1f1b",
    "list": [1, 2, 3], "inner": {"deep": -7}, "nothing": null })",
                                                         "a.json");
  const JsonObject in = document.root();
  in.schema("cluster/1");
  EXPECT_EQ(in.required("nodes").integer<int>({.min = 1}), 256);
  EXPECT_EQ(in.required("share").number({.min = 0.0, .max = 1.0}), 0.25);
  EXPECT_EQ(in.required("whole").number(), 3.0);
  EXPECT_TRUE(in.required("on").boolean());
  EXPECT_EQ(in.required("name").string(), "h800");
  EXPECT_EQ(in.required("link").quantity<BytesPerSecond>(), bytes_per_second(50e9));
  EXPECT_EQ(in.required("cap").quantity_or_unlimited<Bytes>(), std::nullopt);
  EXPECT_EQ(in.required("link").quantity_or_unlimited<BytesPerSecond>(), bytes_per_second(50e9));
  EXPECT_EQ(in.required("price").number_with_unit(price_units()), 2.10);
  EXPECT_EQ(in.required("schedule").one_of(kScheduleNames), Schedule::one_f_one_b);
  EXPECT_EQ(in.required("schedule").one_of({"gpipe", "1f1b"}), "1f1b");
  std::vector<int> list;
  for (const JsonValue& value : in.required("list").array()) list.push_back(value.integer<int>());
  EXPECT_EQ(list, (std::vector<int>{1, 2, 3}));
  const JsonObject inner = in.required("inner").object();
  EXPECT_EQ(inner.required("deep").integer(), -7);
  EXPECT_EQ(inner.required("deep").pointer(), "/inner/deep");
  EXPECT_TRUE(in.required("nothing").is_null());
  inner.finish();
  in.finish();
  document.throw_if_problems();
}

TEST(JsonReader, OptionalKeysMayBeAbsent) {
  const JsonDocument document = JsonDocument::parse_text(R"({"rails": 8, "rank": null})", "a.json");
  const JsonObject in = document.root();
  EXPECT_EQ(in.optional("rails").integer<int>(), 8);
  EXPECT_EQ(in.optional("nics").integer<int>().value_or(1), 1);
  EXPECT_EQ(in.optional("name").string(), std::nullopt);
  EXPECT_EQ(in.optional("link").quantity<BytesPerSecond>(), std::nullopt);
  EXPECT_FALSE(in.optional("fabric").object().has_value());
  EXPECT_EQ(in.nullable("rank").integer(), std::nullopt);
  EXPECT_TRUE(document.problems().empty());
  EXPECT_EQ(in.optional("rank").integer(), 0);
  EXPECT_EQ(to_text(document.problems().problems().at(0)), "a.json:1: /rank: expected an integer, got null");
}

TEST(JsonReader, ReportsAllProblemsOfAFileAtOnce) {
  EXPECT_EQ(problems_of(R"({
  "nodes": 0,
  "links": [
    {"bandwidth": "fast"},
    {"bandwith": "50 GB/s"}
  ],
  "schedule": "zigzag"
})",
                        [](const JsonObject& in) {
                          in.required("nodes").integer({.min = 1, .max = 65536});
                          for (const JsonValue& link : in.required("links").array()) {
                            const JsonObject object = link.object();
                            object.optional("bandwidth").quantity<BytesPerSecond>();
                            object.finish();
                          }
                          in.required("schedule").one_of(kScheduleNames);
                          in.required("price").string();
                          in.finish();
                        }),
            R"(a.json:1: expected the key "price", which is missing
a.json:2: /nodes: expected an integer from 1 to 65536, got 0
a.json:4: /links/0/bandwidth: expected a bandwidth with its unit, such as "400 Gbps" or "50 GB/s", got "fast"
  hint: known units: B/s, kB/s, MB/s, GB/s, TB/s, KiB/s, MiB/s, GiB/s, TiB/s, bps, kbps, Mbps, Gbps, Tbps
a.json:5: /links/1/bandwith: unknown key; did you mean "bandwidth"?
a.json:7: /schedule: expected "gpipe" or "1f1b", got "zigzag")");
}

TEST(JsonReader, IntegersAreNeverConverted) {
  const auto read = [](const JsonValue& x) { EXPECT_EQ(x.integer<int>({.min = 0}), 0); };
  const std::string expected = "a.json:2: /x: expected an integer of at least 0, got ";
  for (const std::string text : {"3.7", "3.0", "1e3", "-1", "true", "null"}) {
    EXPECT_EQ(problems_of_value(text, read), expected + text);
  }
  EXPECT_EQ(problems_of_value("\"3\"", read), expected + "\"3\"");
  EXPECT_EQ(problems_of_value("[1, 2]", read), expected + "an array of 2");
  EXPECT_EQ(problems_of_value("{}", read), expected + "an object");
}

TEST(JsonReader, IntegersFitTheirType) {
  const auto read_int = [](const JsonValue& x) { x.integer<int>(); };
  EXPECT_EQ(problems_of_value("2147483647", read_int), "");
  EXPECT_EQ(problems_of_value("2147483648", read_int),
            "a.json:2: /x: expected an integer of at most 2147483647, got 2147483648");
  EXPECT_EQ(problems_of_value("-1", [](const JsonValue& x) { x.integer<std::uint64_t>(); }),
            "a.json:2: /x: expected an integer of at least 0, got -1");
  const auto read_long = [](const JsonValue& x) { x.integer(); };
  EXPECT_EQ(problems_of_value("9223372036854775807", read_long), "");
  EXPECT_EQ(problems_of_value("9223372036854775808", read_long),
            "a.json:2: /x: expected an integer, got 9223372036854775808");
  EXPECT_EQ(problems_of_value("36893488147419103232", read_long),
            "a.json:2: /x: expected an integer, got 36893488147419103232");
}

TEST(JsonReader, NumbersKeepTheirBounds) {
  const auto read = [](const JsonValue& x) { x.number({.min = 0.5, .max = 2.0}); };
  EXPECT_EQ(problems_of_value("2", read), "");
  EXPECT_EQ(problems_of_value("2.5", read), "a.json:2: /x: expected a number from 0.5 to 2, got 2.5");
  EXPECT_EQ(problems_of_value("\"1\"", read), "a.json:2: /x: expected a number from 0.5 to 2, got \"1\"");
  EXPECT_EQ(problems_of_value("-1", [](const JsonValue& x) { x.number({.min = 0.0}); }),
            "a.json:2: /x: expected a number of at least 0, got -1");
}

TEST(JsonReader, BooleansStringsArraysAndObjectsAreStrict) {
  EXPECT_EQ(problems_of_value("1", [](const JsonValue& x) { x.boolean(); }),
            "a.json:2: /x: expected true or false, got 1");
  EXPECT_EQ(problems_of_value("1", [](const JsonValue& x) { x.string(); }), "a.json:2: /x: expected a string, got 1");
  EXPECT_EQ(problems_of_value("1", [](const JsonValue& x) { x.array(); }), "a.json:2: /x: expected an array, got 1");
  EXPECT_EQ(problems_of_value("1", [](const JsonValue& x) { x.object(); }), "a.json:2: /x: expected an object, got 1");
  EXPECT_EQ(problems_of("[]", [](const JsonObject&) {}), "a.json:1: expected an object, got an array of 0");
}

TEST(JsonReader, QuantitiesHaveUnitsAndSigns) {
  const auto read = [](const JsonValue& x) { x.quantity<Watts>(); };
  const std::string expected = "a.json:2: /x: expected a power with its unit, such as \"700 W\"";
  EXPECT_EQ(problems_of_value("700", read), expected + ", got 700");
  EXPECT_EQ(problems_of_value("null", read), expected + ", got null");
  EXPECT_EQ(problems_of_value("\"0 W\"", read), expected + ", above zero, got \"0 W\"");
  EXPECT_EQ(problems_of_value("\"unlimited\"", read),
            expected + ", got \"unlimited\"\n  hint: known units: W, mW, kW, MW");
  const auto read_not_negative = [](const JsonValue& x) { x.quantity<Watts>(Sign::not_negative); };
  EXPECT_EQ(problems_of_value("\"0 W\"", read_not_negative), "");
  EXPECT_EQ(problems_of_value("\"-1 W\"", read_not_negative), expected + ", not below zero, got \"-1 W\"");
  EXPECT_EQ(problems_of_value("\"-1 W\"", [](const JsonValue& x) { x.quantity<Watts>(Sign::any); }), "");
}

TEST(JsonReader, CallersAddWhatOnlyTheyKnow) {
  EXPECT_EQ(problems_of_value("48",
                              [](const JsonValue& x) {
                                x.problem("expected a divisor of 256 (number of experts), got 48",
                                          "nearest divisors are 32 and 64");
                              }),
            "a.json:2: /x: expected a divisor of 256 (number of experts), got 48\n"
            "  hint: nearest divisors are 32 and 64");
  EXPECT_EQ(problems_of("{}", [](const JsonObject& in) { in.problem("expected a model"); }),
            "a.json:1: expected a model");
}

TEST(JsonReader, OneMissingKeyIsOneProblem) {
  EXPECT_EQ(problems_of("{}",
                        [](const JsonObject& in) {
                          const JsonObject missing = in.required("fabric").object();
                          EXPECT_EQ(missing.required("planes").integer<int>({.min = 2}), 2);
                          missing.required("kind").one_of(kScheduleNames);
                          missing.required("link").quantity<Bytes>();
                          missing.required("on").boolean();
                          missing.required("list").array();
                          missing.required("x").problem("expected something else");
                          EXPECT_TRUE(missing.keys().empty());
                          JsonWriter out(JsonWriter::Layout::line);
                          EXPECT_EQ(out.value(missing.value()).text(), "null");
                          missing.finish();
                        }),
            "a.json:1: expected the key \"fabric\", which is missing");
}

TEST(JsonReader, UnknownKeysAreNamedWithTheKnownOnes) {
  EXPECT_EQ(problems_of("{\"nodes\": 1,\n \"color\": 2,\n \"a/b~c\": 3}",
                        [](const JsonObject& in) {
                          in.required("nodes");
                          in.optional("latency");
                          in.finish();
                        }),
            "a.json:2: /color: unknown key\n  hint: known keys: latency, nodes\n"
            "a.json:3: /a~1b~0c: unknown key\n  hint: known keys: latency, nodes");
}

TEST(JsonReader, IgnoredKeysAreKnown) {
  EXPECT_EQ(problems_of(R"({"torch_dtype": 1, "x": 2})",
                        [](const JsonObject& in) {
                          in.ignore({"torch_dtype", "x", "not there"});
                          in.finish();
                        }),
            "");
}

TEST(JsonReader, KeysAreInTheOrderOfTheFile) {
  const JsonDocument document = JsonDocument::parse_text(R"({"b": 1, "a": 2})", "a.json");
  EXPECT_EQ(document.root().keys(), (std::vector<std::string>{"b", "a"}));
  EXPECT_TRUE(document.root().has("a"));
  EXPECT_FALSE(document.root().has("c"));
}

TEST(JsonReader, SchemaMustBeTheExpectedOne) {
  const Read read = [](const JsonObject& in) { in.schema("plan/1"); };
  EXPECT_EQ(problems_of("{}", read), "a.json:1: expected the key \"schema\", which is missing");
  EXPECT_EQ(problems_of(R"({"schema": "plan/2"})", read), "a.json:1: /schema: expected \"plan/1\", got \"plan/2\"");
}

TEST(JsonReader, WritesAValueAsItWasRead) {
  const std::string text = R"({"z":[1.0,1e3,-0.5],"a":{"t":"x\"y","n":null,"b":true},"i":12345678901234567890})";
  const JsonDocument document = JsonDocument::parse_text(text, "a.json");
  JsonWriter out(JsonWriter::Layout::line);
  out.value(document.root_value());
  EXPECT_EQ(out.text(), text);
}

}  // namespace
}  // namespace orrery
